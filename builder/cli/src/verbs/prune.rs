//! `hone prune`: everything goes that nothing needs: blobs, layers that `hone run` unpacked, downloads that did not end.
//!
//! Names, versions and what runs left behind (`hone staging`) stay: nobody but their owner knows whether they are wanted.

use clap::Args;
use hone_store::Store;

use super::rm::{collect, unpacked};
use crate::failure::Failure;
use crate::output;

/// Arguments of `hone prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Accepted for docker's sake: nothing is asked, because nothing goes that has a name
    #[arg(short, long)]
    force: bool,
}

impl Prune {
    /// Removes, and says what.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let mut rows = Vec::new();
        let mut total = 0u64;
        let mut row = |what: &str, removed: u64, bytes: u64| {
            total = total.saturating_add(bytes);
            rows.push(vec![what.to_owned(), removed.to_string(), output::size(bytes)]);
        };
        // One that goes on now stays.
        let partials = store.drop_partials()?;
        row("downloads that did not end", partials.blobs, partials.bytes);
        if let Some(swept) = collect(store)? {
            row("blobs", swept.blobs, swept.bytes);
        }
        if let Some(layers) = unpacked(store) {
            row("unpacked layers", layers.blobs, layers.bytes);
        }
        output::report(&format!("{}Total reclaimed space: {}\n", output::table(&rows), output::size(total)))
    }
}
