//! Tars that a careless or hostile maker wrote, and what becomes of them.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o4755 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        // Written raw: the library itself would refuse such names.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    /// Unpacks into `inside`, beside which `outside` lies; says what went wrong.
    fn unpack(self) -> (tempfile::TempDir, Result<(), String>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        fs::create_dir(dir.path().join("inside")).unwrap();
        let bytes = self.0.into_inner().unwrap();
        let result = unpack(&bytes[..], Digest::of(&bytes), &dir.path().join("inside"));
        assert_eq!(fs::read_to_string(dir.path().join("outside/file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 1);
        let result = result.map_err(|error| crate::error::chain(&error));
        (dir, result)
    }
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

#[test]
fn root_files_links_and_modes_arrive() {
    if !root() {
        return;
    }
    let layer = Layer::new()
        .entry(EntryType::Directory, "usr/bin/", "", b"")
        .entry(EntryType::Symlink, "bin", "/usr/bin", b"")
        .file("bin/tool", "content")
        .entry(EntryType::Link, "bin/twin", "usr/bin/tool", b"")
        .file("./deep/er/file", "made its own directories");
    let (dir, result) = layer.unpack();
    result.unwrap();
    let inside = dir.path().join("inside");
    let tool = fs::metadata(inside.join("usr/bin/tool")).unwrap();
    assert_eq!((tool.permissions().mode() & 0o7777, tool.mtime(), tool.nlink()), (0o4755, 0, 2));
    assert_eq!(fs::read_to_string(inside.join("deep/er/file")).unwrap(), "made its own directories");
}

#[test]
fn root_names_that_climb_out_are_refused() {
    if !root() {
        return;
    }
    for path in ["../outside/file", "a/../../outside/file"] {
        let (_dir, result) = Layer::new().file(path, "evil").unpack();
        assert!(result.unwrap_err().contains("leads out of the root"), "{path}");
    }
}

#[test]
fn root_links_lead_nowhere_outside() {
    if !root() {
        return;
    }
    for target in ["../outside", "/../outside", "../../../../../../tmp"] {
        let layer = Layer::new().entry(EntryType::Symlink, "door", target, b"").file("door/file", "evil");
        let (dir, result) = layer.unpack();
        // Inside, the link may lead to a directory of the same name, or nowhere; outside is checked by unpack().
        let _ = result;
        assert!(!dir.path().join("outside/door").exists());
    }
    let (_dir, result) = Layer::new().entry(EntryType::Link, "twin", "../outside/file", b"").unpack();
    assert!(result.unwrap_err().contains("leads out of the root"));
}

#[test]
fn root_a_file_is_not_written_through_a_link_of_its_name() {
    if !root() {
        return;
    }
    let (dir, result) = Layer::new().entry(EntryType::Symlink, "f", "../outside/file", b"").file("f", "new").unpack();
    result.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("inside/f")).unwrap(), "new");
}

#[test]
fn root_whiteouts_become_overlayfs_s() {
    if !root() {
        return;
    }
    let (dir, result) = Layer::new().file("etc/.wh.gone", "").unpack();
    result.unwrap();
    let meta = fs::symlink_metadata(dir.path().join("inside/etc/gone")).unwrap();
    assert!(meta.file_type().is_char_device());
    assert_eq!(meta.rdev(), 0);
}

#[test]
fn root_devices_are_refused_by_name() {
    if !root() {
        return;
    }
    let (_dir, result) = Layer::new().entry(EntryType::Char, "dev/mem", "", b"").unpack();
    assert!(result.unwrap_err().contains("entry \"dev/mem\": not a file, directory or link"));
}

#[test]
fn root_a_tar_cut_short_is_an_error() {
    if !root() {
        return;
    }
    let bytes = Layer::new().file("f", &"x".repeat(2000)).0.into_inner().unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(unpack(&bytes[..1000], Digest::of(b""), dir.path()).is_err());
}
