//! Where an ONNX model keeps tensors outside its own file.
//!
//! `external_data` of a tensor names a file "relative to the model" (onnx.proto, TensorProto). Loaders that believe
//! an absolute location, or one that climbs out of the model's directory, read whatever file it names
//! (CVE-2024-27318, CVE-2026-27489): both are refused here, wherever in the model the tensor is.
//!
//! Only the messages on the way to a tensor are entered; everything else, raw data above all, is skipped unread.
//! Refused, too: a file above protobuf's own limit, messages that leave the one around them, graphs nested deeper
//! than `MAX_DEPTH`, and tags that readers of protobuf take for different ones: a tag has 32 bits, and of a longer number
//! they keep the lower ones, so that what is field 2^32 + 13 here would be field 13 there.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek};

use hone_contract::quoted_bytes;

use crate::ModelError;

/// The largest protobuf message (protobuf.dev, "Proto Limits"): 2 GiB.
const MAX_FILE: u64 = (1 << 31) - 1;
/// Messages within messages; a graph in an attribute takes three.
const MAX_DEPTH: u32 = 96;
/// Bytes of a location: PATH_MAX.
const MAX_LOCATION: u64 = 4096;
/// Different locations in one model.
const MAX_LOCATIONS: usize = 10_000;

/// The messages of onnx.proto on the way to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Sparse,
    Tensor,
    Entry,
}

impl Message {
    /// What the length-delimited field of this number holds, when it leads to a tensor.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Tensor, 13) => Self::Entry,
            _ => return None,
        })
    }
}

/// Why a model's locations are not known.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The model is not one, or names a file that it may not.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The reader failed.
    #[error("read {file}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The files beside the model `file` of `length` bytes that its tensors are in, as it names them.
///
/// # Errors
/// See [`OnnxError`]; [`ModelError`] names the location that leaves the model's directory.
pub fn external_data(file: &str, length: u64, reader: impl Read + Seek) -> Result<BTreeSet<String>, OnnxError> {
    if length > MAX_FILE {
        let want = format!("at most {MAX_FILE} bytes, with its tensors in files beside it");
        return Err(ModelError::header(file, "size", length, want).into());
    }
    let mut walk =
        Walk { file, reader: io::BufReader::with_capacity(1 << 16, reader), at: 0, found: BTreeSet::new() };
    walk.message(Message::Model, length, MAX_DEPTH)?;
    Ok(walk.found)
}

struct Walk<'a, R> {
    file: &'a str,
    reader: io::BufReader<R>,
    /// Where the next byte is in the file.
    at: u64,
    found: BTreeSet<String>,
}

impl<R: Read + Seek> Walk<'_, R> {
    /// Reads a message that ends at byte `end`.
    fn message(&mut self, message: Message, end: u64, depth: u32) -> Result<(), OnnxError> {
        if depth == 0 {
            return Err(self.bad(format!("messages more than {MAX_DEPTH} deep"), "a model"));
        }
        let (mut key, mut value) = (Vec::new(), Vec::new());
        while self.at < end {
            let tag = self.tag(end)?;
            let size = match tag & 7 {
                0 => self.varint(end).map(|_| 0)?,
                1 => 8,
                2 => self.varint(end)?,
                5 => 4,
                other => return Err(self.bad(format!("wire type {other}"), "0, 1, 2 or 5: is it an ONNX model?")),
            };
            let inner = match self.at.checked_add(size) {
                Some(inner) if inner <= end => inner,
                _ => return Err(self.bad(format!("a field of {size} bytes"), &format!("{} at most", end - self.at))),
            };
            match (message, tag >> 3, tag & 7) {
                (Message::Entry, 1, 2) => key = self.bytes(size)?,
                (Message::Entry, 2, 2) => value = self.bytes(size)?,
                (_, number, 2) => match message.field(number) {
                    Some(kind) => self.message(kind, inner, depth - 1)?,
                    None => self.skip(size)?,
                },
                _ => self.skip(size)?,
            }
        }
        match message == Message::Entry && key == b"location" {
            true => self.location(&value),
            false => Ok(()),
        }
    }

    fn location(&mut self, bytes: &[u8]) -> Result<(), OnnxError> {
        let parts = || bytes.split(|b| matches!(b, b'/' | b'\\'));
        let plain = |part: &[u8]| !part.is_empty() && part != b".." && part != b".";
        // `./name` is how some exporters write it; no reader takes it for anything else.
        let inside = parts().skip_while(|part| *part == b".").all(plain) && parts().any(plain);
        // `*/_ORT_MEM_ADDR_/*` is ONNX Runtime's own mark of data that is in memory, at an address that the file gives.
        let inside = inside && !bytes.contains(&b'*');
        let name = std::str::from_utf8(bytes).ok();
        let Some(name) = name.filter(|n| inside && !n.contains(['\\', '\0']) && n.len() as u64 <= MAX_LOCATION)
        else {
            let what = "external_data location";
            let want = "a plain path inside the model's directory";
            let got = format!("\"{}\"", quoted_bytes(bytes));
            return Err(ModelError::header(self.file, what, got, want).into());
        };
        self.found.insert(name.trim_start_matches("./").to_owned());
        if self.found.len() > MAX_LOCATIONS {
            return Err(self.bad(format!("more than {MAX_LOCATIONS} external files"), "fewer"));
        }
        Ok(())
    }

    /// A field's number and wire type, in the one form that every reader takes for the same.
    fn tag(&mut self, end: u64) -> Result<u64, OnnxError> {
        let begin = self.at;
        let tag = self.varint(end)?;
        // Seven bits a byte, and no byte that adds nothing.
        let shortest = u64::from(64 - tag.leading_zeros()).div_ceil(7).max(1);
        if tag > u64::from(u32::MAX) || tag >> 3 == 0 || self.at - begin != shortest {
            let got = format!("a tag of {} bytes for field {}", self.at - begin, tag >> 3);
            return Err(self.bad(got, "a field's number below 2^29 in its shortest form"));
        }
        Ok(tag)
    }

    /// A varint of at most ten bytes (protobuf, "Encoding").
    fn varint(&mut self, end: u64) -> Result<u64, OnnxError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if self.at >= end {
                return Err(self.bad("a number that goes on", "the end of its message"));
            }
            let mut byte = [0];
            self.read(&mut byte)?;
            if shift == 63 && byte[0] > 1 {
                break;
            }
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(self.bad("a number above 2^64", "a varint"))
    }

    /// The bytes of a key or value; one byte more than any that is accepted.
    fn bytes(&mut self, size: u64) -> Result<Vec<u8>, OnnxError> {
        let kept = size.min(MAX_LOCATION + 1);
        let mut bytes = vec![0; kept as usize];
        self.read(&mut bytes)?;
        self.skip(size - kept)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), OnnxError> {
        let file = self.file;
        self.reader.read_exact(bytes).map_err(|source| OnnxError::Io { file: file.to_owned(), source })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, size: u64) -> Result<(), OnnxError> {
        let file = self.file;
        self.at += size;
        // No more than a file has, and that is below 2 GiB.
        let relative = i64::try_from(size).unwrap_or(i64::MAX);
        self.reader.seek_relative(relative).map_err(|source| OnnxError::Io { file: file.to_owned(), source })
    }

    fn bad(&self, got: impl ToString, want: &str) -> OnnxError {
        ModelError::header(self.file, format!("byte {}", self.at), got.to_string(), want).into()
    }
}
