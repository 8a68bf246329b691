//! Paths below a root that somebody else wrote: no symbolic link, `..` or magic link leads out of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Component, Path, PathBuf};

use hone_contract::quoted_path;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// A file below an untrusted root that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RootedError {
    /// A call failed.
    #[error("read \"{}\" in \"{}\"", quoted_path(path), quoted_path(root))]
    Io {
        /// The root.
        root: PathBuf,
        /// The path below it.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Not a regular file: a FIFO would block, a device would answer for ever.
    #[error("read \"{}\" in \"{}\": not a regular file", quoted_path(path), quoted_path(root))]
    NotRegular {
        /// The root.
        root: PathBuf,
        /// The path below it.
        path: PathBuf,
    },
    /// Longer than the caller is ready to hold.
    #[error("read \"{}\" in \"{}\": {got} bytes, want at most {want}", quoted_path(path), quoted_path(root))]
    TooLarge {
        /// The root.
        root: PathBuf,
        /// The path below it.
        path: PathBuf,
        /// Its size.
        got: u64,
        /// The bound.
        want: u64,
    },
}

/// Reads the regular file `path` as if `root` were `/`, at most `max` bytes; `None` when it is not there.
///
/// # Errors
/// See [`RootedError`].
pub fn read_in_root(root: &Path, path: &Path, max: u64) -> Result<Option<Vec<u8>>, RootedError> {
    let fail = |source: io::Error| RootedError::Io { root: root.into(), path: path.into(), source };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open_in_root(root, path, flags) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(fail(errno.into())),
    };
    let meta = file.metadata().map_err(fail)?;
    if !meta.is_file() {
        return Err(RootedError::NotRegular { root: root.into(), path: path.into() });
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max {
        let got = meta.len().max(bytes.len() as u64);
        return Err(RootedError::TooLarge { root: root.into(), path: path.into(), got, want: max });
    }
    Ok(Some(bytes))
}

/// Where `path` leads when `root` is `/`: an absolute path as the inside sees it, links followed as far as the
/// path exists, the rest taken as written.
///
/// The answer is only as lasting as the tree: use it to decide, not to open.
pub fn resolve_in_root(root: &Path, path: &Path) -> PathBuf {
    let clean = clean(path);
    let Ok(real_root) = std::fs::canonicalize(root) else { return clean };
    let mut existing = clean.as_path();
    loop {
        if let Some(inside) = real_path(&real_root, existing) {
            return match clean.strip_prefix(existing) {
                Ok(rest) if !rest.as_os_str().is_empty() => inside.join(rest),
                _ => inside,
            };
        }
        match existing.parent() {
            Some(parent) => existing = parent,
            None => return clean,
        }
    }
}

/// Makes the directory `path` and those above it as if `root` were `/`; one that is there is left as it is.
///
/// # Errors
/// What the kernel said: `ELOOP` for a path through a magic link of `/proc`, which leads out of any root.
pub fn make_directory_in_root(root: &Path, path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = PathBuf::from("/");
    let mut dir = open_in_root(root, &at, flags)?;
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        at.push(name);
        dir = match open_in_root(root, &at, flags) {
            Err(Errno::NOENT) => {
                mkdirat(&dir, name, Mode::from_raw_mode(0o755))?;
                open_in_root(root, &at, flags)?
            }
            other => other?,
        };
    }
    Ok(())
}

/// Enters the directory `path`, unless it leads through a magic link of `/proc` (CVE-2024-21626).
///
/// # Errors
/// What the kernel said; `ELOOP` for such a path.
pub fn enter_directory(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    Ok(rustix::process::fchdir(dir)?)
}

fn real_path(root: &Path, path: &Path) -> Option<PathBuf> {
    let file = open_in_root(root, path, OFlags::PATH | OFlags::CLOEXEC).ok()?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    real.strip_prefix(root).ok().map(|inside| Path::new("/").join(inside))
}

fn open_in_root(root: &Path, path: &Path, flags: OFlags) -> Result<File, Errno> {
    let dir = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(File::from(openat2(&dir, path, flags, Mode::empty(), resolve)?))
}

/// The absolute path without `.`, `..` and doubled slashes, by its letters alone.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::Normal(name) => out.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("etc")).expect("mkdir");
        std::fs::write(dir.path().join("etc/job"), b"inside").expect("write");
        dir
    }

    #[test]
    fn an_absolute_link_stays_inside() {
        let dir = tree();
        symlink("/etc", dir.path().join("hone")).expect("symlink");
        let got = read_in_root(dir.path(), Path::new("/hone/job"), 100).expect("read");
        assert_eq!(got.as_deref(), Some(&b"inside"[..]));
    }

    #[test]
    fn a_link_that_climbs_out_finds_nothing() {
        let dir = tree();
        symlink("../../../../../../etc/hostname", dir.path().join("climb")).expect("symlink");
        assert!(read_in_root(dir.path(), Path::new("/climb"), 100).expect("read").is_none());
    }

    #[test]
    fn a_fifo_is_refused_at_once() {
        let dir = tree();
        rustix::fs::mknodat(CWD, dir.path().join("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .expect("mkfifo");
        let error = read_in_root(dir.path(), Path::new("/fifo"), 100).expect_err("fifo");
        assert!(matches!(error, RootedError::NotRegular { .. }));
    }

    #[test]
    fn a_long_file_is_refused() {
        let dir = tree();
        let error = read_in_root(dir.path(), Path::new("etc/job"), 5).expect_err("6 bytes");
        assert!(matches!(error, RootedError::TooLarge { got: 6, want: 5, .. }));
    }

    #[test]
    fn a_path_without_end_is_cut_and_escaped() {
        let dir = tree();
        let path = PathBuf::from("\u{1b}x".repeat(1 << 20));
        let error = read_in_root(dir.path(), &path, 5).expect_err("longer than any path");
        let said = error.to_string();
        assert!(said.len() < 3000 && !said.contains('\u{1b}'), "{} bytes: {said:.200}", said.len());
        let said = read_in_root(dir.path(), Path::new("etc"), 5).expect_err("a directory").to_string();
        assert_eq!(said, format!("read \"etc\" in \"{}\": not a regular file", dir.path().display()));
    }

    #[test]
    fn directories_are_made_inside_and_through_no_magic_link() {
        let dir = tree();
        symlink("/etc", dir.path().join("link")).expect("symlink");
        make_directory_in_root(dir.path(), Path::new("/link/a/b")).expect("make");
        assert!(dir.path().join("etc/a/b").is_dir());
        make_directory_in_root(dir.path(), Path::new("/link/a/b")).expect("again");
        let outside = tempfile::tempdir().expect("tempdir");
        let open = File::open(outside.path()).expect("open");
        let magic = PathBuf::from(format!("/proc/self/fd/{}/x", open.as_raw_fd()));
        let error = make_directory_in_root(Path::new("/"), &magic).expect_err("magic link");
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert!(!outside.path().join("x").exists());
        let error = enter_directory(magic.parent().expect("parent")).expect_err("magic link");
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn resolving_follows_links_and_keeps_the_missing_rest() {
        let dir = tree();
        symlink("/etc", dir.path().join("data")).expect("symlink");
        assert_eq!(resolve_in_root(dir.path(), Path::new("/data/x/../y")), Path::new("/etc/y"));
        assert_eq!(resolve_in_root(dir.path(), Path::new("/new/./z")), Path::new("/new/z"));
        assert_eq!(resolve_in_root(dir.path(), Path::new("/..")), Path::new("/"));
    }
}
