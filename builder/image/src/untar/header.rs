//! One block of a tar as it may come (POSIX.1-1988 ustar, GNU's numbers and maps of sparse files).

use std::collections::VecDeque;
use std::ops::Range;

use super::{Kind, Refused};

/// Tars are made of blocks of this many bytes.
pub(super) const BLOCK: usize = 512;
/// An entry in a map of a sparse file: where, and how much.
const PIECE: usize = 24;

/// A header whose checksum is right.
pub(super) struct Header([u8; BLOCK]);

impl Header {
    /// Reads a header; `None` for a block of zeros, which ends a tar.
    pub(super) fn parse(block: [u8; BLOCK]) -> Result<Option<Self>, Refused> {
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        let own: u64 = block[148..156].iter().map(|b| u64::from(*b)).sum();
        // It is counted as spaces in itself.
        match number(&block[148..156]) == Some(sum - own + 8 * u64::from(b' ')) {
            true => Ok(Some(Self(block))),
            false => Err(Refused::Checksum),
        }
    }

    pub(super) fn flag(&self) -> u8 {
        self.0[156]
    }

    /// Whether it is about the entry behind it.
    pub(super) fn is_extension(&self) -> bool {
        matches!(self.flag(), b'x' | b'L' | b'K')
    }

    /// Whether it is about all entries behind it.
    pub(super) fn is_global(&self) -> bool {
        self.flag() == b'g'
    }

    /// What the entry is, whose name is `path`: before POSIX a directory was told by it alone.
    pub(super) fn kind(&self, path: &[u8]) -> Kind {
        match self.flag() {
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => Kind::Sparse,
            b'g' => Kind::Global,
            _ => Kind::Other,
        }
    }

    pub(super) fn name(&self) -> Vec<u8> {
        // Behind a shorter prefix star keeps times, and ends its headers so.
        let end = if &self.0[508..] == b"tar\0" { 476 } else { 500 };
        let (name, prefix) = (text(&self.0[..100]), text(&self.0[345..end]));
        // GNU's own form (`ustar` and two spaces) keeps times where ustar keeps the start of long names.
        match &self.0[257..263] == b"ustar\0" && !prefix.is_empty() {
            true => [prefix, b"/", name].concat(),
            false => name.to_vec(),
        }
    }

    pub(super) fn link(&self) -> &[u8] {
        text(&self.0[157..257])
    }

    pub(super) fn size(&self) -> Result<u64, Refused> {
        self.number(124..136, "size")
    }

    pub(super) fn mode(&self) -> Result<u64, Refused> {
        self.number(100..108, "mode")
    }

    pub(super) fn uid(&self) -> Result<u64, Refused> {
        self.number(108..116, "owner")
    }

    pub(super) fn gid(&self) -> Result<u64, Refused> {
        self.number(116..124, "group")
    }

    pub(super) fn mtime(&self) -> u64 {
        number(&self.0[136..148]).unwrap_or(0)
    }

    fn number(&self, at: Range<usize>, what: &'static str) -> Result<u64, Refused> {
        number(&self.0[at]).ok_or(Refused::Number(what))
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Octal digits between spaces and NULs, or base 256 behind a set first bit; negative and larger numbers are none.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let zero = first & 0x7f == 0 && high.iter().all(|b| *b == 0);
        return zero.then(|| low.iter().fold(0, |number, b| number << 8 | u64::from(*b)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    match text.is_empty() {
        true => Some(0),
        false if text.bytes().all(|b| b.is_ascii_digit()) => u64::from_str_radix(text, 8).ok(),
        false => None,
    }
}

/// Where the data of a sparse file belongs (GNU tar's manual, "Old GNU Format").
pub(super) struct SparseMap {
    /// Zeros, then bytes.
    pieces: VecDeque<(u64, u64)>,
    /// Bytes of the file so far.
    at: u64,
    stored: u64,
    /// Stored bytes that have no place yet.
    left: u64,
}

impl SparseMap {
    /// The pieces in the header itself; and whether more blocks of them come.
    pub(super) fn of(header: &Header, stored: u64) -> Result<(Self, bool), Refused> {
        let Header(block) = header;
        if &block[257..265] != b"ustar  \0" {
            return Err(Refused::SparseMap);
        }
        let mut map = Self { pieces: VecDeque::new(), at: 0, stored, left: stored };
        map.add(&block[386..482])?;
        Ok((map, block[482] != 0))
    }

    /// The pieces in a block of their own; and whether more come.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<bool, Refused> {
        self.add(&block[..504])?;
        Ok(block[504] != 0)
    }

    fn add(&mut self, pieces: &[u8]) -> Result<(), Refused> {
        // What begins with a NUL is not used.
        let used = pieces
            .chunks_exact(PIECE)
            .map(|piece| piece.split_at(PIECE / 2))
            .filter(|(at, n)| at[0] != 0 && n[0] != 0);
        for (at, length) in used {
            self.piece(number(at), number(length)).ok_or(Refused::SparseMap)?;
        }
        Ok(())
    }

    fn piece(&mut self, at: Option<u64>, length: Option<u64>) -> Option<()> {
        let (at, length) = (at?, length?);
        // Each piece begins with a block of its own.
        if length > 0 && !(self.stored - self.left).is_multiple_of(BLOCK as u64) {
            return None;
        }
        self.pieces.push_back((at.checked_sub(self.at)?, length));
        self.left = self.left.checked_sub(length)?;
        self.at = at.checked_add(length)?;
        Some(())
    }

    /// All of it, and the size of the file, which `header` must say, too.
    pub(super) fn finish(self, header: &Header) -> Result<(VecDeque<(u64, u64)>, u64), Refused> {
        match self.left == 0 && number(&header.0[483..495]) == Some(self.at) {
            true => Ok((self.pieces, self.at)),
            false => Err(Refused::SparseMap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_are_refused() {
        for field in [
            b"-0000000001\0",
            b"0000000009\0\0",
            b"+0000000001\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(number(field), None, "{field:?}");
        }
        assert_eq!(number(b"\x80\0\x01\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"     17 \0\0\0\0"), Some(15));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(1 << 33));
        // Owners have eight bytes.
        assert_eq!(number(b"\x80\0\0\0\0\x01\0\0"), Some(1 << 16));
        assert_eq!(number(b"\xc0\0\0\0\0\0\0\0"), None);
    }
}
