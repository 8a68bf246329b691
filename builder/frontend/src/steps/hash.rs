//! `hash MODEL`: size and digest of every file of the model.

use std::io::{self, Read};
use std::path::Path;

use hone_base::{SourceFile, Sources};
use hone_image::Digest;
use hone_image::job::BaseFile;
use sha2::{Digest as _, Sha256};

use super::StepError;
use crate::exchange::Hashed;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Hashes the files.
pub fn hash(model: &Path) -> Result<Hashed, StepError> {
    Sources::at(model)?.files.iter().map(file).collect()
}

fn file(file: &SourceFile) -> Result<BaseFile, StepError> {
    let digest = digest(file.open().map_err(StepError::at("open", &file.source))?);
    let digest = digest.map_err(StepError::at("read", &file.source))?;
    Ok(BaseFile { path: file.name.clone(), size: file.size, digest })
}

fn digest(mut reader: impl Read) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(Digest::from_sha256(hasher.finalize().into())),
            n => hasher.update(&chunk[..n]),
        }
    }
}
