//! Bringing content of a known digest into the store, from where an earlier attempt ended.

use std::io::Read;
use std::path::PathBuf;

use hone_contract::quoted;
use hone_image::Digest;
use hone_image::oci::Descriptor;
use hone_registry::{Error, Repository, Source};
use hone_store::{Ingest, Partial, StoreError};

use crate::failure::{Failure, because};
use crate::progress::{Progress, Step};

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

/// What came is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the server has another file: got {got}, want {want}")]
pub struct Other {
    /// What came.
    got: String,
    /// What was asked for.
    want: String,
}

/// Downloads what `open` gives from an offset on, unless the store has it; the file that then holds it.
///
/// What an earlier attempt left is gone on with, or only finished where it is all there. It may be spoilt (the machine
/// lost its power): if the whole is then not what was asked for, it is downloaded once more from its start.
pub fn download(
    ingest: &Ingest<'_>,
    wanted: &Wanted<'_>,
    progress: Progress,
    open: impl Fn(u64) -> Result<Source, Failure>,
) -> Result<PathBuf, Failure> {
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
            Err(StoreError::Content { got, want, .. }) => return Err(Other { got, want }.into()),
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
    progress: Progress,
    open: &impl Fn(u64) -> Result<Source, Failure>,
) -> Result<Step, Failure> {
    if partial.is_complete() {
        return Ok(progress.step(label, Some(partial.done())));
    }
    let mut source = match open(partial.done()) {
        // More than the file has is no beginning of it.
        Err(error) if matches!(error.downcast_ref(), Some(Error::Fewer { .. })) => {
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
    loop {
        match source.read(&mut buffer).map_err(because(label))? {
            0 => return Ok(step),
            n => partial.append(&buffer[..n])?,
        }
        step.seen(partial.done());
    }
}

/// Downloads a blob of a repository.
pub fn blob(
    ingest: &Ingest<'_>,
    repository: &Repository,
    blob: &Descriptor,
    progress: Progress,
) -> Result<PathBuf, Failure> {
    let label = format!("pull {}", blob.digest.short());
    let wanted = Wanted { label: &label, digest: blob.digest, size: Some(blob.size) };
    download(ingest, &wanted, progress, |at| Ok(repository.blob(blob, at)?))
}
