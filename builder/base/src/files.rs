//! Which files a model has, and how they are opened.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use hone_contract::rules::MOST_FILES;

use crate::BaseError;

/// One file of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Name relative to the model's directory.
    pub name: String,
    /// The file that holds its bytes now, as it was named.
    pub source: PathBuf,
    /// The same with every link resolved, where that was checked: it is opened there and nowhere else.
    pub place: Option<PathBuf>,
    /// Where they begin in it.
    pub offset: u64,
    /// Their number.
    pub size: u64,
}

/// The files of a model, wherever they are now.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What to call it in an error: the path or the address as written.
    pub shown: PathBuf,
    /// By name.
    pub files: Vec<SourceFile>,
    /// Whether the model is one file, and no directory.
    pub lone: bool,
}

/// Where the links in a model's directory may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// To files of the directory, and from a snapshot in Hugging Face's cache to that cache's blobs.
    Within,
    /// To any file: `base.follow_links`.
    Anywhere,
}

impl Links {
    /// What `base.follow_links` says.
    pub fn followed(anywhere: bool) -> Self {
        if anywhere { Self::Anywhere } else { Self::Within }
    }
}

impl SourceFile {
    /// A whole file.
    pub fn whole(name: impl Into<String>, source: PathBuf, size: u64) -> Self {
        Self::part(name, source, 0, size)
    }

    /// A file inside another one.
    pub fn part(name: impl Into<String>, source: PathBuf, offset: u64, size: u64) -> Self {
        Self { name: name.into(), source, place: None, offset, size }
    }

    /// Opens it at its first byte; the reader ends after the last.
    ///
    /// # Errors
    /// When it cannot be opened, or is no regular file, or is not what was looked at.
    pub fn open(&self) -> io::Result<Take<File>> {
        let mut file = self.holder()?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.size))
    }

    /// Opens the file that holds it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn holder(&self) -> io::Result<File> {
        match &self.place {
            Some(place) => hone_files::open_unlinked(place),
            None => hone_files::open_regular(&self.source),
        }
    }
}

impl Sources {
    /// The model at `path`: one file, or every file of a directory; names that begin with a dot are not the model's. The
    /// path itself may be a link, those in the directory as `links` says.
    ///
    /// # Errors
    /// When the path cannot be read, a name cannot be in an image, a link leads elsewhere, or something is no file.
    pub fn at(path: &Path, links: Links) -> Result<Self, BaseError> {
        let meta = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BaseError::Missing(path.to_owned())),
            result => result.map_err(BaseError::at("read base.model", path))?,
        };
        refuse_special(path, &meta)?;
        let root = fs::canonicalize(path).map_err(BaseError::at("read base.model", path))?;
        let mut files = if meta.is_dir() {
            let mut walk = Walk { shown: path, root: &root, links, looked: 0, found: Vec::new() };
            walk.dir("")?;
            walk.found
        } else {
            let name = path.file_name().and_then(OsStr::to_str).ok_or_else(|| BaseError::Name(path.to_owned()))?;
            let file = SourceFile::whole(name, path.to_owned(), meta.len());
            vec![SourceFile { place: Some(root), ..file }]
        };
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { shown: path.to_owned(), files, lone: !meta.is_dir() })
    }

    /// The file of this name.
    pub fn get(&self, name: &str) -> Option<&SourceFile> {
        self.files.iter().find(|f| f.name == name)
    }
}

fn refuse_special(path: &Path, meta: &Metadata) -> Result<(), BaseError> {
    match hone_files::special(meta.file_type()) {
        Some(what) => Err(BaseError::Special { path: path.to_owned(), what }),
        None => Ok(()),
    }
}

/// A model's directory that is looked through.
struct Walk<'a> {
    /// As it was named.
    shown: &'a Path,
    /// With every link resolved.
    root: &'a Path,
    links: Links,
    looked: usize,
    found: Vec<SourceFile>,
}

impl Walk<'_> {
    fn dir(&mut self, inner: &str) -> Result<(), BaseError> {
        let dir = self.shown.join(inner);
        for entry in fs::read_dir(&dir).map_err(BaseError::at("read", &dir))? {
            let entry = entry.map_err(BaseError::at("read", &dir))?;
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str() else {
                return Err(BaseError::Name(entry.path()));
            };
            if hidden(&file_name) {
                continue;
            }
            self.looked += 1;
            if self.looked > MOST_FILES {
                return Err(BaseError::TooMany { path: self.shown.to_owned(), most: MOST_FILES });
            }
            let name = if inner.is_empty() { name.to_owned() } else { format!("{inner}/{name}") };
            self.entry(&entry, name)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, name: String) -> Result<(), BaseError> {
        let path = entry.path();
        let reading = || BaseError::at("read", &path);
        let linked = entry.file_type().map_err(reading())?.is_symlink();
        let place = match linked {
            true => self.target(&path)?,
            false => self.root.join(&name),
        };
        // Of the place, which has no links: what the name leads to meanwhile is nobody's concern.
        let meta = fs::symlink_metadata(&place).map_err(reading())?;
        refuse_special(&path, &meta)?;
        if meta.is_dir() && linked {
            return Err(BaseError::LinkedDir(path));
        }
        if meta.is_dir() {
            return self.dir(&name);
        }
        self.found.push(SourceFile { place: Some(place), ..SourceFile::whole(name, path, meta.len()) });
        Ok(())
    }

    /// What a link leads to.
    fn target(&self, link: &Path) -> Result<PathBuf, BaseError> {
        let target = fs::canonicalize(link).map_err(BaseError::at("follow the link", link))?;
        if self.links == Links::Anywhere {
            return Ok(target);
        }
        match target.strip_prefix(self.root) {
            // What is left out by its own name is not brought in by another.
            Ok(inner) if inner.iter().any(hidden) => Err(BaseError::HiddenLink { path: link.to_owned(), target }),
            Ok(_) => Ok(target),
            Err(_) if is_blob_of(self.root, &target) => Ok(target),
            Err(_) => Err(BaseError::Link { path: link.to_owned(), target }),
        }
    }
}

/// Whether a name is left out of a model.
fn hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Hugging Face's cache keeps a revision as links, `snapshots/REVISION/NAME` to `../../blobs/HASH`: the same download of the
/// same repository. Both paths are without links, so that no link of a stranger's makes another directory its `blobs`.
fn is_blob_of(root: &Path, target: &Path) -> bool {
    let blobs = |snapshot: &Path| {
        let snapshots = snapshot.parent().filter(|dir| dir.file_name() == Some(OsStr::new("snapshots")))?;
        Some(snapshots.parent()?.join("blobs"))
    };
    let shown = target.file_name().is_some_and(|name| !hidden(name));
    shown && target.parent().is_some_and(|dir| root.ancestors().filter_map(blobs).any(|blobs| blobs == dir))
}
