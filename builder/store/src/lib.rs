//! The image store on disk: an OCI image layout with versions and staging beside it.
//!
//! ```text
//! ROOT/                        mode 0711
//!   oci-layout  index.json     an OCI image layout: any tool that reads one can read ROOT
//!   blobs/sha256/<hex>         immutable; in place only after its bytes were hashed and synced
//!   lineages/<name>/<n>.json   one immutable record a version
//!   lineages/<name>/state.json which version is current, which was, which were rejected
//!   cache/<hex>.json           which weight file became which layer: may be removed at any time
//!   cache/<hex>.blob           when which blob was hashed: may be removed at any time
//!   partial/<hex>              downloads that did not end yet; may be removed while nobody holds its lock. `<hex>-<uid>`
//!                              where another user's stands there that may not be opened
//!   staging/<id>/              what a run leaves before it is committed (docs/contract.md)
//!   tmp/                       files being written
//!   lock  ingest.lock          flocks: who changes names, who adds or reads blobs
//! ```
//!
//! The rules, which docs/store.md explains:
//! - a nil error from a write means that the content is stored durably under its digest, not that this call
//!   stored it;
//! - every file but a blob is replaced by rename, whole; blobs are never rewritten;
//! - reads are bounded by the size the descriptor claims, and verified to the end;
//! - what a dead process left in `tmp/` is removed by the next writer that is alone, and blobs that nothing names are removed
//!   by [`Store::collect`] while nobody adds or reads ([`Store::reading`]);
//! - one entry or record that is damaged hides no other: it is passed over, and named by [`Store::problems`].
//!
//! The crate never prints, and runs nothing.

mod blob;
mod buffer;
mod cache;
mod codec;
pub mod contents;
mod error;
mod files;
mod garbage;
mod images;
mod index;
mod intact;
pub mod job_layer;
mod layers;
mod lineage;
mod machine;
mod naming;
mod needed;
mod partial;
mod pipeline;
mod place;
mod problem;
mod reading;
mod repair;
mod resolve;
pub mod staging;
mod touch;
mod unpacked;
pub mod versions;
mod weight;
mod weight_reader;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub use blob::{BlobWriter, Verified};
pub use codec::{zstd_reader, zstd_writer};
pub use error::StoreError;
pub use garbage::{Removed, Swept};
pub use hone_image::bomb::Budget;
pub use layers::{LayerWriter, TarLayer};
pub use lineage::Foreign;
pub use machine::{this_machine, this_processor};
pub use partial::{Partial, PartialError};
pub use place::{is_store_root, store_around};
pub use problem::Problem;
pub use reading::Reading;
pub use repair::Damage;
pub use resolve::{Found, Resolved};
pub use weight::{PackedWeight, WeightFile};

use buffer::Pool;
use files::Lock;
use intact::Synced;
use problem::Noticed;

/// A store at a place on disk. Opening one touches nothing: a place where nothing is yet is an empty store.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    noticed: Noticed,
}

/// Leave to add blobs. While it is held, nothing is collected: a blob may lie in the store for a moment before
/// something names it.
#[derive(Debug)]
pub struct Ingest<'a> {
    store: &'a Store,
    buffers: Pool,
    synced: Synced,
    /// Other stores that are read from.
    held: Mutex<Vec<Reading>>,
    shared: Lock,
}

impl Store {
    /// The store at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), noticed: Noticed::default() }
    }

    /// Its place.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Begins adding blobs, and makes the layout if it is not there.
    ///
    /// # Errors
    /// When the place cannot be made or written.
    pub fn ingest(&self) -> Result<Ingest<'_>, StoreError> {
        self.make_layout()?;
        self.reap_temporaries()?;
        let shared = Lock::shared(&self.ingest_lock())?;
        Ok(Ingest { store: self, buffers: Pool::new(), synced: Synced::default(), held: Mutex::default(), shared })
    }

    fn make_layout(&self) -> Result<(), StoreError> {
        files::make_root(&self.root, 0o711)?;
        for (dir, mode) in [
            ("blobs", 0o700),
            ("blobs/sha256", 0o700),
            ("lineages", 0o700),
            ("tmp", 0o700),
            ("cache", 0o700),
            ("partial", 0o700),
        ] {
            files::make_dir(&self.root.join(dir), mode)?;
        }
        // Others write into staging directories of their own, each of mode 0700: this one is only passed through.
        files::make_dir(&self.root.join("staging"), 0o711)?;
        let marker = self.root.join("oci-layout");
        if !marker.exists() {
            // Until the mark is there, whoever made a directory may not have synced its name yet.
            let blobs = self.root.join("blobs");
            files::sync_dir(&blobs).map_err(StoreError::at("sync", &blobs))?;
            match files::sync_name(&self.root) {
                // A directory that this user may not list is one that somebody else made the root in, long ago.
                Err(StoreError::Denied { .. }) => {}
                synced => synced?,
            }
            let _lock = Lock::exclusive(&self.names_lock())?;
            files::replace(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#, &self.tmp())?;
        }
        Ok(())
    }

    /// Leave to change names and records. Whoever holds it never waits for the ingest lock.
    fn lock(&self) -> Result<Lock, StoreError> {
        self.make_layout()?;
        Lock::exclusive(&self.names_lock())
    }

    fn names_lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    fn ingest_lock(&self) -> PathBuf {
        self.root.join("ingest.lock")
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

impl<'a> Ingest<'a> {
    /// The store that is written to.
    pub fn store(&self) -> &'a Store {
        self.store
    }
}

/// A store at a place of its own where nothing is yet, for tests.
#[cfg(test)]
fn empty_store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = Store::at(dir.path().join("root"));
    (dir, store)
}
