//! How a tree that others made is read: regular files only, never waiting for anybody, each as far as is asked for.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use hone_model::{FIRST_READ, ModelError, Progress, gguf, onnx, safetensors};

use crate::{BaseError, SourceFile};

/// A JSON file beside a model larger than this is refused unread (bytes).
const MAX_JSON: u64 = 64 << 20;

/// The header of a GGUF file; a truncated or lying one is refused.
pub(crate) fn gguf(file: &SourceFile) -> Result<gguf::Header, BaseError> {
    header(file, gguf::parse)
}

/// The header of a safetensors file; a truncated or lying one is refused.
pub(crate) fn safetensors(file: &SourceFile) -> Result<safetensors::Header, BaseError> {
    header(file, safetensors::parse)
}

/// The files that the tensors of an ONNX model are in, as it names them; one outside of the model is refused.
pub(crate) fn onnx(file: &SourceFile) -> Result<BTreeSet<String>, BaseError> {
    let reader = seekable(file)?;
    Ok(onnx::external_data(&file.source.display().to_string(), file.size, reader)?)
}

/// Its bytes, and what comes after them in the file that holds it.
pub(crate) fn seekable(file: &SourceFile) -> Result<Part, BaseError> {
    let opened = file.open().map_err(BaseError::at("read", &file.source))?.into_inner();
    Ok(Part { file: opened, start: file.offset })
}

/// A file from its `start` on, as if it began there.
pub(crate) struct Part {
    file: File,
    start: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => SeekFrom::Start(at.saturating_add(self.start)),
            other => other,
        };
        Ok(self.file.seek(to)?.saturating_sub(self.start))
    }
}

/// A small file beside a model.
pub(crate) fn small(file: &SourceFile) -> Result<Vec<u8>, BaseError> {
    if file.size > MAX_JSON {
        return Err(BaseError::TooLarge { path: file.source.clone(), most: MAX_JSON });
    }
    prefix(file, MAX_JSON)
}

/// The last `most` bytes of a file.
pub(crate) fn tail(file: &SourceFile, most: u64) -> Result<Vec<u8>, BaseError> {
    let skipped = file.size.saturating_sub(most);
    prefix(&SourceFile { offset: file.offset + skipped, size: file.size - skipped, ..file.clone() }, most)
}

/// The first `most` bytes of a file.
pub(crate) fn prefix(file: &SourceFile, most: u64) -> Result<Vec<u8>, BaseError> {
    let reading = || BaseError::at("read", &file.source);
    let mut bytes = Vec::new();
    file.open().map_err(reading())?.take(most).read_to_end(&mut bytes).map_err(reading())?;
    Ok(bytes)
}

type Parse<T> = fn(&str, &[u8], u64) -> Result<Progress<T>, ModelError>;

fn header<T>(source: &SourceFile, parse: Parse<T>) -> Result<T, BaseError> {
    let reading = || BaseError::at("read", &source.source);
    let mut file = source.open().map_err(reading())?;
    let length = source.size;
    let name = source.source.display().to_string();
    let (mut prefix, mut want) = (Vec::new(), FIRST_READ.min(length));
    loop {
        let more = want.saturating_sub(prefix.len() as u64);
        let got = file.by_ref().take(more).read_to_end(&mut prefix).map_err(reading())?;
        if (got as u64) < more {
            return Err(BaseError::Shrunk(source.source.clone()));
        }
        match parse(&name, &prefix, length)? {
            Progress::Done(header) => return Ok(header),
            Progress::NeedMore(bytes) => want = bytes.max(want + 1).min(length.max(want + 1)),
        }
    }
}
