//! Where nothing of ours may be written.

use std::path::Path;

use hone_store::{Store, store_around};

use crate::failure::Failure;

/// Refuses to write into a store, whichever way the path leads there: its files are its own.
pub fn outside_of_stores(path: &Path, own: &Store) -> Result<(), Failure> {
    let around = match own.surrounds(path) {
        true => Some(own.root().to_owned()),
        false => store_around(path),
    };
    match around {
        None => Ok(()),
        Some(root) => {
            let root = root.display();
            Err(format!(
                "{} is in Hone's store {root}, which nothing else may write; name another place",
                path.display()
            )
            .into())
        }
    }
}
