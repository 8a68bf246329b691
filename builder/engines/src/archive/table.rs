//! Where the files of a tar lie, found in one pass over its headers; contents are skipped, not read.
//!
//! What comes is bounded and plain, or refused: regular files, directories and symbolic links under relative names,
//! each name once, at most [`MAX_ENTRIES`], every content within the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use hone_image::tar::{MAX_PATH, check_path};

use super::header::{self, BLOCK, Header};
use super::read::ArchiveError;

/// More entries than any image has: an old `docker save` writes four a layer.
const MAX_ENTRIES: usize = 16_384;

/// The largest extended header: two names and some numbers.
const MAX_EXTENSION: u64 = 16 << 10;

/// The longest way through symbolic links.
const MAX_LINKS: usize = 8;

/// The bytes of a file in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) size: u64,
}

#[derive(Debug)]
enum Item {
    File(Place),
    Link(String),
}

/// The files of an archive by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    items: BTreeMap<String, Item>,
}

/// What extended headers say about the entry behind them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Table {
    /// Reads all headers of `file`.
    pub(super) fn scan(file: &File) -> Result<Self, ArchiveError> {
        let io_error = |source| ArchiveError::Io { object: "archive".into(), source };
        let length = file.metadata().map_err(io_error)?.len();
        let (mut table, mut extension, mut at, mut count) = (Self::default(), Extension::default(), 0, 0);
        loop {
            let mut block = [0; BLOCK as usize];
            file.read_exact_at(&mut block, at).map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => refuse(b"", "the archive ends without its end: it was cut off"),
                _ => io_error(source),
            })?;
            at += BLOCK;
            let Some(header) = header::parse(&block).map_err(|why| refuse(b"", why))? else {
                return Ok(table);
            };
            count += 1;
            if count > MAX_ENTRIES {
                return Err(ArchiveError::TooMany { what: "entries", max: MAX_ENTRIES });
            }
            let extended = matches!(header.kind, b'x' | b'L' | b'K');
            let size = if extended { header.size } else { extension.size.unwrap_or(header.size) };
            let end = at.checked_add(size).filter(|end| *end <= length);
            let end = end.ok_or_else(|| refuse(&header.name, "its size goes beyond the archive's end"))?;
            let place = Place { at, size };
            match extended {
                true => extension.read(file, &header, place)?,
                false => table.add(header, std::mem::take(&mut extension), place)?,
            }
            at = end.next_multiple_of(BLOCK);
        }
    }

    /// The file of this name, through symbolic links that stay in the archive.
    pub(super) fn find(&self, name: &str) -> Result<Option<Place>, ArchiveError> {
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
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, Place)> {
        self.items.iter().filter_map(|(name, item)| match item {
            Item::File(place) => Some((name.as_str(), *place)),
            Item::Link(_) => None,
        })
    }

    fn add(&mut self, header: Header, extension: Extension, place: Place) -> Result<(), ArchiveError> {
        let raw = extension.name.unwrap_or(header.name);
        let name = std::str::from_utf8(&raw).map_err(|_| refuse(&raw, "its name is not UTF-8"))?;
        let directory = header.kind == b'5' || (header.kind == 0 && name.ends_with('/'));
        let name = name.strip_prefix("./").unwrap_or(name);
        let name = if directory { name.trim_end_matches('/') } else { name };
        if directory && matches!(name, "" | ".") {
            return Ok(());
        }
        check_path(name).map_err(|error| ArchiveError::Name { source: error })?;
        let item = match header.kind {
            _ if directory && place.size == 0 => return Ok(()),
            b'0' | b'7' | 0 => Item::File(place),
            b'2' if place.size == 0 => {
                let link = extension.link.unwrap_or(header.link);
                Item::Link(String::from_utf8(link).map_err(|_| refuse(&raw, "its target is not UTF-8"))?)
            }
            b'2' | b'5' => return Err(refuse(&raw, "a directory or a link has no content")),
            _ => return Err(refuse(&raw, "want a regular file, a directory or a symbolic link")),
        };
        match self.items.insert(name.to_owned(), item) {
            None => Ok(()),
            Some(_) => Err(refuse(&raw, "it is there twice, and readers would differ")),
        }
    }
}

impl Extension {
    fn read(&mut self, file: &File, header: &Header, place: Place) -> Result<(), ArchiveError> {
        if place.size > MAX_EXTENSION {
            return Err(refuse(&header.name, "an extended header of more than 16 KiB"));
        }
        let mut body = vec![0; place.size as usize];
        let io_error = |source| ArchiveError::Io { object: "extended header".into(), source };
        file.read_exact_at(&mut body, place.at).map_err(io_error)?;
        let long = |mut body: Vec<u8>| {
            while body.last() == Some(&0) {
                body.pop();
            }
            body
        };
        match header.kind {
            b'L' => self.name = Some(long(body)),
            b'K' => self.link = Some(long(body)),
            _ => self.records(&body).map_err(|why| refuse(&header.name, why))?,
        }
        Ok(())
    }

    /// pax records: `LENGTH KEY=VALUE\n`, the length counting all of it.
    fn records(&mut self, mut body: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "an extended header that is not one";
        while !body.is_empty() {
            let space = body.iter().position(|b| *b == b' ').ok_or(BAD)?;
            let digits = std::str::from_utf8(&body[..space]).map_err(|_| BAD)?;
            let length: usize = digits.parse().map_err(|_| BAD)?;
            let record = body.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or(BAD)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or(BAD)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or("its size is not a number")?);
                }
                sparse if sparse.starts_with(b"GNU.sparse") => return Err("sparse files are not read"),
                _ => {}
            }
            body = &body[length..];
        }
        Ok(())
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
