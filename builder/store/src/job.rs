//! The job inside an image, read without unpacking it.

use std::io::Read;

use hone_image::job::{JOB_PATH, Job, MAX_JOB_BYTES};
use hone_image::{Image, LayerKind};

use crate::{Store, StoreError};

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
        let mut archive = tar::Archive::new(self.open_layer(layer)?);
        let entries = archive.entries().map_err(|e| bad(e.to_string()))?;
        for entry in entries.take(MAX_ENTRIES) {
            let entry = entry.map_err(|e| bad(e.to_string()))?;
            if entry.path_bytes().as_ref() != JOB_PATH.trim_start_matches('/').as_bytes() {
                continue;
            }
            let mut bytes = Vec::new();
            entry.take(MAX_JOB_BYTES + 1).read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
            return Job::parse(&bytes).map(Some).map_err(|e| bad(chain(&e)));
        }
        Err(bad(format!("it is not in the job layer {}", layer.descriptor.digest)))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
