//! Unpacked layers: `ROOT/snapshots/<diff id>`, each the read-only lower directory of any number of containers.
//!
//! A directory has its final name only when it is whole: verified to the last byte, on disk, renamed. A run that
//! dies halfway leaves a directory with a temporary name, which the next run removes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hone_image::{Image, Layer};
use hone_store::Store;

use crate::error::RunError;
use crate::unpack::unpack;

/// Where unpacked layers lie.
pub(crate) fn directory(store: &Store) -> PathBuf {
    store.root().join("snapshots")
}

/// Makes every layer of `image` a directory, and gives their names below [`directory`], lowest first.
pub(crate) fn prepare(store: &Store, image: &Image) -> Result<Vec<String>, RunError> {
    let dir = directory(store);
    fs::create_dir_all(&dir).map_err(RunError::io("make", &dir))?;
    for layer in image.layers() {
        one(store, layer, &dir)?;
    }
    Ok(image.layers().iter().map(|layer| layer.diff_id.hex()).collect())
}

fn one(store: &Store, layer: &Layer, dir: &Path) -> Result<(), RunError> {
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
        let finished = unpack(store.open_layer(layer)?, layer.diff_id, &half).and_then(|()| {
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
