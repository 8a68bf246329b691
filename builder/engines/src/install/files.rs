//! Reading and replacing configuration files: whole, atomically, and never half.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A configuration file larger than this is somebody's mistake (bytes).
const MAX: u64 = 1 << 20;

/// The file's text; `None` when it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    let failed = |source| Error::File { operation: "read", path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(meta) if meta.len() > MAX => {
            let reason = format!("{} bytes, want at most {MAX}", meta.len());
            return Err(Error::Config { path: path.to_owned(), reason });
        }
        // A FIFO would be waited for.
        Ok(meta) if !meta.is_file() => {
            return Err(Error::Config { path: path.to_owned(), reason: "want a regular file".to_owned() });
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(failed)
}

/// The same of a file that is to be replaced: a link to nothing is not taken for its absence.
pub(super) fn replaceable(path: &Path) -> Result<Option<String>, Error> {
    let text = read(path)?;
    if text.is_none() && path.is_symlink() {
        let reason = "it is a link to nothing; make the file that it names, or remove the link".to_owned();
        return Err(Error::Config { path: path.to_owned(), reason });
    }
    Ok(text)
}

/// Replaces the file by `text`, keeping its owner, group and mode; behind a symbolic link, the file that it names.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let failed = |source| Error::File { operation: "write", path: path.to_owned(), source };
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    replace(&path, text, mode).map_err(failed)
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let before = fs::metadata(path).ok();
    let mode = before.as_ref().map_or(mode, |meta| meta.permissions().mode() & 0o7777);
    let dir =
        path.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    fs::create_dir_all(&dir)?;
    let mut file = tempfile::Builder::new().prefix(".hone-").tempfile_in(&dir)?;
    file.write_all(text.as_bytes())?;
    let own = file.as_file().metadata()?;
    if let Some(of) = before.filter(|of| (of.uid(), of.gid()) != (own.uid(), own.gid())) {
        fchown(file.as_file(), Some(of.uid()), Some(of.gid()))?;
    }
    // After the owner, whose change takes bits of the mode away.
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(dir)?.sync_all()
}

/// Removes the file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { operation: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Directories above `path` that are not there: what [`write()`] will make, outermost first.
pub(super) fn missing(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
    let mut missing: Vec<PathBuf> = above.take_while(|dir| !dir.exists()).map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// Removes those directories that are empty, the innermost first.
pub(super) fn remove_empty<'p>(dirs: impl DoubleEndedIterator<Item = &'p PathBuf>) -> Result<(), Error> {
    for dir in dirs.rev() {
        match fs::remove_dir(dir) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                return Err(Error::File { operation: "remove", path: dir.to_owned(), source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The one spelling of a path, whatever of it is there.
pub(super) fn canonical(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (fs::canonicalize(&absolute), absolute.parent(), absolute.file_name()) {
        (Ok(path), ..) => path,
        (Err(_), Some(parent), Some(name)) => canonical(parent).join(name),
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_replaced_file_keeps_owner_group_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        fs::write(&path, "{}").unwrap();
        let owned = chown(&path, Some(65534), Some(65533)).is_ok();
        if !owned {
            eprintln!("skipped: only root may give a file away");
        }
        for mode in [0o640, 0o444, 0o2755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let before = fs::metadata(&path).unwrap();
            write(&path, &format!("{mode}"), 0o600).unwrap();
            let after = fs::metadata(&path).unwrap();
            assert_ne!(before.ino(), after.ino(), "it was replaced");
            let of = |meta: &fs::Metadata| (meta.uid(), meta.gid(), meta.mode());
            assert_eq!(of(&after), of(&before));
            assert!(!owned || (after.uid(), after.gid()) == (65534, 65533));
        }
        // What was not there is whose it is who writes it.
        let new = dir.path().join("new");
        write(&new, "", 0o640).unwrap();
        let (new, dir) = (fs::metadata(new).unwrap(), fs::metadata(dir.path()).unwrap());
        assert_eq!((new.uid(), new.mode() & 0o7777), (dir.uid(), 0o640));
    }

    #[test]
    fn a_link_to_nothing_is_no_file_to_replace() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("there", &link).unwrap();
        assert!(replaceable(&link).unwrap_err().to_string().contains("link to nothing"));
        assert_eq!(read(&link).unwrap(), None);
        fs::write(dir.path().join("there"), "{}").unwrap();
        assert_eq!(replaceable(&link).unwrap().as_deref(), Some("{}"));
        assert_eq!(replaceable(&dir.path().join("nothing")).unwrap(), None);
    }
}
