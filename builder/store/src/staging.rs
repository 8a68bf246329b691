//! Staging directories: what a run left, until its version is published or a person removes it.
//!
//! `out/` belongs to the container's user. Nothing here follows a link in it or reads a file of it.

use std::path::{Path, PathBuf};

use hone_contract::run::{EXIT_FILE, ExitRecord, LOCK_FILE, OUT_NAME, OUTCOME_FILE, Outcome, RUN_FILE, RunRecord};

use crate::files::Lock;
use crate::{Store, StoreError, files};

/// One staging directory and the records in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Staged {
    /// Its name: the run.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// Which run it is; absent when the directory holds something else.
    pub run: Option<RunRecord>,
    /// How the run ended; absent while it goes on, or when nobody knows.
    pub exit: Option<ExitRecord>,
    /// How far its commit came; absent before the first step.
    pub outcome: Option<Outcome>,
}

impl Staged {
    /// Reads the records of a directory; `None` when there is none.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        if !path.is_dir() {
            return Ok(None);
        }
        let id = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Some(Self {
            id,
            path: path.to_owned(),
            run: files::read_json(&path.join(RUN_FILE))?,
            exit: files::read_json(&path.join(EXIT_FILE))?,
            outcome: files::read_json(&path.join(OUTCOME_FILE))?,
        }))
    }

    /// Waits until no other process commits this run, and keeps others waiting until the result is dropped. What
    /// was read before may be old by then.
    ///
    /// # Errors
    /// When the run record cannot be locked.
    pub fn lock(&self) -> Result<impl Sized + use<>, StoreError> {
        Lock::exclusive(&self.path.join(RUN_FILE))
    }

    /// Records how far the commit came.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_outcome(&mut self, outcome: Outcome) -> Result<(), StoreError> {
        files::replace_json(&self.path.join(OUTCOME_FILE), &outcome, &self.path)?;
        self.outcome = Some(outcome);
        Ok(())
    }

    /// Whether the run's keeper lives: it holds [`LOCK_FILE`] as long as it does.
    ///
    /// # Errors
    /// When the lock cannot be asked.
    pub fn is_alive(&self) -> Result<bool, StoreError> {
        let lock = self.path.join(LOCK_FILE);
        Ok(lock.exists() && Lock::try_exclusive(&lock)?.is_none())
    }

    /// Bytes on disk of everything the run left.
    pub fn size(&self) -> u64 {
        hone_files::disk_usage(&self.path.join(OUT_NAME))
    }

    /// Removes the directory and all that is in it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> Result<(), StoreError> {
        files::remove(&self.path)
    }
}

/// Every staging directory of a store, by name. One whose records cannot be read is listed without them, so that
/// it can be seen and removed.
///
/// # Errors
/// When the list cannot be read.
pub fn list(store: &Store) -> Result<Vec<Staged>, StoreError> {
    let dir = store.root.join("staging");
    let mut all = Vec::new();
    for id in files::names(&dir)? {
        let path = dir.join(&id);
        match Staged::read(&path) {
            Ok(Some(staged)) => all.push(staged),
            Ok(None) => {}
            Err(_) => all.push(Staged { id, path, run: None, exit: None, outcome: None }),
        }
    }
    Ok(all)
}

/// Where the staging directory is that a person calls `name`: a path, or an id under the store.
pub fn locate(store: &Store, name: &str) -> PathBuf {
    if name.contains('/') { PathBuf::from(name) } else { store.root.join("staging").join(name) }
}
