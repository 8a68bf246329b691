//! Where the programs under test are.

use std::path::{Path, PathBuf};

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
