//! Where the files of a tar lie, found in one pass over its headers; contents are skipped, not read.
//!
//! What comes is bounded and plain, or refused: regular files, directories and symbolic links under relative names,
//! each name once, at most [`MAX_ENTRIES`], every content within the file.

use std::collections::BTreeMap;
use std::fs::File;

use hone_image::tar::{MAX_PATH, check_path};
use hone_image::untar::{Entry, Kind, Tar};

use crate::archive::ArchiveError;

/// More entries than any image has: an old `docker save` writes four a layer.
const MAX_ENTRIES: usize = 16_384;

/// The longest way through symbolic links.
const MAX_LINKS: usize = 8;

/// The bytes of a file in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: u64,
    pub(crate) size: u64,
}

#[derive(Debug)]
enum Item {
    File(Place),
    Link(String),
}

/// The files of an archive by name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    items: BTreeMap<String, Item>,
}

impl Table {
    /// Reads all headers of `file`.
    pub(crate) fn scan(mut file: &File) -> Result<Self, ArchiveError> {
        let tar_error = |source| ArchiveError::Tar { source };
        let mut table = Self::default();
        let mut tar = Tar::placed(&mut file, MAX_ENTRIES).map_err(tar_error)?;
        while let Some(entry) = tar.entry().map_err(tar_error)? {
            table.add(&entry)?;
        }
        match tar.has_ended() {
            true => Ok(table),
            false => Err(ArchiveError::CutOff),
        }
    }

    /// The file of this name, through symbolic links that stay in the archive.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Place>, ArchiveError> {
        let mut path = name.to_owned();
        for _ in 0..MAX_LINKS {
            match self.items.get(&path) {
                None => return Ok(None),
                Some(Item::File(place)) => return Ok(Some(*place)),
                Some(Item::Link(target)) => path = follow(&path, target)?,
            }
        }
        Err(refuse(name.as_bytes(), "it goes through too many symbolic links"))
    }

    /// All regular files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, Place)> {
        self.items.iter().filter_map(|(name, item)| match item {
            Item::File(place) => Some((name.as_str(), *place)),
            Item::Link(_) => None,
        })
    }

    fn add(&mut self, entry: &Entry<'_, '_>) -> Result<(), ArchiveError> {
        let raw = entry.path();
        let name = std::str::from_utf8(raw).map_err(|_| refuse(raw, "its name is not UTF-8"))?;
        let directory = entry.kind() == Kind::Directory;
        let name = name.strip_prefix("./").unwrap_or(name);
        let name = if directory { name.trim_end_matches('/') } else { name };
        if directory && matches!(name, "" | ".") {
            return Ok(());
        }
        check_path(name).map_err(|error| ArchiveError::Name { source: error })?;
        let item = match entry.kind() {
            Kind::Directory => return Ok(()),
            Kind::File => Item::File(Place { at: entry.position(), size: entry.size() }),
            Kind::Symlink => {
                let link = String::from_utf8(entry.link().to_vec());
                Item::Link(link.map_err(|_| refuse(raw, "its target is not UTF-8"))?)
            }
            _ => return Err(refuse(raw, "want a regular file, a directory or a symbolic link")),
        };
        match self.items.insert(name.to_owned(), item) {
            None => Ok(()),
            Some(_) => Err(refuse(raw, "it is there twice, and readers would differ")),
        }
    }
}

/// Where a link in the archive leads, by names alone.
fn follow(link: &str, target: &str) -> Result<String, ArchiveError> {
    let outside = || refuse(link.as_bytes(), "its target is outside of the archive");
    if target.starts_with('/') || target.len() > MAX_PATH {
        return Err(outside());
    }
    let mut path: Vec<&str> = link.split('/').collect();
    path.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(path.pop().ok_or_else(outside)?),
            name => path.push(name),
        }
    }
    Ok(path.join("/"))
}

fn refuse(name: &[u8], why: &'static str) -> ArchiveError {
    ArchiveError::Entry { name: String::from_utf8_lossy(name).into_owned(), why }
}
