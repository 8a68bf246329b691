//! Unpacked layers: `ROOT/snapshots/<diff id>`, each the read-only lower directory of any number of containers.
//!
//! A directory has its final name only when it is whole: verified to the last byte, on disk, renamed. A run that
//! dies halfway leaves a directory with a temporary name, which the next run removes.
//!
//! What no image has any more goes when a run begins while no other goes on: every run holds a shared lock on
//! `snapshots.lock` for as long as its container may read from here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hone_image::{Image, Layer};
use hone_store::{Budget, Store};

use crate::error::RunError;
use crate::rootfs::private_dir;
use crate::unpack::unpack;

/// Where unpacked layers lie.
pub(crate) fn directory(store: &Store) -> PathBuf {
    store.root().join("snapshots")
}

/// Layers that are unpacked and stay so.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// Names below [`directory`], lowest first.
    pub layers: Vec<String>,
    _in_use: File,
}

/// Makes every layer of `image` a directory.
pub(crate) fn prepare(store: &Store, image: &Image) -> Result<Snapshots, RunError> {
    let dir = directory(store);
    private_dir(&dir)?;
    let path = store.root().join("snapshots.lock");
    let lock = File::create(&path).map_err(RunError::io("make", &path))?;
    let mode = fs::Permissions::from_mode(0o600);
    lock.set_permissions(mode).map_err(RunError::io("set mode of", &path))?;
    if lock.try_lock().is_ok() {
        sweep(store, &dir);
    }
    lock.lock_shared().map_err(RunError::io("lock", &path))?;
    let budget = Budget::of_image(image);
    for layer in image.layers() {
        one(store, layer, &budget, &dir)?;
    }
    let layers = image.layers().iter().map(|layer| layer.diff_id.hex()).collect();
    Ok(Snapshots { layers, _in_use: lock })
}

/// Removes the directories of layers that no image of the store has.
fn sweep(store: &Store, dir: &Path) {
    // A store that cannot be read whole keeps everything; that is no reason not to run an image that can be.
    let Ok(wanted) = wanted(store) else { return };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !wanted.contains(name.split('.').next().unwrap_or_default()) {
            // Left for the next sweep if it does not go; a lock file is no directory, and goes with its layer.
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

fn wanted(store: &Store) -> Result<BTreeSet<String>, RunError> {
    let mut names = BTreeSet::new();
    for descriptor in store.references()?.values() {
        names.extend(store.image_by_digest(descriptor.digest)?.layers().iter().map(|layer| layer.diff_id.hex()));
    }
    Ok(names)
}

fn one(store: &Store, layer: &Layer, budget: &Budget, dir: &Path) -> Result<(), RunError> {
    let done = dir.join(layer.diff_id.hex());
    if done.is_dir() {
        return Ok(());
    }
    // Two runs may want the same layer: the second waits, and finds it there.
    let lock = dir.join(format!("{}.lock", layer.diff_id.hex()));
    let file = File::create(&lock).map_err(RunError::io("make", &lock))?;
    file.lock().map_err(RunError::io("lock", &lock))?;
    if !done.is_dir() {
        let half = dir.join(format!("{}.part", layer.diff_id.hex()));
        if half.exists() {
            fs::remove_dir_all(&half).map_err(RunError::io("remove", &half))?;
        }
        fs::create_dir(&half).map_err(RunError::io("make", &half))?;
        let finished = unpack(store.open_layer(layer, budget)?, layer.diff_id, &half).and_then(|()| {
            let opened = File::open(&half).map_err(RunError::io("open", &half))?;
            rustix::fs::syncfs(&opened).map_err(RunError::io("sync", &half))?;
            fs::rename(&half, &done).map_err(RunError::io("rename", &half))
        });
        if finished.is_err() {
            // The first error is the one to tell; what remains here is removed by the next run at the latest.
            let _ = fs::remove_dir_all(&half);
        }
        finished?;
    }
    fs::remove_file(&lock).map_err(RunError::io("remove", &lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_image_has_goes_unless_a_run_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::at(root.path());
        let image = Image::base(hone_image::image::BaseImage {
            name: "empty".into(),
            architecture: "amd64".into(),
            variant: None,
            config: Default::default(),
            layers: vec![],
            annotations: Default::default(),
        });
        let old = directory(&store).join("0".repeat(64));
        fs::create_dir_all(old.join("etc")).unwrap();
        let lock = File::create(root.path().join("snapshots.lock")).unwrap();
        lock.lock_shared().unwrap();
        drop(prepare(&store, &image).unwrap());
        assert!(old.exists(), "another run may read from it");
        let mode = fs::metadata(directory(&store)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "an image's set-user-id programs are nobody else's to start");
        drop(lock);
        drop(prepare(&store, &image).unwrap());
        assert!(!old.exists());
    }
}
