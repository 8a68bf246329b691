//! `hone commit`: a finished run becomes a version. Runtimes call it; a person may call it again.

use clap::Args;
use hone_commit::{Committed, commit};
use hone_store::{Store, staging};
use serde_json::json;

use crate::answer::Form;
use crate::failure::Failure;
use crate::output;

/// Arguments of `hone commit`.
#[derive(Debug, Args)]
pub struct Commit {
    /// A staging directory, or its id
    #[arg(value_name = "STAGING")]
    staging: String,
    #[command(flatten)]
    form: Form,
}

impl Commit {
    /// Commits, and says as what.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let mut note = |note: &str| output::tell(&format!("note: {note}"));
        match commit(store, &staging::locate(store, &self.staging), &mut note)? {
            Committed::Unwanted(reason) => {
                let answer = json!({"committed": false, "reason": reason});
                self.form.report(&answer, |_| format!("not committed: {reason}\n"))
            }
            Committed::Version(version) => {
                let adapter = output::size(version.layer.size);
                let base = match version.manifest {
                    Some(manifest) => {
                        let all = store.image_by_digest(manifest)?.size();
                        format!(" on a base of {}", output::size(all - version.layer.size))
                    }
                    None => String::new(),
                };
                let answer = json!({
                    "committed": true, "reference": version.reference, "lineage": version.lineage,
                    "version": version.number, "config": version.config.digest, "own_size": version.layer.size,
                });
                self.form.report(&answer, |_| {
                    format!("committed {}: an adapter layer of {adapter}{base}\n", version.reference)
                })
            }
        }
    }
}
