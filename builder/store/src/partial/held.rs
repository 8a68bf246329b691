//! The file of a download: opened as what it is, and held by an flock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hone_contract::Digest;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::PartialError;
use crate::StoreError;

/// How long a download waits for whoever has it: garbage collection looks into each for a moment.
const MOMENT: Duration = Duration::from_secs(1);
/// How long until it looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// Opens and locks the file under this name, which is empty when there was none.
pub(super) fn locked(path: &Path, digest: Digest) -> Result<File, StoreError> {
    let busy = |source: io::Error| match source.kind() {
        io::ErrorKind::WouldBlock => PartialError::Busy(digest).into(),
        _ => StoreError::io("open", path, source),
    };
    loop {
        let file = opened(path).map_err(busy)?;
        if !file.metadata().map_err(busy)?.is_file() {
            let why = "it is no regular file; remove it".to_owned();
            return Err(StoreError::Record { path: path.to_owned(), why });
        }
        lock_soon(&file).map_err(busy)?;
        if is_at(&file, path).map_err(busy)? {
            return Ok(file);
        }
    }
}

fn opened(path: &Path) -> io::Result<File> {
    let open = || options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match make_way(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // There is none any more, or never was where the directory is closed.
            _ => open(),
        },
        result => result,
    }
}

/// A file that is there and that we may not write: sealed by one who was killed before it had its name, or another
/// user's. Ours becomes writable; theirs makes way if nobody writes it, since the directory is ours.
fn make_way(path: &Path) -> io::Result<()> {
    if fs::set_permissions(path, PermissionsExt::from_mode(0o600)).is_ok() {
        return Ok(());
    }
    let theirs = options().read(true).open(path)?;
    lock_soon(&theirs)?;
    if is_at(&theirs, path)? { fs::remove_file(path) } else { Ok(()) }
}

/// A name in the store leads nowhere else, and never to somebody to wait for.
pub(super) fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

/// Locks it, unless somebody has it for more than a moment.
fn lock_soon(file: &File) -> io::Result<()> {
    let end = Instant::now() + MOMENT;
    loop {
        match lock(file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

pub(super) fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Whether the name still stands for this file.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
