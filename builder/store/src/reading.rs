//! Holding a store open while it is read.

use std::sync::PoisonError;

use crate::files::{Lock, Place};
use crate::{Ingest, Store, StoreError, is_store_root};

/// Leave to read over time: what is in the store when this is taken stays there until it is dropped, whatever is removed
/// or built meanwhile, since nothing is collected. Any number of readers and writers hold the store open together.
#[derive(Debug)]
#[must_use]
pub struct Reading {
    _shared: Option<Lock>,
}

impl Store {
    /// Holds the store open. This waits only for a collection that is going on. A place where no store is has nothing to
    /// lose, and a store whose lock this user may not open nothing that they may remove: both can be read.
    ///
    /// Whoever holds the names lock must not ask for this.
    ///
    /// # Errors
    /// When the lock cannot be taken.
    pub fn reading(&self) -> Result<Reading, StoreError> {
        self.held_open(Place::Own)
    }

    fn held_open(&self, place: Place) -> Result<Reading, StoreError> {
        let path = self.ingest_lock();
        if let Some(shared) = Lock::shared_if_there(&path, place)? {
            return Ok(Reading { _shared: Some(shared) });
        }
        // A store that lost its lock gets another; a layout of somebody else's gets none.
        if path.symlink_metadata().is_ok() || !is_store_root(&self.root) {
            return Ok(Reading { _shared: None });
        }
        match Lock::shared(&path) {
            Ok(shared) => Ok(Reading { _shared: Some(shared) }),
            Err(StoreError::Denied { .. }) => Ok(Reading { _shared: None }),
            Err(error) => Err(error),
        }
    }
}

impl Ingest<'_> {
    /// Holds another store open, too, as long as this lives: one that is read from, and that anybody may have made.
    ///
    /// # Errors
    /// When its lock cannot be taken.
    pub fn hold(&self, other: &Store) -> Result<(), StoreError> {
        let held = other.held_open(Place::Foreign)?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        Ok(())
    }

    /// Holds the store open for longer than this lives, without a moment in between. It never waits.
    ///
    /// # Errors
    /// When the system has no more files for it.
    pub fn reading(&self) -> Result<Reading, StoreError> {
        Ok(Reading { _shared: Some(self.shared.again(&self.store.ingest_lock())?) })
    }
}
