//! A bounded little-endian reader over a prefix of a file. It never allocates what a length field claims: a
//! length beyond the prefix ends the parse with how far the prefix must reach, and that is bounded.

use crate::{MAX_HEADER, ModelError};

/// Why a read did not succeed.
pub(crate) enum Stop {
    /// The prefix must reach at least to this byte.
    More(u64),
    /// The bytes are wrong.
    Bad(ModelError),
}

impl From<ModelError> for Stop {
    fn from(error: ModelError) -> Self {
        Self::Bad(error)
    }
}

pub(crate) type Read<T> = Result<T, Stop>;

/// A position in a prefix of a file of known size.
pub(crate) struct Cursor<'a> {
    pub(crate) file: &'a str,
    prefix: &'a [u8],
    file_len: u64,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(file: &'a str, prefix: &'a [u8], file_len: u64) -> Self {
        Self { file, prefix, file_len, at: 0 }
    }

    pub(crate) fn position(&self) -> u64 {
        self.at as u64
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: u64, what: &str) -> Read<&'a [u8]> {
        let end = (self.at as u64).saturating_add(n);
        if end > self.file_len {
            return Err(ModelError::truncated(self.file, what, end, self.file_len).into());
        }
        if end > MAX_HEADER {
            let want = format!("a header of at most {MAX_HEADER} bytes");
            return Err(ModelError::header(self.file, what, format!("a header of {end} bytes or more"), want).into());
        }
        let end_index = end as usize;
        let Some(bytes) = self.prefix.get(self.at..end_index) else {
            return Err(Stop::More(end));
        };
        self.at = end_index;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &str) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Read<[u8; N]> {
        let bytes = self.take(N as u64, what)?;
        Ok(bytes.try_into().unwrap_or([0; N]))
    }

    /// A GGUF string: a length, then UTF-8.
    pub(crate) fn string(&mut self, what: &str) -> Read<String> {
        let len = self.u64(what)?;
        let bytes = self.take(len, what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(ModelError::header(self.file, what, "bytes that are not UTF-8", "UTF-8").into()),
        }
    }
}
