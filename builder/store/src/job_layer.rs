//! The job inside an image, read without unpacking it.

use std::io::Read;

use hone_contract::chain;
use hone_contract::job::{JOB_PATH, Job, JobError, MAX_JOB_BYTES};
use hone_image::untar::{self, Kind};
use hone_image::{Image, LayerKind};

use crate::touch::Links;
use crate::{Budget, Store, StoreError};

/// Entries looked at in a job layer; ours has a handful.
const MAX_ENTRIES: usize = 10_000;

impl Store {
    /// The job of an image; `None` when the image has no job layer.
    ///
    /// # Errors
    /// When the layer cannot be read, or holds no job of this contract.
    pub fn job_of(&self, image: &Image) -> Result<Option<Job>, StoreError> {
        let Some(layer) = image.layer(LayerKind::Job) else {
            return Ok(None);
        };
        let bad = |why: String| StoreError::Record { path: JOB_PATH.into(), why };
        let found =
            job_in(&mut self.open_layer(layer, &Budget::of_layer(layer))?).map_err(|error| bad(chain(&error)))?;
        found.map(Some).ok_or_else(|| bad(format!("it is not in the job layer {}", layer.descriptor.digest)))
    }
}

/// Why the tar of a job layer gives no job.
#[derive(Debug, thiserror::Error)]
pub enum JobLayerError {
    /// It is no tar, or not the layer's.
    #[error("read the job layer")]
    Tar(#[from] std::io::Error),
    /// What unpacks last would be what counts in a container, and what comes first here.
    #[error("want it once in the job layer, a file, and nothing that hides it or is written in its place")]
    Twice,
    /// The file is no job.
    #[error(transparent)]
    Job(#[from] JobError),
}

/// The job in a job layer's tar, which is read to its end; `None` when it holds none.
///
/// # Errors
/// See [`JobLayerError`].
pub fn job_in(tar: &mut dyn Read) -> Result<Option<Job>, JobLayerError> {
    let (mut found, mut links) = (None, Links::default());
    let job = JOB_PATH.trim_start_matches('/');
    untar::walk(tar, MAX_ENTRIES, &mut |entry| {
        let path = untar::clean(&String::from_utf8_lossy(entry.path()))?;
        links.note(&path, entry.kind());
        if !links.touches(&path, entry.kind(), job) {
            return Ok(());
        }
        if found.is_some() || path != job || !matches!(entry.kind(), Kind::File | Kind::Sparse) {
            return Err(JobLayerError::Twice);
        }
        let mut bytes = Vec::new();
        Read::by_ref(entry).take(MAX_JOB_BYTES + 1).read_to_end(&mut bytes)?;
        found = Some(Job::parse(&bytes)?);
        Ok(())
    })?;
    Ok(found)
}
