//! Bringing content of a known digest into the store, from where an earlier attempt ended.

use std::io::{Read, Write};
use std::path::PathBuf;

use hone_image::Digest;
use hone_image::oci::Descriptor;
use hone_registry::{Repository, Source};
use hone_store::{Ingest, StoreError};

use crate::failure::{Failure, because};
use crate::progress::Progress;

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
    let mut partial = ingest.partial_of(wanted.digest, wanted.size)?;
    let mut source = open(partial.done())?;
    let step = progress.step(wanted.label, source.size());
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = source.read(&mut buffer).map_err(because(wanted.label))?;
        if n == 0 {
            break;
        }
        partial.write_all(&buffer[..n]).map_err(store.tmp_error())?;
        step.seen(partial.done());
    }
    let bytes = partial.done();
    match partial.finish() {
        // The place where it was matters to nobody: it is gone.
        Err(StoreError::Content { got, want, .. }) => return Err(Other { got, want }.into()),
        finished => finished.map(drop)?,
    }
    step.done(bytes, wanted.digest);
    Ok(path)
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
