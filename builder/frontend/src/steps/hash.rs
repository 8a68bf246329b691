//! `hash MODEL`: size and digest of every file of the model.

use std::io::{self, Read};
use std::path::Path;

use hone_base::{Links, SourceFile, Sources};
use hone_contract::quoted;
use hone_image::Digest;
use hone_image::hub::GitVerified;
use hone_image::job::BaseFile;
use sha2::{Digest as _, Sha256};

use super::{StepError, document};
use crate::exchange::{GIT_BLOBS, GitBlobs, Hashed, REQUEST};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Hashes the files.
pub fn hash(model: &Path, links: Links) -> Result<Hashed, StepError> {
    let said = Path::new(REQUEST).join(GIT_BLOBS);
    let blobs: GitBlobs = if said.exists() { document(&said)? } else { GitBlobs::new() };
    Sources::at(model, links)?.files.iter().map(|source| file(source, blobs.get(&source.name))).collect()
}

/// Hashes a file, which is refused when it is not the git blob that a hub says it is.
fn file(file: &SourceFile, blob: Option<&[u8; 20]>) -> Result<BaseFile, StepError> {
    let reader = file.open().map_err(StepError::at("open", &file.source))?;
    let hashed = match blob {
        Some(blob) => digest(GitVerified::new(reader, file.size, *blob)),
        None => digest(reader),
    };
    let digest = hashed.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => StepError::Refused(format!("base.model: {}: {error}", quoted(&file.name))),
        _ => StepError::at("read", &file.source)(error),
    })?;
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
