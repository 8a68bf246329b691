//! A repository as a place of documents ([`hone_image::walk`]).

use std::io::Read;

use hone_image::oci::{Descriptor, DocumentError, MAX_DOCUMENT_BYTES};
use hone_image::walk::{Documents, Refusal};

use crate::error::Error;
use crate::repository::Repository;

impl Documents for Repository {
    type Error = Error;

    /// What an index or a manifest of a repository names is there, or the registry says why not: it is asked for that.
    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        if descriptor.is_index() || descriptor.is_manifest() {
            return Ok(Some(self.manifest(&descriptor.digest.to_string())?.bytes));
        }
        if descriptor.size > MAX_DOCUMENT_BYTES {
            let error = DocumentError::TooLarge { what: "config", got: descriptor.size };
            return Err(self.refused(descriptor, error.into()));
        }
        let mut bytes = Vec::new();
        let read = self.blob(descriptor, 0)?.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes);
        let broken = |error: std::io::Error| {
            let task = self.task(&format!("pull blob {} of {}", descriptor.digest, self.name()));
            error.downcast().unwrap_or_else(|error| task.protocol(&format!("breaks off: {error}")))
        };
        read.map_err(broken)?;
        Ok(Some(bytes))
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> Error {
        Error::Document { task: format!("pull {}@{}", self.name(), descriptor.digest), source: why.into() }
    }
}
