//! Bytes that are counted and hashed on their way: the one place where a digest is earned from a stream.

use std::io::{self, BufReader, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Bytes read at a time by [`Hashing::all`].
const CHUNK: usize = 1 << 20;

/// A reader or a writer that counts and hashes what passes through it.
///
/// ```
/// use std::io::Write;
/// use hone_contract::{Digest, Hashing};
///
/// let mut hashing = Hashing::new(Vec::new());
/// hashing.write_all(b"abc")?;
/// assert_eq!((hashing.digest(), hashing.size()), (Digest::of(b"abc"), 3));
/// assert_eq!(hashing.into_inner(), b"abc");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    size: u64,
}

impl Hashing<io::Sink> {
    /// What a reader gives, to its end.
    ///
    /// # Errors
    /// When the reader fails.
    pub fn all(reader: impl Read) -> io::Result<Self> {
        let mut hashing = Self::new(io::sink());
        io::copy(&mut BufReader::with_capacity(CHUNK, reader), &mut hashing)?;
        Ok(hashing)
    }
}

impl<T> Hashing<T> {
    /// Nothing has passed yet.
    pub fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    /// Counts and hashes what passed elsewhere.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// Of what has passed so far.
    pub fn digest(&self) -> Digest {
        Digest::from_sha256(self.hasher.clone().finalize().into())
    }

    /// Bytes that have passed so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is read or written.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// What was read or written.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passed_counts() {
        // A writer that has room for five bytes, of which the last call offers more.
        let mut room = [0; 5];
        let mut writer = Hashing::new(&mut room[..]);
        assert_eq!(writer.write(b"abc").expect("room"), 3);
        assert_eq!(writer.write(b"defg").expect("room"), 2);
        assert_eq!((writer.digest(), writer.size()), (Digest::of(b"abcde"), 5));
        let mut reader = Hashing::new(&b"abcde"[..]);
        let mut buffer = [0; 3];
        assert_eq!(reader.read(&mut buffer).expect("bytes"), 3);
        assert_eq!((reader.digest(), reader.size(), *reader.inner()), (Digest::of(b"abc"), 3, &b"de"[..]));
        let all = Hashing::all(reader).expect("the rest");
        assert_eq!((all.digest(), all.size()), (Digest::of(b"de"), 2));
    }
}
