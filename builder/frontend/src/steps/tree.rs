//! `tree DIR`: a root filesystem as `hone build` packs it, laid out, with the digest of the layer that it makes of it.

use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::SystemTime;

use hone_contract::Hashing;
use hone_image::tar::TarWriter;
use hone_tree::{Tree, TreeKind};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::StepError;
use crate::exchange::TreeFound;

/// Packs `from` for its digest, and lays it out in `to`.
pub fn tree(from: &Path, to: &Path) -> Result<TreeFound, StepError> {
    let tree = Tree::scan(from)?;
    tree.refuse_reserved()?;
    let mut tar = TarWriter::new(Hashing::new(io::sink()));
    tree.write(&mut tar, &mut |_| {})?;
    let layer = tar.finish().map_err(StepError::at("pack", from))?;
    lay_out(&tree, to)?;
    let architecture = tree.architecture()?.map(str::to_owned);
    Ok(TreeFound { diff_id: layer.digest(), architecture })
}

fn lay_out(tree: &Tree, to: &Path) -> Result<(), StepError> {
    for item in tree.items() {
        let path = to.join(&item.path);
        let made = || StepError::at("make", &path);
        match &item.kind {
            TreeKind::Dir { .. } => fs::create_dir(&path).map_err(made())?,
            TreeKind::Link(target) => symlink(target, &path).map_err(made())?,
            TreeKind::File { .. } => {
                let mut file = File::create_new(&path).map_err(made())?;
                io::copy(&mut tree.open(item)?, &mut file).map_err(made())?;
            }
        }
    }
    // Last, because what is made in a directory changes its times; innermost first changes nothing, but costs nothing.
    for item in tree.items().iter().rev() {
        let path = to.join(&item.path);
        let mode = match item.kind {
            TreeKind::Link(_) => None,
            TreeKind::Dir { shared: true } => Some(0o1777),
            TreeKind::Dir { .. } | TreeKind::File { executable: true, .. } => Some(0o755),
            TreeKind::File { .. } => Some(0o644),
        };
        settle(&path, mode).map_err(StepError::at("set times and mode of", &path))?;
    }
    Ok(())
}

fn settle(path: &Path, mode: Option<u32>) -> io::Result<()> {
    let Some(mode) = mode else {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let times = Timestamps { last_access: zero, last_modification: zero };
        return Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?);
    };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    zero_times(path)
}

/// Sets both times of a file or directory to the start of 1970.
pub fn zero_times(path: &Path) -> io::Result<()> {
    let zero = SystemTime::UNIX_EPOCH;
    File::open(path)?.set_times(FileTimes::new().set_accessed(zero).set_modified(zero))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_laid_out_packs_to_the_same_layer() {
        let (from, to) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("to"));
        let root = from.path();
        fs::create_dir_all(root.join("bin")).expect("bin");
        fs::create_dir(root.join("tmp")).expect("tmp");
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).expect("mode");
        fs::write(root.join("bin/tool"), b"\x7fELF\x02\x01............\x3e\x00").expect("tool");
        fs::set_permissions(root.join("bin/tool"), Permissions::from_mode(0o4711)).expect("mode");
        symlink("bin/tool", root.join("link")).expect("link");
        let found = tree(root, to.path()).expect("tree");
        assert_eq!(found.architecture.as_deref(), Some("amd64"));
        let again = tempfile::tempdir().expect("again");
        assert_eq!(tree(to.path(), again.path()).expect("tree").diff_id, found.diff_id);
        for (name, mode) in [("bin", 0o40755), ("bin/tool", 0o100_755), ("tmp", 0o41777), ("link", 0o120_777)] {
            let meta = fs::symlink_metadata(to.path().join(name)).expect(name);
            assert_eq!((meta.mode(), meta.mtime()), (mode, 0), "{name}");
        }
    }
}
