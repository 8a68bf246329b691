//! Reading a tar that anybody may have made, entry by entry, with every part of it bounded.
//!
//! Crate `tar` keeps an entry's extended headers (long names, PAX records, sparse maps) in memory whatever their
//! size; here they are metered. Refused: more entries than the caller is ready for, extended headers above
//! [`MAX_EXTENDED`], sparse files above [`MAX_SPARSE`] together, and PAX's sparse formats, whose files would arrive
//! as something else than they are.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// An entry of a bounded tar.
pub type Entry<'a, 'r, R = dyn Read + 'r> = tar::Entry<'a, Metered<'r, R>>;

/// Bytes of one entry's headers.
pub const MAX_EXTENDED: u64 = 1 << 20;
/// Bytes that the sparse files of one tar have together, holes included.
pub const MAX_SPARSE: u64 = 1 << 30;

/// A reader that gives only what the part of the tar at hand may have.
pub struct Metered<'r, R: ?Sized = dyn Read + 'r> {
    inner: &'r mut R,
    left: &'r Cell<u64>,
}

/// A tar that is not read to its end.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("headers of one entry of more than {MAX_EXTENDED} bytes")]
    Extended,
    #[error("more than {0} entries")]
    Entries(usize),
    #[error("sparse files of more than {MAX_SPARSE} bytes together")]
    Sparse,
    #[error("a sparse file in a PAX format; want it whole, or as GNU tar's old format")]
    PaxSparse,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(io::ErrorKind::InvalidData, refused)
    }
}

impl<R: Read + ?Sized> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left.get()).unwrap_or(usize::MAX));
        if most == 0 && !buffer.is_empty() {
            return Err(Refused::Extended.into());
        }
        let n = self.inner.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - n as u64);
        Ok(n)
    }
}

impl<R: Seek + ?Sized> Seek for Metered<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
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
    let left = Cell::new(0);
    let inner: &mut dyn Read = &mut *reader;
    let mut archive = tar::Archive::new(Metered { inner, left: &left });
    entries(archive.entries()?, &left, most, &mut |entry| -> Result<(), E> {
        each(entry)?;
        io::copy(entry, &mut io::sink())?;
        Ok(())
    })?;
    left.set(u64::MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Shows `each` where every entry of a tar lies, at most `most` of them, without reading what is in them.
///
/// # Errors
/// What `each` answers; a tar that is none, or is refused.
pub fn places<E: From<io::Error>>(
    tar: &mut File,
    most: usize,
    each: &mut dyn FnMut(&mut Entry<'_, '_, File>) -> Result<(), E>,
) -> Result<(), E> {
    let left = Cell::new(0);
    let mut archive = tar::Archive::new(Metered { inner: tar, left: &left });
    entries(archive.entries_with_seek()?, &left, most, each)
}

fn entries<'r, R: Read + ?Sized, E: From<io::Error>>(
    mut entries: tar::Entries<'_, Metered<'r, R>>,
    left: &Cell<u64>,
    most: usize,
    each: &mut dyn FnMut(&mut Entry<'_, 'r, R>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut count, mut sparse) = (0, 0);
    loop {
        left.set(MAX_EXTENDED);
        let Some(entry) = entries.next() else { return Ok(()) };
        let mut entry = entry?;
        count += 1;
        if count > most {
            return Err(io::Error::from(Refused::Entries(most)).into());
        }
        sparse += sparse_size(&mut entry, MAX_SPARSE - sparse)?;
        left.set(u64::MAX);
        each(&mut entry)?;
    }
}

/// What a sparse entry takes of what is `left` for such.
fn sparse_size<R: Read + ?Sized>(entry: &mut Entry<'_, '_, R>, left: u64) -> io::Result<u64> {
    // A record that crate `tar` cannot read is often a binary attribute with a line break in it.
    for record in entry.pax_extensions()?.into_iter().flatten().flatten() {
        if record.key_bytes().starts_with(b"GNU.sparse.") {
            return Err(Refused::PaxSparse.into());
        }
    }
    match entry.header().entry_type().is_gnu_sparse() {
        true if entry.size() > left => Err(Refused::Sparse.into()),
        true => Ok(entry.size()),
        false => Ok(0),
    }
}
