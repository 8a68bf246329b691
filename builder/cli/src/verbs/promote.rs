//! `hone promote`: a version becomes the current one of its lineage.

use clap::Args;
use hone_store::Store;

use crate::failure::Failure;
use crate::output;

/// Arguments of `hone promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The version: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    version: String,
}

impl Promote {
    /// Moves the pointer: one file replaced.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let Some(version) = store.version_of(&self.version)? else {
            return Err(format!("{}: not a version; `hone log` lists those of a base", self.version).into());
        };
        store.promote(&version)?;
        output::report(&format!("{} is the current version of {}\n", version.reference, version.lineage))
    }
}
