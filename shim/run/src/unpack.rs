//! A layer's tar into a directory, for overlayfs to use.
//!
//! Whoever made the tar can name any path and any link; each entry's parent is therefore opened with
//! RESOLVE_IN_ROOT below the directory, and its last component is made there without following anything. OCI whiteouts
//! become overlayfs's own, aufs' records are passed over. Device nodes are refused: the runtime makes those that a
//! container gets. Extended attributes are left behind, capabilities and overlayfs's own among them.
//!
//! Paths are bounded, the depth of a tree is not: a link of the layer leads from one path to the next. Who removes
//! what is unpacked here uses `hone_files::remove`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hone_contract::Digest;
use hone_image::bomb::FREE;
use hone_image::untar::{self, Entry, Kind};
use hone_image::whiteout::{Whiteout, whiteout};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fsetxattr, fstatvfs, futimens, linkat, makedev, mkdirat, mknodat, openat, openat2, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use crate::error::RunError;

/// Most entries of an image's layers together; a Debian root with a Python stack has some 100,000.
const MAX_ENTRIES: u64 = 4_000_000;
/// Longest path of an entry (bytes): PATH_MAX.
const MAX_PATH: usize = 4096;
/// Characters of a path in an error.
const MAX_SHOWN: usize = 300;
/// What is left free for others on the disk: the end of this run, its records and logs (bytes).
const KEEP_FREE: u64 = 32 << 20;
/// How often the free space is asked for (bytes of the tar).
const ASK_EVERY: u64 = 16 << 20;

/// What the layers of one image may still unpack to, besides the bytes that `hone_image::bomb` bounds.
pub(crate) struct Allowance {
    entries: u64,
    /// Bytes of sparse files, whose holes take no room in a tar.
    sparse: u64,
}

impl Allowance {
    /// For all layers of an image.
    pub(crate) fn of_image() -> Self {
        Self { entries: MAX_ENTRIES, sparse: FREE }
    }

    fn take(&mut self, entry: &Entry<'_, '_>) -> Result<(), Fault> {
        const TOO_MANY: Fault = Fault::Refused("more than 4000000 entries in the image's layers together");
        self.entries = self.entries.checked_sub(1).ok_or(TOO_MANY)?;
        if entry.kind() == Kind::Sparse {
            const TOO_LARGE: Fault = Fault::Refused("sparse files of more than 1 GiB in the image's layers together");
            self.sparse = self.sparse.checked_sub(entry.size()).ok_or(TOO_LARGE)?;
        }
        Ok(())
    }
}

/// A reader that gives up when what it feeds has filled the disk but for [`KEEP_FREE`].
struct Guarded<'a, R> {
    inner: R,
    disk: &'a OwnedFd,
    since: u64,
}

impl<R: Read> Read for Guarded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.since += n as u64;
        if self.since >= ASK_EVERY {
            self.since = 0;
            let stat = fstatvfs(self.disk)?;
            enough(stat.f_bavail.saturating_mul(stat.f_frsize))?;
        }
        Ok(n)
    }
}

fn enough(free: u64) -> io::Result<()> {
    match free < KEEP_FREE {
        true => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("{free} bytes are free on the disk, want {KEEP_FREE} to stay free; make room, e.g. by `hone rm`"),
        )),
        false => Ok(()),
    }
}

/// Why an entry did not come about.
enum Fault {
    Refused(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Unpacks `reader`, which fails at its end when its bytes are not those of `layer`, into the directory `to`.
pub(crate) fn unpack(reader: impl Read, layer: Digest, to: &Path, allowance: &mut Allowance) -> Result<(), RunError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = openat(CWD, to, flags, Mode::empty()).map_err(RunError::io("open", to))?;
    let mut path = "/".to_owned();
    let mut reader = Guarded { inner: reader, disk: &tree, since: 0 };
    let unpacked = untar::walk(&mut reader, usize::MAX, &mut |entry| {
        path = String::from_utf8_lossy(entry.path()).chars().take(MAX_SHOWN).collect();
        allowance.take(entry)?;
        make(&tree, entry)
    });
    unpacked.map_err(|fault| match fault {
        Fault::Refused(why) => RunError::Entry { layer, path, why },
        Fault::Io(source) => RunError::Unpack { layer, path, source },
    })
}

/// The entry's path as plain names; empty for the root itself.
fn names(bytes: &[u8]) -> Result<PathBuf, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Refused("not UTF-8"))?;
    if text.len() > MAX_PATH {
        return Err(Fault::Refused("path too long"));
    }
    untar::clean(text).map(PathBuf::from).map_err(|_| Fault::Refused("leads out of the root"))
}

fn make(tree: &OwnedFd, entry: &mut Entry<'_, '_>) -> Result<(), Fault> {
    let path = names(entry.path())?;
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return attributes(&openat(tree, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?, entry);
    };
    let first = path.iter().next().and_then(OsStr::to_str).unwrap_or_default();
    if let Ok(Some(Whiteout::Aufs)) = whiteout(first) {
        return Ok(());
    }
    let hides = whiteout(&name).map_err(|_| Fault::Refused("a whiteout of what is not beside it"))?;
    let parent = directory(tree, path.parent().unwrap_or(Path::new("")))?;
    match hides {
        None => create(tree, &parent, &name, entry),
        Some(Whiteout::Name(hidden)) => hide(&parent, hidden),
        Some(Whiteout::Opaque) => {
            make_opaque(&openat(&parent, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
        }
        Some(Whiteout::Aufs) => Ok(()),
    }
}

/// Makes the entry `name` in `parent`.
fn create(tree: &OwnedFd, parent: &OwnedFd, name: &str, entry: &mut Entry<'_, '_>) -> Result<(), Fault> {
    let target = |entry: &Entry<'_, '_>| match entry.link() {
        [] => Err(Fault::Refused("a link without a target")),
        target => Ok(target.to_owned()),
    };
    match entry.kind() {
        Kind::Directory => make_directory(parent, name, entry),
        Kind::File | Kind::Sparse => {
            clear(parent, name)?;
            file(parent, name, entry)
        }
        Kind::Symlink => {
            clear(parent, name)?;
            symlinkat(target(entry)?, parent, name)?;
            let (uid, gid) = owner(entry)?;
            Ok(chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
        }
        Kind::HardLink => {
            let target = target(entry)?;
            clear(parent, name)?;
            hard_link(tree, &names(&target)?, parent, name)
        }
        Kind::Fifo => {
            clear(parent, name)?;
            Ok(mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?)
        }
        Kind::Global => Ok(()),
        _ => Err(Fault::Refused("not a file, directory or link; device nodes are the runtime's to make")),
    }
}

/// Opens the directory `path` below `tree`, making what is missing of it; links in it end inside the tree.
fn directory(tree: &OwnedFd, path: &Path) -> Result<OwnedFd, Fault> {
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(tree, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    };
    match open() {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let name = path.file_name().ok_or(Fault::Refused("leads out of the root"))?;
    let above = directory(tree, path.parent().unwrap_or(Path::new("")))?;
    match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(open()?),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes away what an earlier entry of the same name made, so that nothing is followed or written through.
fn clear(parent: &OwnedFd, name: &str) -> Result<(), Fault> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => Err(Fault::Refused("was a directory before")),
        Err(errno) => Err(errno.into()),
    }
}

/// Hides what lower layers have under this name. What this layer itself puts there stays (image-spec, layer.md,
/// "Whiteouts"), in whatever order the two come.
fn hide(parent: &OwnedFd, name: &str) -> Result<(), Fault> {
    match mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    match openat(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(directory) => make_opaque(&directory),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn make_opaque(directory: &OwnedFd) -> Result<(), Fault> {
    Ok(fsetxattr(directory, "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
}

fn make_directory(parent: &OwnedFd, name: &str, entry: &Entry<'_, '_>) -> Result<(), Fault> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = mkdirat(parent, name, Mode::from_raw_mode(0o755));
    let opened = match (made, openat(parent, name, flags, Mode::empty())) {
        (Ok(()) | Err(Errno::EXIST), Ok(dir)) => dir,
        // A link or file of that name goes; so does a whiteout, and with it what it hid.
        (Err(Errno::EXIST), Err(Errno::NOTDIR | Errno::LOOP)) => {
            let kind = FileType::from_raw_mode(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
            clear(parent, name)?;
            mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
            let opened = openat(parent, name, flags, Mode::empty())?;
            if kind == FileType::CharacterDevice {
                make_opaque(&opened)?;
            }
            opened
        }
        (Err(errno), _) | (_, Err(errno)) => return Err(errno.into()),
    };
    attributes(&opened, entry)
}

fn file(parent: &OwnedFd, name: &str, entry: &mut Entry<'_, '_>) -> Result<(), Fault> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut out = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
    io::copy(entry, &mut out)?;
    attributes(&out, entry)
}

fn hard_link(tree: &OwnedFd, target: &Path, parent: &OwnedFd, name: &str) -> Result<(), Fault> {
    let from = directory(tree, target.parent().unwrap_or(Path::new("")))?;
    let target = target.file_name().ok_or(Fault::Refused("a link to the root"))?;
    Ok(linkat(&from, target, parent, name, AtFlags::empty())?)
}

fn owner(entry: &Entry<'_, '_>) -> Result<(Uid, Gid), Fault> {
    // u32::MAX means "leave it" to chown(2).
    let small =
        |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(Fault::Refused("owner out of range"));
    let (uid, gid) = entry.owner()?;
    Ok((Uid::from_raw(small(uid)?), Gid::from_raw(small(gid)?)))
}

/// Owner first: changing it would take set-user-id bits away.
fn attributes(file: impl AsFd, entry: &Entry<'_, '_>) -> Result<(), Fault> {
    let (uid, gid) = owner(entry)?;
    fchown(&file, Some(uid), Some(gid))?;
    fchmod(&file, Mode::from_raw_mode(entry.mode()?))?;
    let time = Timespec { tv_sec: i64::try_from(entry.mtime()).unwrap_or(0), tv_nsec: 0 };
    Ok(futimens(&file, &Timestamps { last_access: time, last_modification: time })?)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
