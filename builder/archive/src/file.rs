//! An archive as a file: whole under its name, or not there.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use hone_files::open_unlinked;
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use tempfile::NamedTempFile;

use crate::layout::is_temporary;

/// Bytes written at a time.
const BUFFER: usize = 1 << 20;
/// How an archive is called that is not in its place yet. Whoever writes it holds an flock of it.
const NEW: &str = ".hone-archive-";

/// Refuses what no file can be written to.
///
/// # Errors
/// With the reason.
pub fn check(path: &Path) -> Result<(), &'static str> {
    match path.is_dir() {
        true => Err("it is a directory"),
        false if !directory(path).is_dir() => Err("the directory is not there"),
        false if path.is_symlink() && !path.exists() => Err("it is a link to nothing"),
        false => Ok(()),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Has `write` write a file beside its place and moves it there. A device or a FIFO is written to as it is: replacing it
/// would take it from whoever waits for the bytes.
///
/// # Errors
/// What `write` says, or the disk; nothing is left then.
pub fn replace<T, E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return through(&mut fs::OpenOptions::new().write(true).open(path)?, write);
    }
    // Behind a link, what it names is written, as a shell does: /dev/stdout stays a link.
    let path = &match path.is_symlink() {
        true => fs::canonicalize(path)?,
        false => path.to_owned(),
    };
    let parent = directory(path);
    remove_left(parent);
    let mut new = temporary(parent)?;
    let written = through(new.as_file_mut(), write)?;
    new.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    fs::File::open(parent)?.sync_all()?;
    Ok(written)
}

/// Has `write` write to `out`, in large pieces.
///
/// # Errors
/// What `write` says, or `out`.
pub fn through<T, E: From<io::Error>>(
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let mut out = io::BufWriter::with_capacity(BUFFER, out);
    let written = write(&mut out)?;
    out.flush()?;
    Ok(written)
}

/// A file beside its place, which nobody takes for one that a kill left.
fn temporary(dir: &Path) -> io::Result<NamedTempFile> {
    loop {
        let new = tempfile::Builder::new().prefix(NEW).tempfile_in(dir)?;
        // On a disk that has no locks nobody gets one to remove it, either.
        let _ = retry_on_intr(|| flock(&new, FlockOperation::LockExclusive));
        // Before it was locked another writer may have removed it.
        if new.as_file().metadata()?.nlink() > 0 {
            return Ok(new);
        }
    }
}

/// Removes the archives of writers that were killed. One that cannot be opened, locked or removed is another user's, or
/// is being written: none of that is in the way of a new one.
fn remove_left(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_temporary(&entry.file_name(), NEW) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = fs::canonicalize(&path).and_then(|path| open_unlinked(&path)) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}
