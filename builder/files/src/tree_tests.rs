//! Deep, forbidden and changing trees; nothing beside them is touched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{RenameFlags, mkdirat, renameat_with};
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};

use super::*;

/// Set for a process of this test program that is to remove what it names.
const CHILD: &str = "HONE_TEST_REMOVE";
const NOBODY: u32 = 65534;

/// Makes `levels` directories, each in the one before, the last with a file in it.
fn deep(at: &Path, levels: usize) {
    let mut here = openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&here, "d", Mode::RWXU).unwrap();
        here = enter(&here, c"d").unwrap();
    }
    drop(openat(&here, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap());
}

/// Runs the named test once more, in a process that may remove `path` and have few files open.
fn child(test: &str, path: &Path, user: Option<u32>) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("tree::tests::{test}"), "--nocapture"]).env(CHILD, path);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().unwrap()
}

/// In the process that [`child`] started: removes, and says so.
fn as_child() -> bool {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return false };
    let few = Rlimit { current: Some(24), maximum: Some(24) };
    setrlimit(Resource::Nofile, few).unwrap();
    let before = disk_usage(&path);
    remove(&path).unwrap();
    println!("it had {before} bytes");
    true
}

#[test]
fn a_tree_deeper_than_the_limit_of_open_files_goes() {
    if as_child() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    deep(&tree, 3000);
    fs::write(dir.path().join("beside"), "kept").unwrap();
    let output = child("a_tree_deeper_than_the_limit_of_open_files_goes", &tree, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!tree.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_tree_is_measured_to_its_bottom() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    deep(&tree.join("a"), 3000);
    let before = disk_usage(&tree);
    let mut bottom = openat(CWD, tree.join("a"), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..3000 {
        bottom = enter(&bottom, c"d").unwrap();
    }
    let file = openat(&bottom, "more", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    rustix::io::write(&file, &[7; 1 << 17]).unwrap();
    rustix::fs::fsync(&file).unwrap();
    assert!(disk_usage(&tree) >= before + (1 << 17), "what lies below 3,000 directories counts");
    assert_eq!(disk_usage(&dir.path().join("nothing")), 0);
    remove(&tree).unwrap();
}

/// Whose the file at the bottom of what [`deep`] made is, and its directory.
fn owners(at: &Path, levels: usize) -> [u32; 2] {
    let mut here = openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        here = enter(&here, c"d").unwrap();
    }
    [c"file", c"."].map(|name| statat(&here, name, AtFlags::SYMLINK_NOFOLLOW).unwrap().st_uid)
}

#[test]
fn a_tree_is_given_away_to_its_bottom() {
    let user = if geteuid().is_root() { NOBODY } else { geteuid().as_raw() };
    let group = if geteuid().is_root() { NOBODY } else { rustix::process::getegid().as_raw() };
    if let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(24), maximum: Some(24) }).unwrap();
        return give(&path, user, group).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "").unwrap();
    symlink(&outside, tree.join("a/link")).unwrap();
    symlink(outside.join("file"), tree.join("link")).unwrap();
    deep(&tree.join("a"), 1500);
    deep(&tree.join("a/b"), 1500);
    let output = child("a_tree_is_given_away_to_its_bottom", &tree, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let owner = |path: PathBuf| std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(path).unwrap());
    assert_eq!([owners(&tree.join("a"), 1500), owners(&tree.join("a/b"), 1500)], [[user; 2]; 2]);
    assert_eq!(["", "a", "a/b", "link", "a/link"].map(|name| owner(tree.join(name))), [user; 5]);
    // What the links lead to is nobody's business.
    assert_eq!([outside.join("file"), outside].map(owner), [geteuid().as_raw(); 2]);
    remove(&tree).unwrap();
}

#[test]
fn what_cannot_be_given_away_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (uid, gid) = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    fs::write(dir.path().join("file"), "").unwrap();
    give(&dir.path().join("file"), uid, gid).unwrap();
    let absent = dir.path().join("absent");
    let (path, error) = give(&absent, uid, gid).unwrap_err();
    assert_eq!((path, error.kind()), (absent, io::ErrorKind::NotFound));
}

#[test]
fn directories_that_forbid_everything_go_for_their_owner() {
    if as_child() {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    fs::set_permissions(site.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = site.path().join("home");
    let tree = home.join("tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::write(tree.join("a/b/file"), "").unwrap();
    let user = geteuid().is_root().then_some(NOBODY);
    for path in ["a/b/file", "a/b/c", "a/b", "a", ""].map(|path| tree.join(path)).iter().chain([&home]) {
        std::os::unix::fs::chown(path, user, user).unwrap();
        let mode = if *path == home { 0o700 } else { 0 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let output = child("directories_that_forbid_everything_go_for_their_owner", &tree, user);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!tree.exists());
}

#[test]
fn links_go_and_not_what_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "kept").unwrap();
    symlink(&outside, tree.join("sub/link")).unwrap();
    symlink(outside.join("file"), tree.join("link")).unwrap();
    rustix::fs::mknodat(CWD, tree.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink(&tree, dir.path().join("to-tree")).unwrap();
    remove(&dir.path().join("to-tree")).unwrap();
    assert!(tree.join("sub").is_dir(), "a link that is named itself is a link");
    remove(&tree).unwrap();
    assert!(!tree.exists());
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept");
    // What is not there is removed already; a file is one.
    remove(&tree).unwrap();
    remove(&tree.join("nowhere/else")).unwrap();
    remove(&outside.join("file/else")).unwrap();
    remove(&outside.join("file")).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(remove(Path::new("/")).unwrap_err().raw_os_error(), Some(Errno::INVAL.raw_os_error()));
}

#[test]
fn more_directories_than_are_remembered_go() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    for n in 0..3 * BATCH + 1 {
        fs::create_dir_all(tree.join(format!("{n}/x"))).unwrap();
        fs::write(tree.join(format!("{n}/file")), "").unwrap();
    }
    remove(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn a_directory_swapped_for_a_link_meanwhile_is_no_way_out() {
    let site = tempfile::tempdir().unwrap();
    let outside = site.path().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("sub/file"), "kept").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for round in 0..30 {
            let tree = site.path().join(format!("tree{round}"));
            for n in 0..40 {
                fs::create_dir_all(tree.join(format!("dir/sub/{n}"))).unwrap();
            }
            symlink(&outside, tree.join("link")).unwrap();
            stop.store(false, Ordering::Relaxed);
            let (a, b, stop) = (tree.join("dir"), tree.join("link"), &stop);
            let swapper = scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
                }
            });
            let removed = remove(&tree);
            stop.store(true, Ordering::Relaxed);
            swapper.join().unwrap();
            // Whatever the other did in between, it is over now.
            removed.or_else(|_| remove(&tree)).unwrap();
            assert!(!tree.exists());
        }
    });
    assert_eq!(fs::read_to_string(outside.join("sub/file")).unwrap(), "kept");
}

#[test]
fn what_appears_meanwhile_goes_too() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    let begun = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..500 {
                // From some moment on its directory is gone.
                let _ = fs::create_dir(tree.join(format!("a/b/{n}")));
                begun.store(n > 3, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    });
}

#[test]
fn a_walk_goes_up_only_to_where_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    let a = openat(CWD, dir.path().join("a"), OFlags::PATH, Mode::empty()).unwrap();
    let from = identity(&fstat(&a).unwrap());
    let b = enter(&a, c"b").unwrap();
    leave(&b, from).unwrap();
    fs::rename(dir.path().join("a/b"), dir.path().join("elsewhere/b")).unwrap();
    assert_eq!(leave(&b, from).unwrap_err().to_string(), "a directory of it was moved meanwhile");
}
