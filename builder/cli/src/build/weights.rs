//! Headers of weight files, read from disk as far as their parsers ask.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use hone_model::{FIRST_READ, ModelError, Progress, gguf, safetensors};

use crate::failure::{Failure, because};

/// A JSON file beside a model larger than this is refused unread (bytes).
const MAX_JSON: u64 = 64 << 20;

/// The header of a GGUF file; a truncated or lying one is refused.
pub fn gguf(path: &Path) -> Result<gguf::Header, Failure> {
    header(path, gguf::parse)
}

/// The header of a safetensors file; a truncated or lying one is refused.
pub fn safetensors(path: &Path) -> Result<safetensors::Header, Failure> {
    header(path, safetensors::parse)
}

/// A small file beside a model.
pub fn small(path: &Path) -> Result<Vec<u8>, Failure> {
    let reading = || because(format!("read {}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).map_err(reading())?.take(MAX_JSON + 1).read_to_end(&mut bytes).map_err(reading())?;
    if bytes.len() as u64 > MAX_JSON {
        return Err(format!("read {}: more than {MAX_JSON} bytes", path.display()).into());
    }
    Ok(bytes)
}

/// The first bytes of a file.
pub fn head(path: &Path) -> Result<Vec<u8>, Failure> {
    let reading = || because(format!("read {}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).map_err(reading())?.take(16).read_to_end(&mut bytes).map_err(reading())?;
    Ok(bytes)
}

type Parse<T> = fn(&str, &[u8], u64) -> Result<Progress<T>, ModelError>;

fn header<T>(path: &Path, parse: Parse<T>) -> Result<T, Failure> {
    let reading = || because(format!("read {}", path.display()));
    let mut file = File::open(path).map_err(reading())?;
    let length = file.metadata().map_err(reading())?.len();
    let name = path.display().to_string();
    let (mut prefix, mut want) = (Vec::new(), FIRST_READ.min(length));
    loop {
        let more = want.saturating_sub(prefix.len() as u64);
        let got = file.by_ref().take(more).read_to_end(&mut prefix).map_err(reading())?;
        if (got as u64) < more {
            return Err(format!("read {name}: it became shorter while it was read").into());
        }
        match parse(&name, &prefix, length)? {
            Progress::Done(header) => return Ok(header),
            Progress::NeedMore(bytes) => want = bytes.max(want + 1).min(length.max(want + 1)),
        }
    }
}
