//! Reading a tar that anybody may have made, entry by entry, with every part of it bounded: layers, models and archives
//! of images alike.
//!
//! Refused, besides what is no tar: more entries than the caller is ready for, extended headers above [`MAX_EXTENDED`],
//! names above [`MAX_NAME`], sparse files above [`FREE`] together, PAX's sparse formats, whose files would arrive as
//! something else than they are, and whatever makes one tar two trees in two programs: an extended header that is not
//! one, comes twice or stands before a global one, a name with a NUL in it, a link or a directory with content, a size
//! that is not a number or goes beyond the end.
//!
//! Crate `tar` (0.4.46) is not this reader: it finds PAX records by their line breaks, though each says its own length.
//! Behind a binary attribute with a line break in it, it sees no `path` and no `size`, or records that are none; what is
//! a file's content to docker is headers to it. What it reads of an extended header it keeps, whatever its size.

mod header;
mod pax;
mod source;

use std::collections::VecDeque;
use std::io::{self, Read, Seek};

use hone_contract::quoted;

use crate::bomb::FREE;
use header::{BLOCK, Header, SparseMap};
use pax::Extension;
use source::{Input, Placed, Stream};

/// Bytes of one entry's extended headers; attributes are in them.
pub const MAX_EXTENDED: u64 = 1 << 20;
/// Bytes of a name or of a link's target; Linux has at most 4096.
pub const MAX_NAME: usize = 16 << 10;
/// Entries in one layer; a Debian root with Python has ten thousand.
pub const MAX_ENTRIES: usize = 2_000_000;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A regular file with holes, in GNU tar's old format.
    Sparse,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A FIFO.
    Fifo,
    /// PAX records that are for all entries behind them; nobody here reads them.
    Global,
    /// Something else.
    Other,
}

impl Kind {
    /// Whether readers differ about content behind such an entry.
    fn has_no_content(self) -> bool {
        use Kind::{BlockDevice, CharDevice, Directory, Fifo, HardLink, Symlink};
        matches!(self, HardLink | Symlink | CharDevice | BlockDevice | Directory | Fifo)
    }
}

/// A tar that is not read to its end.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the header's checksum is wrong: this is not a tar, or it is damaged")]
    Checksum,
    #[error("its {0} is not a number")]
    Number(&'static str),
    #[error("its size goes beyond the archive's end")]
    Short,
    #[error("headers of one entry of more than {MAX_EXTENDED} bytes")]
    Extended,
    #[error("a name of more than 16 KiB")]
    Name,
    #[error("an extended header that is not one")]
    Record,
    #[error("two extended headers say the same of one entry, and readers would differ")]
    Twice,
    #[error("an extended header, and no entry behind it")]
    Dangling,
    #[error("a long name that is empty or has a NUL in it, and readers would differ")]
    Nul,
    #[error("{}: want a path without \"..\" in it", quoted(.0))]
    Above(String),
    #[error("a directory, a link or a device has no content, and readers would differ")]
    Content,
    #[error("more than {0} entries")]
    Entries(usize),
    #[error("sparse files of more than {FREE} bytes together")]
    Sparse,
    #[error("want a regular file, or a sparse one with GNU tar's own map of it")]
    SparseMap,
    #[error("a sparse file in a PAX format; want it whole, or as GNU tar's old format")]
    PaxSparse,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::Short => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, refused)
    }
}

/// Shows `each` every entry of the tar that `reader` gives, at most `most` of them, then reads `reader` to its end:
/// one that verifies its bytes has the last word.
///
/// # Errors
/// What `each` answers; a tar that is none, or is refused; what `reader` says.
pub fn walk<E: From<io::Error>>(
    reader: &mut dyn Read,
    most: usize,
    each: &mut dyn FnMut(&mut Entry<'_, '_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut tar = Tar::stream(reader, most);
    while let Some(mut entry) = tar.entry()? {
        each(&mut entry)?;
    }
    io::copy(&mut tar.input, &mut io::sink())?;
    Ok(())
}

/// Shows `each` where every entry of a tar lies, at most `most` of them, without reading what is in them.
///
/// # Errors
/// What `each` answers; a tar that is none, or is refused.
pub fn places<E: From<io::Error>>(
    tar: &mut (impl Read + Seek),
    most: usize,
    each: &mut dyn FnMut(&mut Entry<'_, '_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut tar = Tar::placed(tar, most)?;
    while let Some(mut entry) = tar.entry()? {
        each(&mut entry)?;
    }
    Ok(())
}

/// Whether a tar begins so: with a header, or with the zeros of an empty one.
pub fn begins(head: &[u8]) -> bool {
    head.iter().all(|byte| *byte == 0) || is_header(head)
}

/// Whether a tar with something in it begins so: a header carries the sum of its own bytes.
pub fn is_header(head: &[u8]) -> bool {
    head.first_chunk::<BLOCK>().is_some_and(|block| matches!(Header::parse(*block), Ok(Some(_))))
}

/// The path of an entry, or of a link's target, as all programs come to know it: plain names below the root, whatever
/// slashes and dots it was written with; empty for the root itself. It is compared as this, never as it is written.
///
/// # Errors
/// When there is a `..` in it: where that leads hangs on the links before it, and nobody packs such names.
pub fn clean(path: &str) -> io::Result<String> {
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    match names.contains(&"..") {
        true => Err(Refused::Above(path.to_owned()).into()),
        false => Ok(names.join("/")),
    }
}

/// A tar that is read, one entry after another.
pub struct Tar<'r> {
    input: Input<'r>,
    most: usize,
    count: usize,
    /// Bytes of the sparse files so far.
    sparse: u64,
    ended: bool,
}

impl<'r> Tar<'r> {
    /// A tar that is read from its beginning to its end, of at most `most` entries.
    pub fn stream(reader: &'r mut dyn Read, most: usize) -> Self {
        Self::new(Input::new(Box::new(Stream(reader))), most)
    }

    /// A tar in a file, whose contents are passed over unless they are asked for.
    ///
    /// # Errors
    /// When the file has no beginning and end.
    pub fn placed(file: &'r mut (impl Read + Seek), most: usize) -> io::Result<Self> {
        Ok(Self::new(Input::new(Box::new(Placed::new(file)?)), most))
    }

    fn new(input: Input<'r>, most: usize) -> Self {
        Self { input, most, count: 0, sparse: 0, ended: false }
    }

    /// Whether its end was there: zeros, and not just nothing more. Nothing else tells that a tar without a digest is
    /// whole.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// When it is refused, or cannot be read.
    pub fn entry(&mut self) -> io::Result<Option<Entry<'_, 'r>>> {
        let (mut extension, mut left) = (Extension::default(), MAX_EXTENDED);
        loop {
            let Some(header) = self.header()? else {
                return if extension.is_empty() { Ok(None) } else { Err(Refused::Dangling.into()) };
            };
            // Some programs would apply it to the global one, and others to the entry behind that.
            if header.is_global() && !extension.is_empty() {
                return Err(Refused::Dangling.into());
            }
            if !header.is_extension() {
                return self.begin(header, extension, left).map(Some);
            }
            let size = header.size()?;
            left = left.checked_sub(size).ok_or(Refused::Extended)?;
            extension.take(&header, &self.input.body(size)?)?;
        }
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        self.input.pass()?;
        let Some(block) = self.input.block()? else { return Ok(None) };
        let header = Header::parse(block)?;
        self.ended = header.is_none();
        Ok(header)
    }

    /// An entry of `header`, which may have `left` bytes of headers more.
    fn begin(&mut self, header: Header, extension: Extension, left: u64) -> io::Result<Entry<'_, 'r>> {
        self.count += 1;
        if self.count > self.most {
            return Err(Refused::Entries(self.most).into());
        }
        let (path, link) = (extension.name.unwrap_or_else(|| header.name()), extension.link);
        let (kind, stored) = (header.kind(&path), extension.size.map_or_else(|| header.size(), Ok)?);
        if kind.has_no_content() && stored > 0 {
            return Err(Refused::Content.into());
        }
        if kind == Kind::Global && stored > left {
            return Err(Refused::Extended.into());
        }
        let (mut pieces, mut size) = (VecDeque::from([(0, stored)]), stored);
        if kind == Kind::Sparse {
            (pieces, size) = self.map(&header, stored, left)?;
            self.sparse = self.sparse.checked_add(size).filter(|sum| *sum <= FREE).ok_or(Refused::Sparse)?;
        }
        let position = self.input.content(stored)?;
        let owner = (extension.uid, extension.gid);
        Ok(Entry { header, path, link, kind, size, owner, position, pieces, input: &mut self.input })
    }

    /// The holes and the data of a sparse file, and its size.
    fn map(&mut self, header: &Header, stored: u64, mut left: u64) -> io::Result<(VecDeque<(u64, u64)>, u64)> {
        let (mut map, mut more) = SparseMap::of(header, stored)?;
        while more {
            left = left.checked_sub(BLOCK as u64).ok_or(Refused::Extended)?;
            more = map.extend(&self.input.block()?.ok_or(Refused::Short)?)?;
        }
        Ok(map.finish(header)?)
    }
}

/// An entry of a tar; its content is read from it.
pub struct Entry<'a, 'r> {
    header: Header,
    path: Vec<u8>,
    link: Option<Vec<u8>>,
    kind: Kind,
    size: u64,
    owner: (Option<u64>, Option<u64>),
    position: u64,
    /// What is still to be read: zeros, then bytes.
    pieces: VecDeque<(u64, u64)>,
    input: &'a mut Input<'r>,
}

impl Entry<'_, '_> {
    /// Its name, as it was written.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where a link leads; empty when nothing is said.
    pub fn link(&self) -> &[u8] {
        self.link.as_deref().unwrap_or_else(|| self.header.link())
    }

    /// Bytes of its content, holes included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where its content begins in the tar.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Permissions, and what else chmod(2) takes.
    ///
    /// # Errors
    /// When they are not a number.
    pub fn mode(&self) -> io::Result<u32> {
        // Some tools write the kind of the file into it, too.
        Ok((self.header.mode()? & 0o7777) as u32)
    }

    /// The user and the group that own it.
    ///
    /// # Errors
    /// When they are not numbers.
    pub fn owner(&self) -> io::Result<(u64, u64)> {
        let (uid, gid) = self.owner;
        Ok((uid.map_or_else(|| self.header.uid(), Ok)?, gid.map_or_else(|| self.header.gid(), Ok)?))
    }

    /// When it was changed, in seconds since 1970; 0 for what was before, or is not told.
    pub fn mtime(&self) -> u64 {
        self.header.mtime()
    }
}

impl Read for Entry<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = |n: u64| buffer.len().min(usize::try_from(n).unwrap_or(usize::MAX));
        while let Some((hole, data)) = self.pieces.front_mut() {
            if *hole > 0 {
                let n = most(*hole);
                buffer[..n].fill(0);
                *hole -= n as u64;
                return Ok(n);
            }
            if *data > 0 {
                let n = most(*data);
                let got = self.input.read(&mut buffer[..n])?;
                if got == 0 && n > 0 {
                    return Err(Refused::Short.into());
                }
                *data -= got as u64;
                return Ok(got);
            }
            self.pieces.pop_front();
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests;
