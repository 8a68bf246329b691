//! Where the bytes of a tar come from: a stream, or a file in which content is passed over.

use std::io::{self, Read, Seek, SeekFrom};

use super::Refused;
use super::header::BLOCK;

/// Bytes of a tar, in order.
pub(super) trait Source: Read {
    /// Passes over `n` bytes; `false` when there are not so many.
    fn skip(&mut self, n: u64) -> io::Result<bool>;

    /// Whether there can be something at `end`.
    fn reaches(&self, end: u64) -> bool;
}

/// What comes once.
pub(super) struct Stream<'r>(pub(super) &'r mut dyn Read);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Source for Stream<'_> {
    fn skip(&mut self, n: u64) -> io::Result<bool> {
        Ok(io::copy(&mut self.0.take(n), &mut io::sink())? == n)
    }

    fn reaches(&self, _end: u64) -> bool {
        true
    }
}

/// What lies in a file.
pub(super) struct Placed<'r, F> {
    file: &'r mut F,
    length: u64,
}

impl<'r, F: Read + Seek> Placed<'r, F> {
    /// From its beginning.
    pub(super) fn new(file: &'r mut F) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        Ok(Self { file, length })
    }
}

impl<F: Read> Read for Placed<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl<F: Read + Seek> Source for Placed<'_, F> {
    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let Ok(n) = i64::try_from(n) else { return Ok(false) };
        let at = self.file.seek(SeekFrom::Current(n))?;
        Ok(self.reaches(at))
    }

    fn reaches(&self, end: u64) -> bool {
        end <= self.length
    }
}

/// A source, and how far it was read.
pub(super) struct Input<'r> {
    from: Box<dyn Source + 'r>,
    at: u64,
    /// Where the content ends.
    end: u64,
    /// Where the next header begins.
    next: u64,
}

impl<'r> Input<'r> {
    pub(super) fn new(from: Box<dyn Source + 'r>) -> Self {
        Self { from, at: 0, end: 0, next: 0 }
    }

    /// Passes over what is left of an entry. What fills the last block of a tar may be missing: umoci leaves it out.
    pub(super) fn pass(&mut self) -> io::Result<()> {
        let left = self.end.saturating_sub(self.at);
        if left > 0 && !self.from.skip(left)? {
            return Err(Refused::Short.into());
        }
        self.at = self.at.max(self.end);
        self.from.skip(self.next - self.at)?;
        self.at = self.next;
        Ok(())
    }

    /// The next block; `None` where nothing more comes.
    pub(super) fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let (mut block, mut filled) = ([0; BLOCK], 0);
        while filled < BLOCK {
            match self.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Refused::Short.into()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.end, self.next) = (self.at, self.at);
        Ok(Some(block))
    }

    /// Says that `size` bytes of content come, and where they begin.
    pub(super) fn content(&mut self, size: u64) -> io::Result<u64> {
        let end = self.at.checked_add(size).filter(|end| self.from.reaches(*end)).ok_or(Refused::Short)?;
        self.next = end.checked_next_multiple_of(BLOCK as u64).ok_or(Refused::Short)?;
        self.end = end;
        Ok(self.at)
    }

    /// The content of an extended header, whose size was looked at.
    pub(super) fn body(&mut self, size: u64) -> io::Result<Vec<u8>> {
        self.content(size)?;
        let mut body = Vec::new();
        self.take(size).read_to_end(&mut body)?;
        match body.len() as u64 == size {
            true => Ok(body),
            false => Err(Refused::Short.into()),
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}
