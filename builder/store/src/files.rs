//! Directories, locks, and files replaced as a whole: the only code here that changes the disk outside `blobs/`.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{self as unix, DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use hone_contract::quoted;
use hone_files::open_regular;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::StoreError;

/// A record larger than this is refused unread (bytes).
pub(crate) const MAX_RECORD: u64 = 8 << 20;

/// Whose store a lock is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The one that the program works in: whoever else does so, root and its owner, must see the same locks.
    Own,
    /// A layout that is read from, which anybody may have made.
    Foreign,
}

/// An flock, released when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    pub(crate) fn exclusive(path: &Path) -> Result<Self, StoreError> {
        Self::take(path, FlockOperation::LockExclusive)?.ok_or_else(|| busy(path))
    }

    pub(crate) fn shared(path: &Path) -> Result<Self, StoreError> {
        Self::take(path, FlockOperation::LockShared)?.ok_or_else(|| busy(path))
    }

    /// `None` when somebody else holds it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>, StoreError> {
        Self::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Without making the file or writing to it; `None` when it is not there, or not for this user to open. In a foreign
    /// layout somebody may have put anything in its place, or hold its lock for ever: what is neither root's nor this
    /// user's is none there.
    pub(crate) fn shared_if_there(path: &Path, place: Place) -> Result<Option<Self>, StoreError> {
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            // A link, a socket, a device without a driver.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::LOOP | Errno::NXIO | Errno::NODEV)) => {
                return Ok(None);
            }
            result => result.map_err(StoreError::at("open", path))?,
        };
        let meta = file.metadata().map_err(StoreError::at("stat", path))?;
        let trusted = match place {
            Place::Own => true,
            Place::Foreign => [0, geteuid().as_raw()].contains(&meta.uid()),
        };
        if !meta.is_file() || !trusted {
            return Ok(None);
        }
        Self::of(file, path, FlockOperation::LockShared)?.ok_or_else(|| busy(path)).map(Some)
    }

    /// The same lock, held until both are dropped (flock(2): a lock is of the open file, which both have).
    pub(crate) fn again(&self, path: &Path) -> Result<Self, StoreError> {
        Ok(Self { file: self.file.try_clone().map_err(StoreError::at("lock", path))? })
    }

    fn take(path: &Path, operation: FlockOperation) -> Result<Option<Self>, StoreError> {
        let file = opened(path).map_err(StoreError::at("open", path))?;
        Self::of(file, path, operation)
    }

    fn of(file: File, path: &Path, operation: FlockOperation) -> Result<Option<Self>, StoreError> {
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Some(Self { file })),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(StoreError::io("lock", path, errno.into())),
            }
        }
    }
}

/// Opens a lock file, which is made when it is not there.
fn opened(path: &Path) -> io::Result<File> {
    // Nobody waits for the other end of a FIFO.
    let options = || File::options().append(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).to_owned();
    match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    // Nobody else may open it: whoever can read a file can hold its lock for ever.
    match options().create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options().open(path),
        result => result.and_then(|file| owned(&file, path).map(|()| file)),
    }
}

/// What root makes in a user's store is that user's, whom it would lock out: it belongs to whom the directory belongs that
/// it lies in. Since that holds for directories, too, all of a store belongs to the owner of its root.
fn owned(made: impl AsFd, path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent().filter(|_| geteuid().is_root()) else { return Ok(()) };
    let dir = fs::metadata(dir)?;
    if dir.uid() == 0 {
        return Ok(());
    }
    match unix::fchown(made, Some(dir.uid()), Some(dir.gid())) {
        // An owner whom this user namespace does not know, or a server that takes no orders from root.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::PERM)) => Ok(()),
        result => result,
    }
}

/// A new file in `tmp/`, to become another one.
pub(crate) fn temporary(tmp: &Path) -> io::Result<NamedTempFile> {
    let file = NamedTempFile::new_in(tmp)?;
    owned(file.as_file(), file.path())?;
    Ok(file)
}

/// A blocking flock does not answer "would block"; a file system that does anyway has no locks to offer.
fn busy(path: &Path) -> StoreError {
    StoreError::io("lock", path, io::ErrorKind::WouldBlock.into())
}

/// Makes a store's root, and the directories above it, unless it is there. It belongs to whom it is made by.
pub(crate) fn make_root(path: &Path, mode: u32) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    make_above(path)?;
    make(path, mode, |_| Ok(()))
}

/// Makes a directory in a store unless it is there; the mode is `mode` whatever the umask is. Its name is durable.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    if path.is_dir() { Ok(()) } else { make(path, mode, |dir| owned(dir, path)) }
}

fn make(path: &Path, mode: u32, own: impl FnOnce(File) -> io::Result<()>) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        // Somebody else did, and may not have synced it yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return sync_name(path),
        result => result.map_err(StoreError::at("make directory", path))?,
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).map_err(StoreError::at("set mode of", path))?;
    // A link that was put in its place since is not followed.
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let made = File::options().read(true).custom_flags(flags).open(path);
    made.and_then(own).map_err(StoreError::at("set owner of", path))?;
    sync_name(path)
}

/// Makes the directories above `path`, the uppermost first, with the mode that the umask gives.
fn make_above(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => parent,
        _ => return Ok(()),
    };
    make_above(parent)?;
    match fs::create_dir(parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io("make directory", parent, error))
        }
        _ => sync_name(parent),
    }
}

/// Makes the name `path` durable.
pub(crate) fn sync_name(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(parent).map_err(StoreError::at("sync", parent))
}

/// Replaces `path` by `bytes`: temporary file in `tmp` (same file system), sync, rename, sync of the directory.
pub(crate) fn replace(path: &Path, bytes: &[u8], tmp: &Path) -> Result<(), StoreError> {
    let write = || -> io::Result<()> {
        let mut file = temporary(tmp)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        sync_dir(path.parent().unwrap_or(Path::new("/")))
    };
    write().map_err(StoreError::at("write", path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces `path` by `value` as JSON.
pub(crate) fn replace_json<T: Serialize>(path: &Path, value: &T, tmp: &Path) -> Result<(), StoreError> {
    let record = |e: serde_json::Error| StoreError::Record { path: path.to_owned(), why: e.to_string() };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(record)?;
    bytes.push(b'\n');
    replace(path, &bytes, tmp)
}

/// Reads a file of at most [`MAX_RECORD`] bytes; `None` when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match open_regular(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        result => result.map_err(StoreError::at("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD + 1).read_to_end(&mut bytes).map_err(StoreError::at("read", path))?;
    if bytes.len() as u64 > MAX_RECORD {
        let why = format!("it has more than {MAX_RECORD} bytes");
        return Err(StoreError::Record { path: path.to_owned(), why });
    }
    Ok(Some(bytes))
}

/// Nothing is there, or nothing can be: a part of the path is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads a JSON file; `None` when it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_slice(&bytes);
    // An unknown field's name is whatever somebody wrote there.
    let why = |e: serde_json::Error| quoted(&e.to_string()).to_string();
    parsed.map(Some).map_err(|e| StoreError::Record { path: path.to_owned(), why: why(e) })
}

/// Names in a directory, sorted; none when it is not there.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(path) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        result => result.map_err(StoreError::at("list", path))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::at("list", path))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a file or a directory with all in it; absent is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    hone_files::remove(path).map_err(StoreError::at("remove", path))
}
