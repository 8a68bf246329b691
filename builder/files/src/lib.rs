//! Files and trees that strangers may have put there: opened without waiting for anybody, removed and given
//! away however deep.
//!
//! A layout, a model or a directory that somebody else made may hold a FIFO where a file should be: opening it waits
//! for a writer who never comes, with every lock that is held meanwhile. Opening a device can do worse. So what is
//! found by its name in a foreign tree is opened by [`open_regular`]. What the user names on the command line, and may
//! well be a pipe, is opened as usual.

mod tree;

use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

pub use tree::{disk_usage, give, remove};

/// Nothing waits for a FIFO's other end, and no terminal becomes this program's.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens a regular file for reading; links are followed. Never waits.
///
/// # Errors
/// When there is none, it may not be read, or something else than a regular file is there.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Looked at first: opening a device may be all that it waits for. What is swapped in between is opened, but not
    // waited for, and not read.
    regular(&std::fs::metadata(path)?)?;
    checked(openat(CWD, path, FLAGS, Mode::empty())?.into())
}

/// The same for a path whose links were resolved before: a link that is there now was put there since.
///
/// # Errors
/// As [`open_regular`], and when a link is met.
pub fn open_unlinked(path: &Path) -> io::Result<File> {
    regular(&std::fs::symlink_metadata(path)?)?;
    let file = match openat2(CWD, path, FLAGS, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // Linux before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => openat(CWD, path, FLAGS | OFlags::NOFOLLOW, Mode::empty()),
        opened => opened,
    };
    checked(file?.into())
}

/// What a file is that is no regular one, no directory and no link.
pub fn special(kind: FileType) -> Option<&'static str> {
    if kind.is_block_device() || kind.is_char_device() {
        Some("a device")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_fifo() {
        Some("a FIFO")
    } else {
        None
    }
}

fn checked(file: File) -> io::Result<File> {
    regular(&file.metadata()?)?;
    Ok(file)
}

fn regular(meta: &Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    let got = match special(kind) {
        None if kind.is_file() => return Ok(()),
        None if kind.is_symlink() => "a link",
        None => "a directory",
        Some(what) => what,
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {got}, want a regular file")))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(CWD, at("fifo"), Mode::from_raw_mode(0o600)).expect("fifo");
        let _socket = UnixListener::bind(at("socket")).expect("socket");
        std::fs::create_dir(at("dir")).expect("directory");
        symlink("fifo", at("link to fifo")).expect("link");
        for (name, what) in
            [("fifo", "a FIFO"), ("link to fifo", "a FIFO"), ("socket", "a socket"), ("dir", "a directory")]
        {
            let error = open_regular(&at(name)).expect_err(name);
            assert_eq!(error.to_string(), format!("it is {what}, want a regular file"), "{name}");
        }
        assert_eq!(
            open_regular(Path::new("/dev/null")).expect_err("device").to_string(),
            "it is a device, want a regular file"
        );
        assert_eq!(open_regular(&at("absent")).expect_err("absent").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_that_came_since_is_not_followed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().canonicalize().expect("path").join(name);
        std::fs::create_dir(at("in")).expect("directory");
        std::fs::write(at("in/file"), "content").expect("write");
        symlink("in", at("link")).expect("link");
        symlink("in/file", at("other")).expect("link");
        open_unlinked(&at("in/file")).expect("a plain path");
        let error = open_unlinked(&at("other")).expect_err("a link");
        assert_eq!(error.to_string(), "it is a link, want a regular file");
        open_unlinked(&at("link/file")).expect_err("a link on the way");
    }

    #[test]
    fn a_file_is_opened_also_by_a_link_to_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::write(dir.path().join("file"), "content").expect("write");
        symlink("file", dir.path().join("link")).expect("link");
        for name in ["file", "link"] {
            let mut text = String::new();
            let mut file = open_regular(&dir.path().join(name)).expect(name);
            file.read_to_string(&mut text).expect("read");
            assert_eq!(text, "content");
        }
    }
}
