//! Trees that somebody else made: removed, measured and given away, however deep they are and whatever else happens to them.
//!
//! `std::fs::remove_dir_all` holds a descriptor for each level, so that a tree with more levels than a process may have
//! open files, which takes one tar to make, stays for ever; and no path longer than PATH_MAX can be named at all. A
//! walk here holds the descriptors of two directories. It goes up by `..`, and goes on only if that is the directory
//! from which it came down. It follows no link, and removes and measures nothing that is mounted in the tree.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, chmod, chownat, fstat, openat, openat2,
    statat, unlinkat,
};
use rustix::io::Errno;

/// Names of directories that a removal remembers of one level; the others it finds when it looks again.
const BATCH: usize = 64;
/// How often a directory may be found with something in it after it was emptied: somebody else writes into the tree.
const MAX_REFILLS: u32 = 1000;
/// What the owner of a directory needs to empty it.
const OWN: u32 = 0o700;
/// A directory that is only passed through.
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A directory above the one where a walk is.
struct Above {
    /// By which the walk went down from it.
    name: CString,
    identity: (u64, u64),
    /// Directories in it that are still to be entered.
    pending: Vec<CString>,
    /// Whether those were all.
    whole: bool,
}

/// Removes a file, or a directory with all in it; absent is fine. The tree may change meanwhile.
///
/// # Errors
/// The first thing that cannot be removed; what is not removed by then stays.
pub fn remove(path: &Path) -> io::Result<()> {
    let Some((mut here, name)) = parent(path)? else { return Ok(()) };
    if !unlink(&here, &name)? {
        return Ok(());
    }
    let (mut above, mut refills): (Vec<Above>, u32) = (Vec::new(), 0);
    let (mut pending, mut whole) = (vec![name], true);
    loop {
        if let Some(name) = pending.pop() {
            match enter(&here, &name) {
                Ok(below) => {
                    above.push(Above { name, identity: identity(&fstat(&here)?), pending, whole });
                    here = below;
                    (pending, whole) = empty(&here)?;
                }
                Err(Errno::NOENT) => {}
                // Somebody put a file or a link in its place.
                Err(Errno::NOTDIR | Errno::LOOP) => unlink(&here, &name).map(drop)?,
                Err(errno) => return Err(errno.into()),
            }
            continue;
        }
        let Some(up) = above.pop() else { return Ok(()) };
        here = leave(&here, up.identity)?;
        let all = std::mem::replace(&mut whole, up.whole);
        pending = up.pending;
        match unlinkat(&here, &up.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if refills < MAX_REFILLS => {
                refills += u32::from(all);
                pending.push(up.name);
            }
            Err(Errno::NOTDIR) => unlink(&here, &up.name).map(drop)?,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Bytes on disk of a file, or of a directory and all in it; what cannot be read counts as nothing.
pub fn disk_usage(path: &Path) -> u64 {
    let Ok(Some((mut here, name))) = parent(path) else { return 0 };
    let Ok(own) = statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW) else { return 0 };
    let (mut above, mut pending, mut total): (Vec<Above>, _, _) = (Vec::new(), vec![name], blocks(&own));
    loop {
        if let Some(name) = pending.pop() {
            let (Ok(own), Ok(below)) = (fstat(&here), enter(&here, &name)) else { continue };
            above.push(Above { name, identity: identity(&own), pending, whole: true });
            here = below;
            let (bytes, directories) = measure(&here);
            total += bytes;
            pending = directories;
            continue;
        }
        let Some(up) = above.pop() else { return total };
        let Ok(back) = leave(&here, up.identity) else { return total };
        (here, pending) = (back, up.pending);
    }
}

/// Gives a file, or a directory and all in it, to this user and group. Links are given away themselves, what is theirs
/// already is left as it is, and what is mounted in the tree belongs to it.
///
/// # Errors
/// What cannot be given away or read, and why; the rest then stays whose it was.
pub fn give(path: &Path, uid: u32, gid: u32) -> Result<(), (PathBuf, io::Error)> {
    let mut at = path.to_owned();
    give_all(&mut at, uid, gid).map_err(|error| (at, error))
}

/// [`give`], of what lies at `at`, which says afterwards how far it came.
fn give_all(at: &mut PathBuf, uid: u32, gid: u32) -> io::Result<()> {
    let (mut here, name) = parent(at)?.ok_or(Errno::NOENT)?;
    if !give_one(&here, &name, uid, gid)? {
        return Ok(());
    }
    at.pop();
    let (mut above, mut pending): (Vec<Above>, _) = (Vec::new(), vec![name]);
    loop {
        if let Some(name) = pending.pop() {
            at.push(OsStr::from_bytes(name.to_bytes()));
            let below = openat(&here, &name, PASS | OFlags::NOFOLLOW, Mode::empty())?;
            above.push(Above { name, identity: identity(&fstat(&here)?), pending, whole: true });
            here = below;
            pending = Vec::new();
            for entry in read(&here)? {
                let entry = entry?;
                let name = entry.file_name();
                if dots(name) {
                    continue;
                }
                at.push(OsStr::from_bytes(name.to_bytes()));
                if give_one(&here, name, uid, gid)? {
                    pending.push(name.to_owned());
                }
                at.pop();
            }
            continue;
        }
        let Some(up) = above.pop() else { return Ok(()) };
        (here, pending) = (leave(&here, up.identity)?, up.pending);
        at.pop();
    }
}

/// Gives away what lies in `here`; whether it is a directory.
fn give_one(here: &OwnedFd, name: &CStr, uid: u32, gid: u32) -> io::Result<bool> {
    let stat = statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(here, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The directory that `path` lies in, and its name there; `None` when there is no such directory.
fn parent(path: &Path) -> io::Result<Option<(OwnedFd, CString)>> {
    let name = CString::new(path.file_name().ok_or(Errno::INVAL)?.as_bytes())?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match openat(CWD, parent, PASS, Mode::empty()) {
        Ok(fd) => Ok(Some((fd, name))),
        // Nothing lies in what is not there, or in a file.
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens the directory `name` of `here`, to pass through.
fn enter(here: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = PASS | OFlags::NOFOLLOW;
    match openat2(here, name, flags, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS) {
        // A kernel before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => openat(here, name, flags, Mode::empty()),
        other => other,
    }
}

/// Opens the directory above `here`, if that is still the one from which the walk came.
fn leave(here: &OwnedFd, identity_of_above: (u64, u64)) -> io::Result<OwnedFd> {
    let above = openat(here, "..", PASS, Mode::empty())?;
    match identity(&fstat(&above)?) == identity_of_above {
        true => Ok(above),
        false => Err(io::Error::other("a directory of it was moved meanwhile")),
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Removes what is no directory; gives up to [`BATCH`] of the directories, and whether these are all.
fn empty(here: &OwnedFd) -> io::Result<(Vec<CString>, bool)> {
    let mode = fstat(here)?.st_mode;
    if mode & OWN != OWN {
        // By descriptor, for its name may be another's by now. Where it fails, reading says why.
        let _ = chmod(format!("/proc/self/fd/{}", here.as_raw_fd()), Mode::from_raw_mode(mode | OWN));
    }
    let mut directories = Vec::new();
    for entry in read(here)? {
        let entry = entry?;
        let name = entry.file_name();
        if dots(name) || (entry.file_type() != FileType::Directory && !unlink(here, name)?) {
            continue;
        }
        if directories.len() == BATCH {
            return Ok((directories, false));
        }
        directories.push(name.to_owned());
    }
    Ok((directories, true))
}

/// Bytes on disk of what lies in `here`, and the directories in it.
fn measure(here: &OwnedFd) -> (u64, Vec<CString>) {
    let (mut bytes, mut directories) = (0, Vec::new());
    for entry in read(here).into_iter().flatten().map_while(Result::ok).filter(|entry| !dots(entry.file_name())) {
        let Ok(stat) = statat(here, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        bytes += blocks(&stat);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            directories.push(entry.file_name().to_owned());
        }
    }
    (bytes, directories)
}

fn read(here: &OwnedFd) -> io::Result<Dir> {
    Ok(Dir::new(openat(here, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?)
}

fn dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Bytes on disk; a block counts 512, so that sparse files weigh what they take.
fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

/// Removes what is no directory; whether it is one.
fn unlink(here: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
    match unlinkat(here, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => Ok(true),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
