//! Files and trees that strangers may have put there: opened without waiting for anybody, removed however deep.
//!
//! A layout, a model or a directory that somebody else made may hold a FIFO where a file should be: opening it waits
//! for a writer who never comes, with every lock that is held meanwhile. Opening a device can do worse. So what is
//! found by its name in a foreign tree is opened by [`open_regular`]. What the user names on the command line, and may
//! well be a pipe, is opened as usual.

mod tree;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

pub use tree::{disk_usage, remove};

/// Opens a regular file for reading; links are followed. Never waits.
///
/// # Errors
/// When there is none, it may not be read, or something else than a regular file is there.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Looked at first: opening a device may be all that it waits for. What is swapped in between is opened, but not
    // waited for, and not read.
    regular(&std::fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    regular(&file.metadata()?)?;
    Ok(file)
}

fn regular(meta: &Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    let got = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
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
