//! The user's data, before anything starts: that it is there, what it is, and that the container can read it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hone_contract::job::DATA_DIRS;
use hone_contract::{Digest, Hashing};

use crate::error::RunError;
use crate::user::User;
use hone_commands::run::Volume;

/// A file of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataFile {
    /// Path below the data directory.
    pub name: PathBuf,
    pub size: u64,
    pub digest: Digest,
}

/// The place of the data among the volumes: the first directory that a trainer looks into.
pub(crate) fn source<'a>(volumes: &'a [Volume], image: &str) -> Result<&'a Path, RunError> {
    let at = |dir: &str| volumes.iter().find(|v| v.destination.trim_end_matches('/') == dir);
    DATA_DIRS
        .iter()
        .find_map(|dir| at(dir))
        .map(|v| v.source.as_path())
        .ok_or_else(|| RunError::NoData(image.to_owned()))
}

/// What lies in a data directory.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// Every file, sorted.
    pub files: Vec<DataFile>,
    /// FIFOs, sockets and devices: reading one would wait for somebody, or never end.
    pub special: Vec<PathBuf>,
}

/// Every file below `source`, with its digest.
pub(crate) fn files(source: &Path, user: &User) -> Result<Data, RunError> {
    let mut found = Data::default();
    walk(source, source, user, &mut found)?;
    if found.files.is_empty() {
        return Err(RunError::EmptyData(source.to_owned()));
    }
    found.files.sort_by(|a, b| a.name.cmp(&b.name));
    found.special.sort();
    Ok(found)
}

fn walk(root: &Path, path: &Path, user: &User, found: &mut Data) -> Result<(), RunError> {
    let meta = fs::metadata(path).map_err(RunError::io("read data", path))?;
    let (needed, directory) = if meta.is_dir() { (0o5, true) } else { (0o4, false) };
    if !directory && !meta.is_file() {
        found.special.push(path.to_owned());
        return Ok(());
    }
    if !readable(&meta, user, needed) {
        return Err(RunError::Unreadable { path: path.to_owned(), uid: user.uid, gid: user.gid });
    }
    if directory {
        for entry in fs::read_dir(path).map_err(RunError::io("read data", path))? {
            let entry = entry.map_err(RunError::io("read data", path))?;
            // A link may lead out of what is mounted, and a directory link in circles: the container sees the link.
            if !entry.file_type().map_err(RunError::io("read data", path))?.is_symlink() {
                walk(root, &entry.path(), user, found)?;
            }
        }
    } else {
        let name = path.strip_prefix(root).unwrap_or(path).to_owned();
        let (digest, size) = digest(path)?;
        found.files.push(DataFile { name, size, digest });
    }
    Ok(())
}

/// Whether `user` may do what the bits of `needed` say. The container's root has no CAP_DAC_READ_SEARCH of the
/// machine's kind, but it owns CAP_DAC_OVERRIDE, so it reads everything.
fn readable(meta: &Metadata, user: &User, needed: u32) -> bool {
    let class = match user {
        User { uid: 0, .. } => return true,
        _ if meta.uid() == user.uid => meta.mode() >> 6,
        _ if meta.gid() == user.gid || user.groups.contains(&meta.gid()) => meta.mode() >> 3,
        _ => meta.mode(),
    };
    class & needed == needed
}

fn digest(path: &Path) -> Result<(Digest, u64), RunError> {
    // What was a file a moment ago may be a FIFO now: opening that must not wait for its other end.
    let file = hone_files::open_regular(path).map_err(RunError::io("read data", path))?;
    let data = Hashing::all(file).map_err(RunError::io("read data", path))?;
    Ok((data.digest(), data.size()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::{CWD, Mode};

    use super::*;

    fn user(uid: u32) -> User {
        User { uid, gid: uid, groups: Vec::new() }
    }

    #[test]
    fn the_volume_at_a_data_directory_is_the_data() {
        let volume =
            |destination: &str| Volume { source: "d".into(), destination: destination.into(), read_only: false };
        assert_eq!(source(&[volume("/x"), volume("/app/data/")], "i").unwrap(), Path::new("d"));
        let error = source(&[volume("/x")], "a:b").unwrap_err().to_string();
        assert_eq!(error, "run a:b: no data: say where it is, e.g. -v $PWD/data:/data");
    }

    #[test]
    fn files_are_found_in_order_and_links_are_left_to_the_container() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["z.jsonl", "b/c.jsonl", "a.jsonl"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        symlink("..", dir.path().join("up")).unwrap();
        let names: Vec<_> = files(dir.path(), &user(0)).unwrap().files.into_iter().map(|f| f.name).collect();
        assert_eq!(names, [Path::new("a.jsonl"), Path::new("b/c.jsonl"), Path::new("z.jsonl")]);
    }

    #[test]
    fn what_would_be_waited_for_is_passed_over_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = |name: &str| rustix::fs::mkfifoat(CWD, dir.path().join(name), Mode::RUSR | Mode::WUSR).unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        fifo("b/pipe.jsonl");
        let error = files(dir.path(), &user(0)).unwrap_err();
        assert!(matches!(error, RunError::EmptyData(_)), "nothing but a FIFO is nothing");
        fifo("a.jsonl");
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        fs::write(dir.path().join("c.jsonl"), "c").unwrap();
        let data = files(dir.path(), &user(0)).unwrap();
        assert_eq!(data.files.iter().map(|f| f.name.as_path()).collect::<Vec<_>>(), [Path::new("c.jsonl")]);
        assert_eq!(data.special, ["a.jsonl", "b/pipe.jsonl", "socket"].map(|name| dir.path().join(name)));
        // The FIFO itself as the data, and one that took a file's place after it was looked at.
        let error = files(&dir.path().join("a.jsonl"), &user(0)).unwrap_err();
        assert!(matches!(error, RunError::EmptyData(_)));
        assert!(digest(&dir.path().join("a.jsonl")).is_err());
        assert_eq!(files(&dir.path().join("c.jsonl"), &user(0)).unwrap().files.len(), 1, "a file as the data");
    }

    #[test]
    fn an_empty_directory_and_an_unreadable_file_are_told_before_anything_starts() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(files(dir.path(), &user(65532)).unwrap_err(), RunError::EmptyData(_)));
        let file = dir.path().join("secret.jsonl");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let error = files(dir.path(), &user(65532)).unwrap_err().to_string();
        assert!(
            error.contains("secret.jsonl") && error.contains("65532:65532") && error.contains("chmod"),
            "{error}"
        );
        assert!(files(dir.path(), &user(0)).is_ok());
    }
}
