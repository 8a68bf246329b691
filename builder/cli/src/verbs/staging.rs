//! `hone staging`: what runs left behind.

use clap::{Args, Subcommand};
use hone_store::Store;
use hone_store::staging::{self, Staged};
use serde::Serialize;

use super::log::describe;
use crate::answer::{Form, Listing};
use crate::failure::Failure;
use crate::output;

/// Arguments of `hone staging`.
#[derive(Debug, Args)]
pub struct Staging {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List staging directories
    Ls(Listing),
    /// Remove staging directories and all in them, checkpoints too
    Rm {
        /// Ids, as `hone staging ls` shows them, or the first characters of one
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        form: Form,
    },
}

/// A staging directory, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    path: String,
    /// The image that ran.
    image: Option<String>,
    state: &'static str,
    reason: Option<String>,
    /// Bytes on disk of what the run left.
    size: u64,
}

impl Staging {
    /// Lists or removes.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        match self.action {
            Action::Ls(listing) => list(store, &listing),
            Action::Rm { ids, form } => remove_all(store, &ids, form),
        }
    }
}

fn list(store: &Store, listing: &Listing) -> Result<(), Failure> {
    let rows: Vec<Row> = staging::list(store)?.iter().map(row).collect();
    listing.print(&rows, |row, _| row.id.clone(), |rows, _| table(rows))
}

fn table(rows: &[Row]) -> String {
    let mut table = vec![["ID", "IMAGE", "STATE", "SIZE", "WHY"].map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(|row| {
        let image = row.image.as_deref().unwrap_or("-").to_owned();
        let reason = row.reason.clone().unwrap_or_default();
        vec![row.id.clone(), image, row.state.to_owned(), output::size(row.size), reason]
    }));
    output::table(&table)
}

/// Removes one after the other; what was removed before an error is said with it.
fn remove_all(store: &Store, ids: &[String], form: Form) -> Result<(), Failure> {
    let (mut removed, mut failed) = (Vec::new(), Ok(()));
    for id in ids {
        match remove(store, id) {
            Ok(id) => removed.push(id),
            Err(error) => {
                failed = Err(error);
                break;
            }
        }
    }
    let answer = serde_json::json!({"removed": removed});
    form.report(&answer, |_| removed.iter().map(|id| format!("removed {id}\n")).collect())?;
    failed
}

fn row(staged: &Staged) -> Row {
    let (state, reason) = describe(staged);
    let run = staged.run.as_ref();
    let image = run.map(|run| run.image.as_ref().map_or(run.job.name.clone(), |image| image.reference.clone()));
    Row { id: staged.id.clone(), path: staged.path.display().to_string(), image, state, reason, size: staged.size() }
}

/// Removes one; its whole id.
fn remove(store: &Store, id: &str) -> Result<String, Failure> {
    let mut all = staging::list(store)?;
    // An id that is also the beginning of another is meant itself.
    if all.iter().any(|s| s.id == id) {
        all.retain(|s| s.id == id);
    } else {
        all.retain(|s| s.id.starts_with(id));
    }
    match (all.len(), all.pop()) {
        (1, Some(staged)) if staged.is_alive()? => {
            Err(format!("staging {}: its run goes on; stop the container first", staged.id).into())
        }
        (1, Some(staged)) => {
            let name = staged.id.clone();
            staged.remove()?;
            Ok(name)
        }
        (0, _) => Err(format!("staging {id}: not found; `hone staging ls` lists what is there").into()),
        _ => Err(format!("staging {id}: more than one id begins so").into()),
    }
}
