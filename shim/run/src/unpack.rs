//! One layer's tar -> one directory, as an overlay lower directory.
//!
//! The tar is hostile until proven otherwise. Every entry is reached from the directory's own descriptor with openat2,
//! RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS (openat2(2)), so that no name, link or swapped directory leads out of it. Files, directories,
//! symbolic and hard links are taken; devices, FIFOs and extended attributes are refused or left out: no image that
//! Hone runs needs them. Whiteouts (OCI image-spec, layer.md) become overlayfs's own form.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use tar::{Archive, Entry, EntryType};

/// Entries in one layer; a Debian root has some 30,000.
const MAX_ENTRIES: u64 = 1_000_000;
/// Directories above an entry.
const MAX_DEPTH: usize = 100;
/// Prefix of a whiteout, and the name of an opaque one.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A layer that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Reading the tar, or writing an entry, failed.
    #[error("unpack {}", .path.display())]
    Io {
        /// The entry, or the directory unpacked into.
        path: PathBuf,
        /// What the kernel or the reader said.
        #[source]
        source: io::Error,
    },
    /// An entry that no layer may hold.
    #[error("unpack {}: {got}", .path.display())]
    Entry {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        got: String,
    },
    /// More entries than [`MAX_ENTRIES`].
    #[error("unpack: more than {MAX_ENTRIES} entries")]
    TooMany,
}

fn at<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> UnpackError + '_ {
    |error| UnpackError::Io { path: path.to_owned(), source: error.into() }
}

/// Unpacks `tar` into the empty directory `into`, and reads it to its end, so that a verified reader has checked all of it.
///
/// # Errors
/// See [`UnpackError`]; the directory then holds a part of the layer and is the caller's to remove.
pub fn unpack(tar: impl Read, into: &Path) -> Result<(), UnpackError> {
    let root = rustix::fs::open(into, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .map_err(at(into))?;
    let mut archive = Archive::new(tar);
    for (seen, entry) in (1u64..).zip(archive.entries().map_err(at(into))?) {
        if seen > MAX_ENTRIES {
            return Err(UnpackError::TooMany);
        }
        place(&root, &mut entry.map_err(at(into))?)?;
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(at(into))?;
    rustix::fs::syncfs(&root).map_err(at(into))
}

/// The entry's path without `/` and `./` in front; `None` for the root itself.
fn plain(path: &Path) -> Result<Option<PathBuf>, UnpackError> {
    let refuse = |got: &str| UnpackError::Entry { path: path.to_owned(), got: got.to_owned() };
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(refuse("a name with `..`")),
        }
    }
    if clean.components().count() > MAX_DEPTH {
        return Err(refuse("nested too deep"));
    }
    Ok((!clean.as_os_str().is_empty()).then_some(clean))
}

fn place(root: &OwnedFd, entry: &mut Entry<'_, impl Read>) -> Result<(), UnpackError> {
    let shown = entry.path().map_err(at(Path::new("entry")))?.into_owned();
    let Some(path) = plain(&shown)? else { return Ok(()) };
    let refuse = |got: String| UnpackError::Entry { path: shown.clone(), got };
    let name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    let parent = parent(root, path.parent().unwrap_or(Path::new(""))).map_err(at(&shown))?;
    if name.as_bytes().starts_with(WHITEOUT) {
        return whiteout(&parent, name.as_bytes()).map_err(at(&shown));
    }
    let done = match entry.header().entry_type() {
        EntryType::Directory => directory(&parent, &name, entry),
        EntryType::Regular | EntryType::Continuous => file(&parent, &name, entry),
        EntryType::Symlink => {
            let Some(target) = entry.link_name().map_err(at(&shown))? else {
                return Err(refuse("a link to nowhere".to_owned()));
            };
            symlink(&parent, &name, &target, entry)
        }
        EntryType::Link => {
            let target = entry.link_name().map_err(at(&shown))?.map(|t| plain(&t)).transpose()?.flatten();
            let Some(target) = target else { return Err(refuse("a link to nowhere".to_owned())) };
            hard_link(root, &target, &parent, &name)
        }
        EntryType::XGlobalHeader => Ok(()),
        other => {
            return Err(refuse(format!("an entry of type {other:?}; only files, directories and links are taken")));
        }
    };
    done.map_err(at(&shown))
}

fn beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens the directory `path`, making what a layer with lone entries does not name.
fn parent(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    match beneath(root, path, OFlags::DIRECTORY) {
        Err(rustix::io::Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let above = parent(root, path.parent().unwrap_or(Path::new("")))?;
    let name = path.file_name().unwrap_or(OsStr::new(""));
    match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(beneath(root, path, OFlags::DIRECTORY)?),
        Err(error) => Err(error.into()),
    }
}

/// Removes what an earlier entry of the same name left; a directory stays, since a later one only changes its mode.
fn clear(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn owner(entry: &Entry<'_, impl Read>) -> io::Result<(Option<Uid>, Option<Gid>)> {
    let id = |n: u64| u32::try_from(n).map_err(|_| io::Error::other("an owner beyond 32 bits"));
    Ok((Some(Uid::from_raw(id(entry.header().uid()?)?)), Some(Gid::from_raw(id(entry.header().gid()?)?))))
}

/// Owner first, mode second: chown clears the setuid bit.
fn dress(fd: impl AsFd, entry: &Entry<'_, impl Read>) -> io::Result<()> {
    let (uid, gid) = owner(entry)?;
    rustix::fs::fchown(&fd, uid, gid)?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.header().mode()? & 0o7777))?;
    Ok(())
}

fn directory(parent: &OwnedFd, name: &OsStr, entry: &Entry<'_, impl Read>) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if rustix::fs::openat(parent, name, flags, Mode::empty()).is_err() {
        clear(parent, name)?;
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
    }
    dress(rustix::fs::openat(parent, name, flags, Mode::empty())?, entry)
}

fn file(parent: &OwnedFd, name: &OsStr, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
    clear(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = std::fs::File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
    let want = entry.size();
    let got = io::copy(entry, &mut to)?;
    if got != want {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{got} bytes, want {want}")));
    }
    dress(&to, entry)
}

fn symlink(parent: &OwnedFd, name: &OsStr, target: &Path, entry: &Entry<'_, impl Read>) -> io::Result<()> {
    clear(parent, name)?;
    rustix::fs::symlinkat(target, parent, name)?;
    let (uid, gid) = owner(entry)?;
    Ok(rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn hard_link(root: &OwnedFd, target: &Path, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let from = beneath(root, target.parent().unwrap_or(Path::new("")), OFlags::DIRECTORY)?;
    let target = target.file_name().unwrap_or(OsStr::new(""));
    let found = rustix::fs::statat(&from, target, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("a hard link to something that is not a file"));
    }
    clear(parent, name)?;
    Ok(rustix::fs::linkat(&from, target, parent, name, AtFlags::empty())?)
}

/// A whiteout hides a name of the layers below: overlayfs wants a 0:0 character device, or an attribute on the directory.
fn whiteout(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    if name == OPAQUE {
        return Ok(rustix::fs::fsetxattr(parent, "trusted.overlay.opaque", b"y", XattrFlags::empty())?);
    }
    let hidden = OsStr::from_bytes(&name[WHITEOUT.len()..]);
    clear(parent, hidden)?;
    Ok(rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use tar::{Builder, Header};

    /// A tar of entries with any name at all: the header is written by hand, as an attacker would.
    fn tar_of(entries: &[(&[u8], EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, link, data) in entries {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(data.len() as u64);
            header.set_mode(0o755);
            (
                header.set_uid(rustix::process::geteuid().as_raw().into()),
                header.set_gid(rustix::process::getegid().as_raw().into()),
            );
            header.set_cksum();
            builder.append(&header, *data).expect("append");
        }
        builder.into_inner().expect("finish")
    }

    fn unpacked(entries: &[(&[u8], EntryType, &str, &[u8])]) -> (tempfile::TempDir, Result<(), UnpackError>) {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::create_dir(dir.path().join("in")).expect("in");
        let result = unpack(tar_of(entries).as_slice(), &dir.path().join("in"));
        (dir, result)
    }

    #[test]
    fn files_links_and_directories_arrive_as_written() {
        let (dir, result) = unpacked(&[
            (b"a/b/file", EntryType::Regular, "", b"text"),
            (b"a/link", EntryType::Symlink, "/outside", b""),
            (b"./twin", EntryType::Link, "a/b/file", b""),
            (b"/rooted", EntryType::Directory, "", b""),
        ]);
        result.expect("unpack");
        let root = dir.path().join("in");
        assert_eq!(std::fs::read(root.join("twin")).expect("read"), b"text");
        assert_eq!(root.join("a/b/file").metadata().expect("meta").nlink(), 2);
        assert_eq!(root.join("a/link").read_link().expect("link"), Path::new("/outside"));
        assert_eq!(root.join("rooted").metadata().expect("meta").permissions().mode() & 0o7777, 0o755);
    }

    #[test]
    fn no_entry_leads_out() {
        let hostile: [&[(&[u8], EntryType, &str, &[u8])]; 5] = [
            &[(b"../escape", EntryType::Regular, "", b"x")],
            &[(b"l", EntryType::Symlink, "..", b""), (b"l/escape", EntryType::Regular, "", b"x")],
            &[(b"l", EntryType::Symlink, "/tmp", b""), (b"l/escape-hone-test", EntryType::Directory, "", b"")],
            &[(b"h", EntryType::Link, "../secret", b"")],
            &[(b"l", EntryType::Symlink, "..", b""), (b"h", EntryType::Link, "l/secret", b"")],
        ];
        for entries in hostile {
            let dir = tempfile::tempdir().expect("dir");
            std::fs::create_dir(dir.path().join("in")).expect("in");
            std::fs::write(dir.path().join("secret"), "s").expect("secret");
            unpack(tar_of(entries).as_slice(), &dir.path().join("in")).expect_err("an escape");
            let names: Vec<_> =
                std::fs::read_dir(dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
            assert_eq!(names.len(), 2, "{names:?}");
            assert_eq!(dir.path().join("secret").metadata().expect("meta").nlink(), 1);
        }
    }

    #[test]
    fn a_later_entry_replaces_a_link_and_does_not_write_through_it() {
        let (dir, result) =
            unpacked(&[(b"f", EntryType::Symlink, "../outside", b""), (b"f", EntryType::Regular, "", b"inside")]);
        result.expect("unpack");
        assert!(!dir.path().join("outside").exists());
        assert_eq!(std::fs::read(dir.path().join("in/f")).expect("read"), b"inside");
    }

    #[test]
    fn devices_and_fifos_are_refused_by_name() {
        for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
            let (_dir, result) = unpacked(&[(b"dev/x", kind, "", b"")]);
            let text = result.expect_err("refused").to_string();
            assert!(text.starts_with("unpack dev/x: an entry of type"), "{text}");
        }
    }

    #[test]
    fn root_whiteouts_take_overlay_form() {
        let (dir, result) = unpacked(&[(b"etc/.wh.motd", EntryType::Regular, "", b"")]);
        result.expect("unpack");
        let meta = dir.path().join("in/etc/motd").symlink_metadata().expect("meta");
        assert!(meta.file_type().is_char_device());
        assert_eq!(meta.rdev(), 0);
    }

    #[test]
    fn a_truncated_tar_is_an_error() {
        let bytes = tar_of(&[(b"f", EntryType::Regular, "", &[7; 4000])]);
        let dir = tempfile::tempdir().expect("dir");
        unpack(&bytes[..2000], dir.path()).expect_err("truncated");
    }
}
