//! `hone rollback`: the version that was current before is current again.

use clap::Args;
use hone_store::Store;
use serde_json::json;

use super::log::lineage_of;
use crate::answer::Form;
use crate::failure::Failure;

/// Arguments of `hone rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The base image, or one of its versions: a name, a digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    #[command(flatten)]
    form: Form,
}

impl Rollback {
    /// Moves the pointer back, and marks what was current as rejected: one file replaced.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let lineage = lineage_of(store, &self.image)?;
        let state = store.roll_back(&lineage)?;
        let current = store.versions(&lineage)?.into_iter().find(|v| Some(v.number) == state.current);
        let name = current.map_or_else(|| lineage.to_string(), |v| v.reference.to_string());
        let answer = json!({"lineage": lineage, "current": name});
        self.form.report(&answer, |_| format!("{name} is the current version of {lineage}\n"))
    }
}
