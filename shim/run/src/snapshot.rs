//! Unpacked layers: `ROOT/snapshots/<diff id>`, each the read-only lower directory of any number of containers.
//!
//! A directory has its final name only when it is whole: verified to the last byte, on disk, renamed. A run that
//! dies halfway leaves a directory with a temporary name, which the next run removes. A run that fails removes every
//! layer that it unpacked: nothing of an image that cannot run fills the disk.
//!
//! What no image has any more goes when a run begins while no other goes on, and by `hone rm` and `hone prune`
//! ([`Store::sweep_unpacked`]): every run holds a shared lock on `snapshots.lock` for as long as its container may read
//! from here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hone_contract::Digest;
use hone_image::{Image, Layer};
use hone_store::{Budget, Store};

use crate::error::RunError;
use crate::rootfs::private_dir;
use crate::unpack::{Allowance, unpack};

/// Layers that are unpacked and stay so.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// Names below [`Store::unpacked`], lowest first, none of them twice.
    pub layers: Vec<String>,
    _in_use: File,
}

/// Makes every layer of `image` a directory; all of them, or none that was not there before.
pub(crate) fn prepare(store: &Store, image: &Image) -> Result<Snapshots, RunError> {
    let dir = store.unpacked();
    private_dir(&dir)?;
    // A store that cannot be read whole keeps everything; that is no reason not to run an image that can be.
    let _ = store.sweep_unpacked();
    let path = store.unpacked_lock();
    let lock = File::create(&path).map_err(RunError::io("make", &path))?;
    let mode = fs::Permissions::from_mode(0o600);
    lock.set_permissions(mode).map_err(RunError::io("set mode of", &path))?;
    lock.lock_shared().map_err(RunError::io("lock", &path))?;
    let layers = distinct(image.layers());
    let missing: Vec<_> = layers.iter().copied().filter(|layer| !at(&dir, layer).is_dir()).collect();
    promise(image.digest(), &missing, &dir)?;
    let (budget, mut allowance) = (Budget::of_image(image), Allowance::of_image());
    let unpacked = missing.iter().try_for_each(|layer| one(store, layer, (&budget, &mut allowance), &dir));
    if unpacked.is_err() && lock.try_lock().is_ok() {
        // Nobody reads from here, and nobody waits for a layer: what this run did goes. Otherwise a sweep takes it.
        discard(&dir, &missing);
    }
    unpacked?;
    Ok(Snapshots { layers: layers.iter().map(|layer| layer.diff_id.hex()).collect(), _in_use: lock })
}

/// The layers, lowest first, without those that come once more above: whatever a layer shows or hides, it shows or
/// hides from its highest place, too, so that its lower places change nothing.
pub(crate) fn distinct(layers: &[Layer]) -> Vec<&Layer> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<_> = layers.iter().rev().filter(|layer| seen.insert(layer.diff_id)).collect();
    kept.reverse();
    kept
}

/// Refuses, before anything is unpacked, what is known to come to nothing.
fn promise(image: Digest, missing: &[&Layer], dir: &Path) -> Result<(), RunError> {
    let stat = rustix::fs::statvfs(dir).map_err(RunError::io("ask for the free space of", dir))?;
    let got = stat.f_bavail.saturating_mul(stat.f_frsize);
    // No layer unpacks to less than it takes compressed, roughly: more than this is found out on the way.
    let want = missing.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.descriptor.size));
    if want > got {
        return Err(RunError::Room { image, path: dir.to_owned(), got, want });
    }
    Ok(())
}

fn at(dir: &Path, layer: &Layer) -> PathBuf {
    dir.join(layer.diff_id.hex())
}

/// Removes these layers, and what was begun of them.
fn discard(dir: &Path, layers: &[&Layer]) {
    for layer in layers {
        for end in ["", ".part", ".lock"] {
            // The first error is the one to tell; what remains is removed by a sweep.
            let _ = hone_files::remove(&dir.join(format!("{}{end}", layer.diff_id.hex())));
        }
    }
}

fn one(store: &Store, layer: &Layer, bounds: (&Budget, &mut Allowance), dir: &Path) -> Result<(), RunError> {
    let (budget, allowance) = bounds;
    let done = at(dir, layer);
    // Several runs may want the same layer: all but the first wait, and find it there.
    let lock = dir.join(format!("{}.lock", layer.diff_id.hex()));
    let _held = hold(&lock)?;
    if !done.is_dir() {
        let half = dir.join(format!("{}.part", layer.diff_id.hex()));
        hone_files::remove(&half).map_err(RunError::io("remove", &half))?;
        fs::create_dir(&half).map_err(RunError::io("make", &half))?;
        let reader = store.open_layer(layer, budget)?;
        let finished = unpack(reader, layer.diff_id, &half, allowance).and_then(|()| {
            let opened = File::open(&half).map_err(RunError::io("open", &half))?;
            rustix::fs::syncfs(&opened).map_err(RunError::io("sync", &half))?;
            fs::rename(&half, &done).map_err(RunError::io("rename", &half))
        });
        if finished.is_err() {
            // The first error is the one to tell; what remains here is removed by the next run at the latest.
            let _ = hone_files::remove(&half);
        }
        finished?;
    }
    fs::remove_file(&lock).map_err(RunError::io("remove", &lock))
}

/// The lock file at `path`, locked. Whoever held it before may have removed it meanwhile, and a third may have made
/// another one: only the file that still has the name keeps others away, and only its holder removes it.
fn hold(path: &Path) -> Result<File, RunError> {
    loop {
        let file = File::create(path).map_err(RunError::io("make", path))?;
        file.lock().map_err(RunError::io("lock", path))?;
        let held = file.metadata().map_err(RunError::io("look at", path))?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(RunError::io("look at", path)(error)),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
