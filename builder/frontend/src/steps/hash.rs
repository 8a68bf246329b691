//! `hash MODEL`: size and digest of every file of the model.

use std::io;
use std::path::Path;

use hone_base::{Links, SourceFile, Sources};
use hone_contract::job::BaseFile;
use hone_contract::{Hashing, quoted};
use hone_image::hub::GitVerified;

use super::{StepError, document};
use crate::exchange::{GIT_BLOBS, GitBlobs, Hashed, REQUEST};

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
        Some(blob) => Hashing::all(GitVerified::new(reader, file.size, *blob)),
        None => Hashing::all(reader),
    };
    let hashed = hashed.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => StepError::Refused(format!("base.model: {}: {error}", quoted(&file.name))),
        _ => StepError::at("read", &file.source)(error),
    })?;
    Ok(BaseFile { path: file.name.clone(), size: file.size, digest: hashed.digest() })
}
