//! Where the programs under test are, and `./x` that makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::ran::run;

/// The repository's directory.
///
/// # Panics
/// Never: the crate lies in it.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// The directory of the built programs: `HONE_BIN`, or the release directory of cargo's target directory.
///
/// # Panics
/// When the programs are not there: `./x build` makes them.
pub fn bin() -> PathBuf {
    let target = || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let dir = std::env::var_os("HONE_BIN").map_or_else(|| target().join("release"), PathBuf::from);
    assert!(dir.join("hone").exists(), "no programs in {}: run ./x build first", dir.display());
    dir
}

/// What git would take of the repository, but for the fixtures, in another directory.
///
/// # Panics
/// When it cannot be copied.
pub fn copy() -> TempDir {
    let copy = tempfile::tempdir().expect("tempdir");
    let mut list = Command::new("git");
    let files = run(list.args(["ls-files", "-co", "--exclude-standard"]).current_dir(repository())).ok();
    for file in files.lines().filter(|file| !file.starts_with("tests/fixtures") && repository().join(file).is_file())
    {
        let to = copy.path().join(file);
        fs::create_dir_all(to.parent().expect("a directory")).expect("make directory");
        fs::copy(repository().join(file), to).expect("copy");
    }
    copy
}

/// `./x` of a directory, in an environment without what cargo tells a test: a user's shell has none of that. A copy has
/// a target directory of its own.
pub fn x(dir: &Path) -> Command {
    let mut x = Command::new(dir.join("x"));
    x.current_dir(dir);
    let kept = |name: &str| {
        ["CARGO_HOME", "CARGO_INCREMENTAL"].contains(&name) || name == "CARGO_TARGET_DIR" && dir == repository()
    };
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_") && !kept(name)) {
        x.env_remove(name);
    }
    x
}
