//! Snapshots: every layer of an image unpacked once, `ROOT/snapshots/<diff id>/`, and shared by all containers as an
//! overlay's lower directories.
//!
//! A snapshot's name is a claim: it stands only over a directory whose tar was read to its end and had the right
//! digest, and whose files are on disk. What a crash leaves has another name (`.new-*`) and is removed by the next unpack.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hone_image::Digest;
use hone_image::image::Image;
use hone_image::layer::Layer;
use hone_store::{Store, StoreError};
use rustix::fs::{CWD, FlockOperation, RenameFlags};

use crate::unpack::{UnpackError, unpack};

/// A layer without a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The blob could not be opened.
    #[error("open layer {layer}")]
    Blob {
        /// The layer's diff id.
        layer: Digest,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The tar could not be unpacked.
    #[error("unpack layer {layer}")]
    Unpack {
        /// The layer's diff id.
        layer: Digest,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// The directory of snapshots cannot be used.
    #[error("prepare snapshots in {}", .path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The snapshots of one store.
#[derive(Debug)]
pub struct Snapshots<'a> {
    store: &'a Store,
    dir: PathBuf,
}

impl<'a> Snapshots<'a> {
    /// The snapshots of `store`; makes their directory, which only root may enter.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of(store: &'a Store) -> Result<Self, SnapshotError> {
        let dir = store.root().join("snapshots");
        let io = |source| SnapshotError::Io { path: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(io)?;
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).map_err(io)?;
        Ok(Self { store, dir })
    }

    /// Where they lie; a snapshot's directory has its diff id's 64 hex digits as name.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Unpacks the layers that have no snapshot yet. The names, lowest layer first.
    ///
    /// # Errors
    /// See [`SnapshotError`]; no name stands over half a layer then.
    pub fn ensure(&self, image: &Image) -> Result<Vec<String>, SnapshotError> {
        let io = |source| SnapshotError::Io { path: self.dir.clone(), source };
        let lock = fs::File::create(self.dir.join(".lock")).map_err(io)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| io(e.into()))?;
        self.sweep().map_err(io)?;
        image.layers().iter().map(|layer| self.one(layer)).collect()
    }

    /// Under the lock no one unpacks: what has a temporary name is a dead process's.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn one(&self, layer: &Layer) -> Result<String, SnapshotError> {
        let name = layer.diff_id.hex();
        let there = self.dir.join(&name);
        if there.is_dir() {
            return Ok(name);
        }
        let io = |source| SnapshotError::Io { path: there.clone(), source };
        let new = self.dir.join(format!(".new-{name}"));
        fs::create_dir(&new).map_err(io)?;
        fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(io)?;
        let unpacked = self.fill(layer, &new);
        if unpacked.is_err() {
            // The first error is the one to tell; what is left has a temporary name and goes with the next sweep.
            let _ = fs::remove_dir_all(&new);
        }
        unpacked?;
        rustix::fs::renameat_with(CWD, &new, CWD, &there, RenameFlags::NOREPLACE).map_err(|e| io(e.into()))?;
        fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        Ok(name)
    }

    fn fill(&self, layer: &Layer, into: &Path) -> Result<(), SnapshotError> {
        let diff_id = layer.diff_id;
        let tar = self.store.open_layer(layer).map_err(|source| SnapshotError::Blob { layer: diff_id, source })?;
        unpack(tar, into).map_err(|source| SnapshotError::Unpack { layer: diff_id, source })
    }
}
