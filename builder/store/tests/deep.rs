//! Trees deeper than a process may have open files, where a trainer or a dead writer can leave them.

use std::fs;
use std::path::Path;
use std::process::Command;

use hone_store::Store;
use hone_store::staging::Staged;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Set for a process of this test program that may have few files open.
const CHILD: &str = "HONE_TEST_FEW_FILES";

/// Makes 3,000 directories, each in the one before.
fn deep(at: &Path) {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut here = openat(CWD, at, flags, Mode::empty()).expect("open");
    for _ in 0..3000 {
        mkdirat(&here, "d", Mode::RWXU).expect("make");
        here = openat(&here, "d", flags, Mode::empty()).expect("open");
    }
}

#[test]
fn what_a_trainer_or_a_dead_writer_left_goes_however_deep_it_is() {
    if std::env::var_os(CHILD).is_none() {
        // A process of its own: the limit is for all of it.
        let name = "what_a_trainer_or_a_dead_writer_left_goes_however_deep_it_is";
        let mut test = Command::new(std::env::current_exe().expect("this program"));
        let output = test.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(32), maximum: Some(32) }).expect("limit");
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = Store::at(dir.path());
    drop(store.ingest().expect("ingest"));
    let (staging, left) = (dir.path().join("staging/run"), dir.path().join("tmp/left"));
    for path in [&staging.join("out"), &left] {
        fs::create_dir_all(path).expect("make");
        deep(path);
    }
    let staged = Staged::read(&staging).expect("read").expect("there");
    fs::write(staging.join("out/file"), [7; 1 << 16]).expect("write");
    assert!(staged.size() >= 1 << 16, "{}", staged.size());
    staged.remove().expect("removed");
    assert!(!staging.exists());
    drop(store.ingest().expect("ingest"));
    assert!(!left.exists(), "nobody writes there any more");
}
