//! Which files a model has, and how they are opened.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use hone_files::open_regular;

use crate::BaseError;

/// Files in one model directory.
const MAX_FILES: usize = 10_000;

/// One file of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Name relative to the model's directory.
    pub name: String,
    /// The file that holds its bytes now.
    pub source: PathBuf,
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

impl SourceFile {
    /// A whole file.
    pub fn whole(name: impl Into<String>, source: PathBuf, size: u64) -> Self {
        Self { name: name.into(), source, offset: 0, size }
    }

    /// Opens it at its first byte; the reader ends after the last.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> io::Result<Take<File>> {
        let mut file = open_regular(&self.source)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.size))
    }
}

impl Sources {
    /// The model at `path`: one file, or every file of a directory. Links to files are followed (Hugging Face's cache
    /// is made of them); names that begin with a dot are not the model's.
    ///
    /// # Errors
    /// When the path cannot be read, or a name cannot be in an image.
    pub fn at(path: &Path) -> Result<Self, BaseError> {
        let meta = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BaseError::Missing(path.to_owned())),
            result => result.map_err(BaseError::at("read base.model", path))?,
        };
        let mut files = Vec::new();
        if meta.is_dir() {
            walk(path, "", &mut files)?;
        } else {
            let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| BaseError::Name(path.to_owned()))?;
            files.push(SourceFile::whole(name, path.to_owned(), meta.len()));
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { shown: path.to_owned(), files, lone: !meta.is_dir() })
    }

    /// The file of this name.
    pub fn get(&self, name: &str) -> Option<&SourceFile> {
        self.files.iter().find(|f| f.name == name)
    }
}

fn walk(root: &Path, inner: &str, found: &mut Vec<SourceFile>) -> Result<(), BaseError> {
    let dir = root.join(inner);
    for entry in fs::read_dir(&dir).map_err(BaseError::at("read", &dir))? {
        let entry = entry.map_err(BaseError::at("read", &dir))?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str() else {
            return Err(BaseError::Name(entry.path()));
        };
        if name.starts_with('.') {
            continue;
        }
        let name = if inner.is_empty() { name.to_owned() } else { format!("{inner}/{name}") };
        let meta = fs::metadata(entry.path()).map_err(BaseError::at("read", &entry.path()))?;
        let linked = entry.file_type().map_err(BaseError::at("read", &dir))?.is_symlink();
        if meta.is_file() {
            found.push(SourceFile::whole(name, entry.path(), meta.len()));
        } else if meta.is_dir() && !linked {
            walk(root, &name, found)?;
        }
        if found.len() > MAX_FILES {
            return Err(BaseError::TooMany { path: root.to_owned(), most: MAX_FILES });
        }
    }
    Ok(())
}
