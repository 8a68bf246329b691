//! One block of a tar: written for regular files, read for whatever comes (POSIX.1-1988 ustar, GNU's numbers).

use std::io::{self, Read, Write};

/// Tars are made of blocks of this many bytes.
pub(super) const BLOCK: u64 = 512;

/// The largest size that octal digits can say; from here on GNU's base-256 form.
const OCTAL_END: u64 = 1 << 33;

/// How much is read at once (bytes).
const BUFFER: usize = 256 << 10;

/// A tar on its way out: regular files only, mode 644, owner and time zero.
pub(super) struct Out<'a> {
    to: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> Out<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, buffer: Vec::new() }
    }

    /// Writes a file of these bytes.
    pub(super) fn bytes(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.copy(name, content.len() as u64, &mut &*content)
    }

    /// Writes a file of `size` bytes from `content`, which must have as many.
    pub(super) fn copy(&mut self, name: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        self.to.write_all(&file(name, size))?;
        let copied = self.stream(&mut content.take(size))?;
        // One byte more is asked for: it is where a verifying reader says what it thinks, and where more would be.
        let more = copied == size && content.read(&mut [0])? > 0;
        if copied != size || more {
            let got = if more { "more".to_owned() } else { copied.to_string() };
            return Err(io::Error::other(format!("{got} bytes, want {size}")));
        }
        self.to.write_all(&[0; BLOCK as usize][..(size.next_multiple_of(BLOCK) - size) as usize])
    }

    /// Copies to the end, in pieces that fill a pipe: `io::copy` would take 8 KiB at a time.
    fn stream(&mut self, from: &mut dyn Read) -> io::Result<u64> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        let mut copied = 0;
        loop {
            let got = match from.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                got => got?,
            };
            if got == 0 {
                return Ok(copied);
            }
            self.to.write_all(&self.buffer[..got])?;
            copied += got as u64;
        }
    }

    /// Writes the end.
    pub(super) fn end(self) -> io::Result<()> {
        self.to.write_all(&[0; 2 * BLOCK as usize])
    }
}

/// The header of a regular file. Names here are digests and fixed words, all shorter than 100 bytes.
fn file(name: &str, size: u64) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < OCTAL_END {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum = sum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn sum(block: &[u8; BLOCK as usize]) -> u64 {
    block.iter().map(|b| u64::from(*b)).sum()
}

/// A header as found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) kind: u8,
}

/// Reads a header; `None` for a block of zeros, which ends an archive.
pub(super) fn parse(block: &[u8; BLOCK as usize]) -> Result<Option<Header>, &'static str> {
    if block.iter().all(|b| *b == 0) {
        return Ok(None);
    }
    let mut unsigned = *block;
    unsigned[148..156].fill(b' ');
    if number(&block[148..156]) != Some(sum(&unsigned)) {
        return Err("the header's checksum is wrong: this is not a tar, or it is damaged");
    }
    let size = number(&block[124..136]).ok_or("its size is not a number")?;
    let mut name = text(&block[..100]).to_vec();
    let prefix = text(&block[345..500]);
    // GNU's own form (`ustar` and two spaces) keeps times where ustar keeps the start of long names.
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        name = [prefix, b"/", &name].concat();
    }
    Ok(Some(Header { name, link: text(&block[157..257]).to_vec(), size, kind: block[156] }))
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Octal digits between spaces and NULs, or base 256 behind a set first bit; negative and larger numbers are none.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let (high, low) = rest.split_at(rest.len().checked_sub(8)?);
        let zero = first & 0x7f == 0 && high.iter().all(|b| *b == 0);
        return zero.then(|| u64::from_be_bytes(low.try_into().unwrap_or_default()));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    match text.is_empty() {
        true => Some(0),
        false if text.bytes().all(|b| b.is_ascii_digit()) => u64::from_str_radix(text, 8).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_beyond_octal_is_written_in_base_256_and_read_back() {
        let block = file("x", 1 << 33);
        assert_eq!(&block[124..136], &[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        for size in [0, 511, OCTAL_END - 1, OCTAL_END, u64::MAX >> 1] {
            let want = Header { name: b"x".to_vec(), link: vec![], size, kind: b'0' };
            assert_eq!(parse(&file("x", size)), Ok(Some(want)));
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for field in [b"-0000000001\0", b"0000000009\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(number(field), None, "{field:?}");
        }
        assert_eq!(number(b"\x80\0\x01\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"     17 \0\0\0\0"), Some(15));
    }

    #[test]
    fn a_flipped_bit_is_found_by_the_checksum() {
        let mut block = file("x", 1);
        block[0] ^= 1;
        assert!(parse(&block).is_err());
        assert_eq!(parse(&[0; 512]), Ok(None));
    }

    #[test]
    fn content_of_another_length_is_an_error() {
        for (content, want) in [(&b"ab"[..], "2 bytes, want 3"), (b"abcd", "more bytes, want 3")] {
            let error = Out::new(&mut Vec::new()).copy("x", 3, &mut &*content).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
