//! `hone rm`: names and versions go, and with them what nothing needs any more.

use clap::Args;
use hone_image::Reference;
use hone_store::{Store, StoreError};

use crate::failure::Failure;
use crate::output;

/// Arguments of `hone rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Names to remove
    #[arg(value_name = "REF", required = true)]
    images: Vec<Reference>,
}

impl Rm {
    /// Removes all of them, then what is left over.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        for reference in &self.images {
            match store.version(reference)? {
                Some(version) => store.remove_version(&version)?,
                None if store.untag(reference)? => {}
                None => return Err(StoreError::NoImage(reference.to_string()).into()),
            }
            output::report(&format!("removed {reference}\n"))?;
        }
        match store.collect()? {
            Some(swept) if swept.blobs > 0 => {
                output::report(&format!("freed {} in {} blobs\n", output::size(swept.bytes), swept.blobs))
            }
            Some(_) => Ok(()),
            None => output::report("a build is going on; what is left over goes when it is done\n"),
        }
    }
}
