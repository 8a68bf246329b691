//! A directory tree as a layer: the same tree gives the same layer, whoever owns it and whatever the umask was.
//!
//! Kept: names, contents, symbolic links, the owner's execute bit, a directory's sticky bit. Made the same: owner
//! (0:0), times (0), modes (0755 or 0644). Hard links become files. Dropped: setuid, setgid and extended
//! attributes, capabilities among them: a trainer needs no privilege. Skipped below dev, proc, run, sys and tmp,
//! and refused elsewhere: device nodes, sockets, FIFOs.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hone_image::tar::{Entry, TarError, TarWriter};

use crate::failure::{Failure, because};

/// Where an engine or the kernel puts what is not of the image.
const VOLATILE: [&str; 5] = ["dev/", "proc/", "run/", "sys/", "tmp/"];
/// What belongs to Hone in an image; a tree may not bring it.
const RESERVED: [&str; 5] = ["hone/job.json", "hone/adapter", "hone/out", "hone/tokenizer", "models"];
/// Entries in one tree; a Debian root with Python has ten thousand.
const MAX_ENTRIES: usize = 2_000_000;

/// One thing in a tree.
#[derive(Debug)]
struct Item {
    /// Path in the tree.
    path: String,
    meta: Metadata,
}

/// A tree that cannot become a layer.
#[derive(Debug, thiserror::Error)]
enum TreeError {
    #[error("{}: it is not a directory", .0.display())]
    NotDirectory(PathBuf),
    #[error("{}: it is empty", .0.display())]
    Empty(PathBuf),
    #[error("{}: its name is not UTF-8, and an image's names are", .0.display())]
    Name(PathBuf),
    #[error("{}: a {what} cannot be in an image; remove it", path.display())]
    Special { path: PathBuf, what: &'static str },
    #[error("/{0}: this place in the image belongs to Hone; remove it from the root filesystem")]
    Reserved(String),
    #[error("{}: more than {MAX_ENTRIES} entries", .0.display())]
    TooMany(PathBuf),
}

/// A tree that was looked at and can become a layer.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    items: Vec<Item>,
}

impl Tree {
    /// Looks at the tree in `root`, without reading its files.
    pub fn scan(root: &Path) -> Result<Self, Failure> {
        let meta = fs::metadata(root).map_err(because(format!("read {}", root.display())))?;
        if !meta.is_dir() {
            return Err(TreeError::NotDirectory(root.to_owned()).into());
        }
        let mut items = Vec::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            for item in entries(root, &dir)? {
                if item.meta.is_dir() {
                    pending.push(PathBuf::from(&item.path));
                }
                items.push(item);
            }
            if items.len() > MAX_ENTRIES {
                return Err(TreeError::TooMany(root.to_owned()).into());
            }
        }
        if items.is_empty() {
            return Err(TreeError::Empty(root.to_owned()).into());
        }
        items.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { root: root.to_owned(), items })
    }

    /// Refuses a tree that brings what Hone puts into an image.
    pub fn refuse_reserved(&self) -> Result<(), Failure> {
        let taken = |path: &str| RESERVED.contains(&path);
        let link = |item: &Item| item.path == "hone" && !item.meta.is_dir();
        match self.items.iter().find(|item| taken(&item.path) || link(item)) {
            Some(item) => Err(TreeError::Reserved(item.path.clone()).into()),
            None => Ok(()),
        }
    }

    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        self.items.iter().filter(|i| i.meta.is_file()).map(|i| i.meta.len()).sum()
    }

    /// Writes it; `seen` is told the bytes done.
    pub fn write(&self, tar: &mut TarWriter<impl Write>, seen: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let mut done = 0;
        for item in &self.items {
            let path = self.root.join(&item.path);
            write(tar, item, &path).map_err(because(format!("pack {}", path.display())))?;
            if item.meta.is_file() {
                done += item.meta.len();
                seen(done);
            }
        }
        Ok(())
    }

    /// The processor that the first program found is for, as Go names it.
    pub fn architecture(&self) -> Result<Option<&'static str>, Failure> {
        let program = |item: &&Item| item.meta.is_file() && item.meta.permissions().mode() & 0o100 != 0;
        for item in self.items.iter().filter(program) {
            let path = self.root.join(&item.path);
            let found = elf_machine(&path).map_err(because(format!("read {}", path.display())))?;
            if let Some(machine) = found {
                return Ok(architecture_of(machine));
            }
        }
        Ok(None)
    }
}

fn entries(root: &Path, dir: &Path) -> Result<Vec<Item>, Failure> {
    let full = root.join(dir);
    let reading = || because(format!("read {}", full.display()));
    let mut items = Vec::new();
    for entry in fs::read_dir(&full).map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let path = dir.join(entry.file_name());
        let Some(text) = path.to_str() else {
            return Err(TreeError::Name(entry.path()).into());
        };
        let meta = fs::symlink_metadata(entry.path()).map_err(because(format!("read {}", entry.path().display())))?;
        match special(meta.file_type()) {
            None => items.push(Item { path: text.to_owned(), meta }),
            Some(_) if VOLATILE.iter().any(|v| text.starts_with(v)) => {}
            Some(what) => return Err(TreeError::Special { path: entry.path(), what }.into()),
        }
    }
    Ok(items)
}

fn special(kind: FileType) -> Option<&'static str> {
    if kind.is_block_device() || kind.is_char_device() {
        Some("device node")
    } else if kind.is_socket() {
        Some("socket")
    } else if kind.is_fifo() {
        Some("FIFO")
    } else {
        None
    }
}

fn write(tar: &mut TarWriter<impl Write>, item: &Item, path: &Path) -> Result<(), Failure> {
    let mode = item.meta.permissions().mode();
    if item.meta.is_dir() {
        let entry = if mode & 0o1000 == 0 { Entry::Dir } else { Entry::SharedDir };
        return Ok(tar.add(&item.path, entry)?);
    }
    if item.meta.is_symlink() {
        let target = fs::read_link(path)?;
        let target = target.to_str().ok_or_else(|| TreeError::Name(target.clone()))?;
        return Ok(tar.add(&item.path, Entry::Symlink(target))?);
    }
    let mut file = File::open(path)?;
    let now = file.metadata()?;
    if (now.ino(), now.len()) != (item.meta.ino(), item.meta.len()) {
        return Err(TarError::Size { path: item.path.clone(), got: now.len(), want: item.meta.len() }.into());
    }
    Ok(tar.file(&item.path, mode & 0o100 != 0, item.meta.len(), &mut file)?)
}

/// The `e_machine` of an ELF header (System V ABI, "ELF Header"); `None` for other files.
fn elf_machine(path: &Path) -> io::Result<Option<u16>> {
    use std::io::Read as _;
    let mut header = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut header)?;
    let Some([0x7f, b'E', b'L', b'F', _, order]) = header.first_chunk::<6>() else {
        return Ok(None);
    };
    Ok(header.get(18..20).map(|b| match order {
        2 => u16::from_be_bytes([b[0], b[1]]),
        _ => u16::from_le_bytes([b[0], b[1]]),
    }))
}

fn architecture_of(machine: u16) -> Option<&'static str> {
    match machine {
        3 => Some("386"),
        40 => Some("arm"),
        62 => Some("amd64"),
        183 => Some("arm64"),
        243 => Some("riscv64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_image::Digest;
    use std::os::unix::fs::symlink;

    fn pack(root: &Path) -> Result<Vec<u8>, Failure> {
        let mut tar = TarWriter::new(Vec::new());
        Tree::scan(root)?.write(&mut tar, &mut |_| {})?;
        Ok(tar.finish()?)
    }

    fn sample(root: &Path, mode: u32) {
        fs::create_dir_all(root.join("bin")).expect("bin");
        fs::create_dir_all(root.join("tmp")).expect("tmp");
        fs::write(root.join("bin/tool"), b"#!/bin/sh\n").expect("tool");
        fs::write(root.join("bin-data"), b"data").expect("data");
        fs::hard_link(root.join("bin-data"), root.join("same")).expect("link");
        symlink("bin/tool", root.join("link")).expect("symlink");
        fs::set_permissions(root.join("bin/tool"), PermissionsExt::from_mode(0o4700 | mode)).expect("mode");
        fs::set_permissions(root.join("bin-data"), PermissionsExt::from_mode(0o600 | mode & 0o66)).expect("mode");
        fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).expect("mode");
    }

    #[test]
    fn a_tree_packs_the_same_whatever_umask_and_place() {
        let (a, b) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
        sample(a.path(), 0o000);
        sample(b.path(), 0o055);
        let (a, b) = (pack(a.path()).expect("a"), pack(b.path()).expect("b"));
        assert_eq!(a, b);
        let mut archive = tar::Archive::new(&a[..]);
        let seen: Vec<(String, u32)> = archive
            .entries()
            .expect("entries")
            .map(|e| {
                let e = e.expect("entry");
                (e.path().expect("path").display().to_string(), e.header().mode().expect("mode"))
            })
            .collect();
        let want = [
            ("bin/", 0o755),
            ("bin-data", 0o644),
            ("bin/tool", 0o755),
            ("link", 0o777),
            ("same", 0o644),
            ("tmp/", 0o1777),
        ];
        assert_eq!(seen, want.map(|(p, m)| (p.to_owned(), m)));
        // Every trainer image made so far has this framing; see hone-image's tar module.
        assert_eq!(
            Digest::of(&a).to_string(),
            "sha256:28b42b434674359c8a70bcc2416719e472cfd8bafbc5254fceb259d400524cc0"
        );
    }

    #[test]
    fn special_files_are_skipped_where_an_engine_makes_them_and_refused_elsewhere() {
        let dir = tempfile::tempdir().expect("directory");
        fs::create_dir(dir.path().join("run")).expect("run");
        let _a = std::os::unix::net::UnixListener::bind(dir.path().join("run/s")).expect("socket");
        assert!(pack(dir.path()).is_ok());
        let _b = std::os::unix::net::UnixListener::bind(dir.path().join("s")).expect("socket");
        let error = pack(dir.path()).expect_err("a socket in the root");
        assert!(error.to_string().ends_with("/s: a socket cannot be in an image; remove it"), "{error}");
    }

    #[test]
    fn what_belongs_to_hone_is_refused() {
        for path in ["hone/job.json", "hone/adapter", "models"] {
            let dir = tempfile::tempdir().expect("directory");
            fs::create_dir_all(dir.path().join(path)).expect("reserved");
            let error = Tree::scan(dir.path()).expect("scan").refuse_reserved().expect_err("reserved");
            assert!(error.to_string().starts_with(&format!("/{path}: ")), "{error}");
        }
        let dir = tempfile::tempdir().expect("directory");
        symlink("/etc", dir.path().join("hone")).expect("symlink");
        assert!(Tree::scan(dir.path()).expect("scan").refuse_reserved().is_err());
    }
}
