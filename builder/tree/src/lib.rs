//! A directory tree as a layer: the same tree gives the same layer, whoever owns it and whatever the umask was.
//!
//! Kept: names, contents, symbolic links, the owner's execute bit, a directory's sticky bit. Made the same: owner
//! (0:0), times (0), modes (0755 or 0644). Hard links become files. Dropped: setuid, setgid and extended
//! attributes, capabilities among them: a trainer needs no privilege. Skipped below dev, proc, run, sys and tmp,
//! and refused elsewhere: device nodes, sockets, FIFOs.
//!
//! Shared by `hone build` and the BuildKit frontend, so that both make the same layer of a directory.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hone_contract::{quoted, quoted_path};
use hone_files::open_unlinked;
use hone_image::platform::goarch_of_elf;
use hone_image::tar::{Entry, TarError, TarWriter};
use hone_image::untar::MAX_ENTRIES;

/// Where an engine or the kernel puts what is not of the image.
const VOLATILE: [&str; 5] = ["dev/", "proc/", "run/", "sys/", "tmp/"];
/// What belongs to Hone in an image; a tree may not bring it.
const RESERVED: [&str; 5] = ["hone/job.json", "hone/adapter", "hone/out", "hone/tokenizer", "models"];

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeItem {
    /// Path in the tree.
    pub path: String,
    /// What it is.
    pub kind: TreeKind,
    /// Tells a file that was replaced since from itself.
    inode: u64,
}

/// What a thing in a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeKind {
    /// A directory.
    Dir {
        /// Anyone may write to it, as to `/tmp`.
        shared: bool,
    },
    /// A file.
    File {
        /// Whether it is a program.
        executable: bool,
        /// Bytes.
        size: u64,
    },
    /// A symbolic link to this.
    Link(String),
}

/// A tree that was looked at and can become a layer.
#[derive(Debug)]
pub struct Tree {
    /// As it was named.
    root: PathBuf,
    /// With every link resolved: files are opened there, and no link that was put there since is followed.
    place: PathBuf,
    items: Vec<TreeItem>,
}

/// A tree that cannot become a layer.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call failed.
    #[error("{op} {}", quoted_path(path))]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name that no layer holds, or a file that changed while it was packed.
    #[error("pack {}", quoted_path(path))]
    Tar {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TarError,
    },
    /// Something else.
    #[error("{}: it is not a directory", quoted_path(.0))]
    NotDirectory(PathBuf),
    /// Nothing in it.
    #[error("{}: it is empty", quoted_path(.0))]
    Empty(PathBuf),
    /// A name that no image can hold.
    #[error("{}: its name is not UTF-8, and an image's names are", quoted_path(.0))]
    Name(PathBuf),
    /// What an image cannot hold.
    #[error("{}: {what} cannot be in an image; remove it", quoted_path(path))]
    Special {
        /// Where.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// What Hone puts there.
    #[error("/{}: this place in the image belongs to Hone; remove it from the root filesystem", quoted(.0))]
    Reserved(String),
    /// More than any tree has.
    #[error("{}: more than {MAX_ENTRIES} entries", quoted_path(.0))]
    TooMany(PathBuf),
}

impl Tree {
    /// Looks at the tree in `root`, without reading its files.
    ///
    /// # Errors
    /// When it cannot be read or become a layer.
    pub fn scan(root: &Path) -> Result<Self, TreeError> {
        let meta = fs::metadata(root).map_err(io_at("read", root))?;
        if !meta.is_dir() {
            return Err(TreeError::NotDirectory(root.to_owned()));
        }
        let mut items = Vec::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            for item in entries(root, &dir)? {
                if matches!(item.kind, TreeKind::Dir { .. }) {
                    pending.push(PathBuf::from(&item.path));
                }
                items.push(item);
            }
            if items.len() > MAX_ENTRIES {
                return Err(TreeError::TooMany(root.to_owned()));
            }
        }
        if items.is_empty() {
            return Err(TreeError::Empty(root.to_owned()));
        }
        items.sort_by(|a, b| a.path.cmp(&b.path));
        let place = fs::canonicalize(root).map_err(io_at("read", root))?;
        Ok(Self { root: root.to_owned(), place, items })
    }

    /// Refuses a tree that brings what Hone puts into an image.
    ///
    /// # Errors
    /// With the first such path.
    pub fn refuse_reserved(&self) -> Result<(), TreeError> {
        let taken = |path: &str| RESERVED.contains(&path);
        let link = |item: &TreeItem| item.path == "hone" && !matches!(item.kind, TreeKind::Dir { .. });
        match self.items.iter().find(|item| taken(&item.path) || link(item)) {
            Some(item) => Err(TreeError::Reserved(item.path.clone())),
            None => Ok(()),
        }
    }

    /// What is in it, by path: a directory comes before what is in it.
    pub fn items(&self) -> &[TreeItem] {
        &self.items
    }

    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        self.items.iter().map(TreeItem::size).sum()
    }

    /// Writes it; `seen` is told the bytes done.
    ///
    /// # Errors
    /// When a file changed since [`Tree::scan`] or cannot be read, or the writer fails.
    pub fn write(&self, tar: &mut TarWriter<impl Write>, seen: &mut dyn FnMut(u64)) -> Result<(), TreeError> {
        let mut done = 0;
        for item in &self.items {
            let path = self.root.join(&item.path);
            let packed = match &item.kind {
                TreeKind::Dir { shared } => tar.add(&item.path, if *shared { Entry::SharedDir } else { Entry::Dir }),
                TreeKind::Link(target) => tar.add(&item.path, Entry::Symlink(target)),
                TreeKind::File { executable, size } => {
                    tar.file(&item.path, *executable, *size, &mut self.open(item)?)
                }
            };
            packed.map_err(|source| TreeError::Tar { path, source })?;
            if item.size() > 0 {
                done += item.size();
                seen(done);
            }
        }
        Ok(())
    }

    /// Opens a file of it.
    ///
    /// # Errors
    /// When it changed since [`Tree::scan`] or cannot be read.
    pub fn open(&self, item: &TreeItem) -> Result<File, TreeError> {
        let path = self.root.join(&item.path);
        let file = open_unlinked(&self.place.join(&item.path)).map_err(io_at("open", &path))?;
        let now = file.metadata().map_err(io_at("read", &path))?;
        if (now.ino(), now.len()) != (item.inode, item.size()) {
            let source = TarError::Size { path: item.path.clone(), got: now.len(), want: item.size() };
            return Err(TreeError::Tar { path, source });
        }
        Ok(file)
    }

    /// The processor that the first program found is for, as Go names it.
    ///
    /// # Errors
    /// When a program cannot be read.
    pub fn architecture(&self) -> Result<Option<&'static str>, TreeError> {
        let program = |item: &&TreeItem| matches!(item.kind, TreeKind::File { executable: true, .. });
        for item in self.items.iter().filter(program) {
            let path = self.root.join(&item.path);
            if let Some(machine) = elf_machine(self.open(item)?).map_err(io_at("read", &path))? {
                return Ok(goarch_of_elf(machine));
            }
        }
        Ok(None)
    }
}

impl TreeItem {
    fn size(&self) -> u64 {
        match self.kind {
            TreeKind::File { size, .. } => size,
            _ => 0,
        }
    }
}

fn io_at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError {
    let path = path.to_owned();
    move |source| TreeError::Io { op, path, source }
}

fn entries(root: &Path, dir: &Path) -> Result<Vec<TreeItem>, TreeError> {
    let full = root.join(dir);
    let mut items = Vec::new();
    for entry in fs::read_dir(&full).map_err(io_at("read", &full))? {
        let entry = entry.map_err(io_at("read", &full))?;
        let inner = dir.join(entry.file_name());
        let Some(path) = inner.to_str() else {
            return Err(TreeError::Name(entry.path()));
        };
        match kind(&entry.path())? {
            Ok((kind, inode)) => items.push(TreeItem { path: path.to_owned(), kind, inode }),
            Err(_) if VOLATILE.iter().any(|v| path.starts_with(v)) => {}
            Err(what) => return Err(TreeError::Special { path: entry.path(), what }),
        }
    }
    Ok(items)
}

/// What is at `path`, and its inode; the inner error names what no image holds.
fn kind(path: &Path) -> Result<Result<(TreeKind, u64), &'static str>, TreeError> {
    let meta = fs::symlink_metadata(path).map_err(io_at("read", path))?;
    let mode = meta.permissions().mode();
    let kind = if let Some(what) = hone_files::special(meta.file_type()) {
        return Ok(Err(what));
    } else if meta.is_dir() {
        TreeKind::Dir { shared: mode & 0o1000 != 0 }
    } else if meta.is_symlink() {
        let target = fs::read_link(path).map_err(io_at("read link", path))?;
        TreeKind::Link(target.to_str().ok_or_else(|| TreeError::Name(path.to_owned()))?.to_owned())
    } else {
        TreeKind::File { executable: mode & 0o100 != 0, size: meta.len() }
    };
    Ok(Ok((kind, meta.ino())))
}

/// The `e_machine` of an ELF header (System V ABI, "ELF Header"); `None` for other files.
fn elf_machine(program: File) -> io::Result<Option<u16>> {
    let mut header = Vec::new();
    program.take(20).read_to_end(&mut header)?;
    let Some([0x7f, b'E', b'L', b'F', _, order]) = header.first_chunk::<6>() else {
        return Ok(None);
    };
    Ok(header.get(18..20).map(|b| match order {
        2 => u16::from_be_bytes([b[0], b[1]]),
        _ => u16::from_le_bytes([b[0], b[1]]),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_contract::Digest;
    use std::os::unix::fs::symlink;

    fn pack(root: &Path) -> Result<Vec<u8>, TreeError> {
        let mut tar = TarWriter::new(Vec::new());
        Tree::scan(root)?.write(&mut tar, &mut |_| {})?;
        Ok(tar.finish().expect("memory"))
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

    #[test]
    fn what_took_a_file_s_place_since_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().expect("directory");
        let (at, secret) = (|name: &str| dir.path().join("root").join(name), dir.path().join("secret"));
        fs::create_dir_all(at("bin")).expect("bin");
        fs::write(&secret, "secret").expect("secret");
        type Swap<'a> = &'a dyn Fn(&Path);
        let link: Swap<'_> = &|path| symlink(&secret, path).expect("link");
        let pipe: Swap<'_> = &|path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("FIFO");
        };
        for swap in [link, pipe] {
            fs::write(at("bin/tool"), "public").expect("write");
            fs::set_permissions(at("bin/tool"), PermissionsExt::from_mode(0o755)).expect("mode");
            let tree = Tree::scan(&dir.path().join("root")).expect("scan");
            fs::remove_file(at("bin/tool")).expect("remove");
            swap(&at("bin/tool"));
            tree.write(&mut TarWriter::new(Vec::new()), &mut |_| {}).expect_err("swapped");
            tree.architecture().expect_err("swapped");
            fs::remove_file(at("bin/tool")).expect("remove");
        }
        // A directory on the way, too.
        fs::write(at("bin/tool"), "public").expect("write");
        let tree = Tree::scan(&dir.path().join("root")).expect("scan");
        fs::rename(at("bin"), dir.path().join("moved")).expect("move");
        symlink("../moved", at("bin")).expect("link");
        tree.write(&mut TarWriter::new(Vec::new()), &mut |_| {}).expect_err("a link on the way");
    }

    #[test]
    fn a_file_that_was_replaced_since_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("a"), b"abc").expect("write");
        let tree = Tree::scan(dir.path()).expect("scan");
        fs::write(dir.path().join("a"), b"abcd").expect("write");
        assert!(tree.write(&mut TarWriter::new(Vec::new()), &mut |_| {}).is_err());
    }
}
