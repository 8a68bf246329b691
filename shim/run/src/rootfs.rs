//! The container's root file system: overlayfs over the unpacked layers, in a mount namespace of this process.
//!
//! The mount is gone when the last process of the run is, however it ends. The upper directory is removed on the
//! way out; one that a killed run left is removed by the next run.

use std::ffi::CString;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::RunError;

/// In the bundle: a link to each layer, named by its place. The kernel takes one page of mount options, in which
/// there is room for as many layers as it stacks (500) by such names, and for 55 by their digests; an image may have
/// more ([`hone_image::image::MAX_LAYERS`]).
const LINKS: &str = "lower";

/// `ROOT/run/<container>`: the bundle. Dropped, everything of it goes.
#[derive(Debug)]
pub(crate) struct Bundle {
    path: PathBuf,
    _lock: File,
}

impl Bundle {
    /// Claims the container's name and makes its directory.
    pub(crate) fn new(root: &Path, container: &str) -> Result<Self, RunError> {
        let runs = root.join("run");
        private_dir(&runs)?;
        sweep(&runs);
        let path = runs.join(container);
        fs::create_dir_all(&path).map_err(RunError::io("make", &path))?;
        let lock = lock(&path)?.ok_or_else(|| RunError::NameTaken(container.to_owned()))?;
        for name in ["rootfs", "upper", "work", LINKS] {
            let dir = path.join(name);
            fs::create_dir_all(&dir).map_err(RunError::io("make", &dir))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// The bundle's directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The root file system's directory.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Mounts `layers`, directories of `snapshots`, lowest first, and a fresh upper directory. None may come twice: the
    /// kernel refuses that (ELOOP).
    pub(crate) fn mount(&self, snapshots: &Path, layers: &[String]) -> Result<(), RunError> {
        let links = self.path.join(LINKS);
        let mut names = Vec::with_capacity(layers.len());
        for (place, layer) in layers.iter().rev().enumerate() {
            let name = place.to_string();
            let link = links.join(&name);
            symlink(snapshots.join(layer), &link).map_err(RunError::io("make", &link))?;
            names.push(name);
        }
        hone_sys::private_mounts().map_err(RunError::io("make a mount namespace for", &self.path))?;
        // Relative names: short, and free of the commas and colons of whatever directory the store lies in.
        std::env::set_current_dir(&links).map_err(RunError::io("enter", &links))?;
        let options = format!("lowerdir={},upperdir=../upper,workdir=../work", names.join(":"));
        let invalid = |_| RunError::io("mount", &self.path)(std::io::Error::other("a NUL in its path"));
        let options = CString::new(options).map_err(invalid)?;
        let target = self.rootfs();
        mount("overlay", &target, "overlay", MountFlags::NODEV, Some(options.as_c_str()))
            .map_err(RunError::io("mount the layers at", &target))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // The mount may not be there yet; and what cannot be removed now, the next run's sweep removes.
        let _ = unmount(self.rootfs(), UnmountFlags::DETACH);
        let _ = hone_files::remove(&self.path);
    }
}

/// Makes a directory that only root enters: an image's set-user-id programs lie below it, and files whose lock
/// anybody who can open them could hold for ever.
pub(crate) fn private_dir(path: &Path) -> Result<(), RunError> {
    fs::create_dir_all(path).map_err(RunError::io("make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(RunError::io("set mode of", path))
}

/// The lock of a bundle; `None` when somebody holds it.
fn lock(path: &Path) -> Result<Option<File>, RunError> {
    let path = path.join("lock");
    let file = File::create(&path).map_err(RunError::io("make", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(RunError::io("lock", &path)(error)),
    }
}

/// Removes what runs left that were killed: bundles whose lock nobody holds.
fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        if let Ok(Some(_held)) = lock(&entry.path()) {
            // Left for the next sweep if it does not go.
            let _ = hone_files::remove(&entry.path());
        }
    }
}

#[cfg(test)]
#[path = "rootfs_tests.rs"]
mod tests;
