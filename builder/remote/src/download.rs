//! Bringing content of a known digest into the store, from where an earlier attempt ended.

use std::io::Read;
use std::path::PathBuf;

use hone_contract::progress::{Progress, Step};
use hone_contract::{Digest, quoted};
use hone_image::oci::Descriptor;
use hone_registry::{Error, Repository, Source};
use hone_store::{Ingest, Partial, StoreError};

use crate::RemoteError;

/// Bytes moved at a time.
const CHUNK: usize = 1 << 20;

/// What is to be had.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What to call it while it comes.
    pub label: &'a str,
    /// Its sha256.
    pub digest: Digest,
    /// Its bytes, where that is known.
    pub size: Option<u64>,
}

/// Downloads what `open` gives from an offset on, unless the store has it; the file that then holds it.
///
/// What an earlier attempt left is gone on with, or only finished where it is all there. It may be spoilt (the machine
/// lost its power): if the whole is then not what was asked for, it is downloaded once more from its start.
///
/// # Errors
/// When the server refuses, has another file, or the disk refuses; what came is kept for the next attempt.
pub fn download(
    ingest: &Ingest<'_>,
    wanted: &Wanted<'_>,
    progress: &dyn Progress,
    open: impl Fn(u64) -> Result<Source, Error>,
) -> Result<PathBuf, RemoteError> {
    let store = ingest.store();
    let path = store.blob_path(wanted.digest);
    // A blob that is damaged is fetched again, as one that is not there.
    let size = wanted.size.or_else(|| path.metadata().map(|there| there.len()).ok());
    if size.map_or(Ok(false), |size| ingest.has_intact(wanted.digest, size))? {
        return Ok(path);
    }
    // Names come from indexes and hubs.
    let label = quoted(wanted.label).to_string();
    let mut partial = ingest.partial_of(wanted.digest, wanted.size)?;
    let mut begun_before = partial.done() > 0;
    loop {
        let step = complete(&mut partial, &label, progress, &open)?;
        let bytes = partial.done();
        match partial.finish() {
            Err(StoreError::Content { .. }) if begun_before => {
                begun_before = false;
                partial = ingest.partial_of(wanted.digest, wanted.size)?;
                partial.restart()?;
            }
            // The place where it was matters to nobody: it is gone.
            Err(StoreError::Content { got, want, .. }) => return Err(RemoteError::Other { got, want }),
            Err(error) => return Err(error.into()),
            Ok(digest) => {
                step.done(bytes, digest);
                return Ok(path);
            }
        }
    }
}

/// Fetches what is lacking.
fn complete(
    partial: &mut Partial<'_>,
    label: &str,
    progress: &dyn Progress,
    open: &impl Fn(u64) -> Result<Source, Error>,
) -> Result<Box<dyn Step>, RemoteError> {
    if partial.is_complete() {
        return Ok(progress.step(label, Some(partial.done())));
    }
    let mut source = match open(partial.done()) {
        // More than the file has is no beginning of it.
        Err(Error::Fewer { .. }) => {
            partial.restart()?;
            open(0)?
        }
        opened => opened?,
    };
    if let Some(size) = source.size() {
        partial.announce(size)?;
    }
    let step = progress.step(label, source.size());
    let mut buffer = vec![0; CHUNK];
    let broken = |source| RemoteError::Broken { what: label.to_owned(), source };
    loop {
        match source.read(&mut buffer).map_err(broken)? {
            0 => return Ok(step),
            n => partial.append(&buffer[..n])?,
        }
        step.seen(partial.done());
    }
}

/// Downloads a blob of a repository.
///
/// # Errors
/// As [`download`].
pub fn blob(
    ingest: &Ingest<'_>,
    repository: &Repository,
    blob: &Descriptor,
    progress: &dyn Progress,
) -> Result<PathBuf, RemoteError> {
    let label = format!("pull {}", blob.digest.short());
    let wanted = Wanted { label: &label, digest: blob.digest, size: Some(blob.size) };
    download(ingest, &wanted, progress, |at| repository.blob(blob, at))
}
