//! `hone promote`: a version becomes the current one of its lineage.

use clap::Args;
use hone_store::Store;
use serde_json::json;

use crate::answer::Form;
use crate::failure::Failure;

/// Arguments of `hone promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// The version: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    version: String,
    #[command(flatten)]
    form: Form,
}

impl Promote {
    /// Moves the pointer: one file replaced.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let Some(version) = store.version_of(&self.version)? else {
            return Err(format!("{}: not a version; `hone log` lists those of a base", self.version).into());
        };
        store.promote(&version)?;
        let answer = json!({"lineage": version.lineage, "current": version.reference});
        self.form
            .report(&answer, |_| format!("{} is the current version of {}\n", version.reference, version.lineage))
    }
}
