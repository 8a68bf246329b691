//! Names that hide what lower layers have, by themselves and on the disk. Needs root for the latter, as `unpack` does.
//!
//! Each line is an entry: `d`, `f`, `s` or `h` (directory, file, symbolic or hard link to `x`), then its path.
#![no_main]

use std::fs;

use hone_contract::Digest;
use hone_image::whiteout::{Whiteout, whiteout};
use libfuzzer_sys::fuzz_target;

// `hone-run` is a program: its modules are compiled in here.
#[allow(dead_code, reason = "one function is called")]
#[path = "../../../shim/run/src/error.rs"]
mod error;
#[path = "../../../shim/run/src/unpack.rs"]
mod unpack;

/// Entries that a ustar header has room for.
const MOST_NAME: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut tar = tar::Builder::new(Vec::new());
    for line in text.lines() {
        let Some((kind, path)) = line.split_at_checked(1) else { continue };
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Ok(Some(Whiteout::Name(hidden))) = whiteout(name) {
            assert!(!["", ".", ".."].contains(&hidden) && !hidden.contains('/'), "{name:?}");
        }
        let kind = match kind {
            "d" => tar::EntryType::Directory,
            "s" => tar::EntryType::Symlink,
            "h" => tar::EntryType::Link,
            _ => tar::EntryType::Regular,
        };
        add(&mut tar, kind, path);
    }
    let tar = tar.into_inner().expect("memory");
    let memory = if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let Ok(site) = tempfile::tempdir_in(memory) else { return };
    let inside = site.path().join("inside");
    fs::create_dir(&inside).expect("directory");
    let result = unpack::unpack(&tar[..], Digest::of(&tar), &inside, &mut unpack::Allowance::of_image());
    if let Err(error) = result {
        assert!(!hone_contract::chain(&error).is_empty());
    }
    let mut value = [0u8; 8];
    assert!(rustix::fs::getxattr(site.path(), "trusted.overlay.opaque", &mut value).is_err(), "an attribute outside");
    assert_eq!(fs::read_dir(site.path()).expect("site").count(), 1, "something beside the directory");
    hone_files::remove(&inside).expect("whatever it is, it goes");
});

fn add(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    // Written raw: the library itself refuses such names.
    let length = path.len().min(MOST_NAME);
    header.as_mut_bytes()[..length].copy_from_slice(&path.as_bytes()[..length]);
    if kind != tar::EntryType::Regular {
        header.as_mut_bytes()[157] = b'x';
    }
    header.set_cksum();
    tar.append(&header, std::io::empty()).expect("memory");
}
