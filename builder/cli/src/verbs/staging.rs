//! `hone staging`: what runs left behind.

use clap::{Args, Subcommand};
use hone_store::Store;
use hone_store::staging::{self, Staged};
use serde::Serialize;

use super::log::describe;
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
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove staging directories and all in them, checkpoints too
    Rm {
        /// Ids, as `hone staging ls` shows them, or the first characters of one
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
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
            Action::Ls { json } => list(store, json),
            Action::Rm { ids } => ids.iter().try_for_each(|id| remove(store, id)),
        }
    }
}

fn list(store: &Store, json: bool) -> Result<(), Failure> {
    let rows: Vec<Row> = staging::list(store)?.iter().map(row).collect();
    if json {
        return output::json(&rows);
    }
    let mut table = vec![["ID", "IMAGE", "STATE", "SIZE", "WHY"].map(str::to_owned).to_vec()];
    table.extend(rows.into_iter().map(|row| {
        let image = row.image.unwrap_or_else(|| "-".to_owned());
        vec![row.id, image, row.state.to_owned(), output::size(row.size), row.reason.unwrap_or_default()]
    }));
    output::print(&output::table(&table))
}

fn row(staged: &Staged) -> Row {
    let (state, reason) = describe(staged);
    let run = staged.run.as_ref();
    let image = run.map(|run| run.image.as_ref().map_or(run.job.name.clone(), |image| image.reference.clone()));
    Row { id: staged.id.clone(), path: staged.path.display().to_string(), image, state, reason, size: staged.size() }
}

fn remove(store: &Store, id: &str) -> Result<(), Failure> {
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
            output::report(&format!("removed {name}\n"))
        }
        (0, _) => Err(format!("staging {id}: not found; `hone staging ls` lists what is there").into()),
        _ => Err(format!("staging {id}: more than one id begins so").into()),
    }
}
