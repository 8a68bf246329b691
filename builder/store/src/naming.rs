//! Giving names and taking them away.

use hone_contract::{Digest, Reference};
use hone_image::media;
use hone_image::oci::Descriptor;

use crate::{Store, StoreError};

impl Store {
    /// Takes a name away; `false` when there was none. The content stays until [`Store::collect`].
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn untag(&self, reference: &Reference) -> Result<bool, StoreError> {
        self.names()?.unset(reference)
    }

    /// Gives what is there another name: whole, and held while it gets it, so that no name is given to what was collected
    /// meanwhile.
    ///
    /// # Errors
    /// When it is not there any more, the name is another version's, or the store cannot be written.
    pub fn tag(&self, descriptor: &Descriptor, reference: &Reference) -> Result<(), StoreError> {
        let _held = self.reading()?;
        if let Some(absent) = self.absent(descriptor)? {
            return Err(StoreError::NoBlob(absent));
        }
        let mut descriptor = descriptor.clone();
        if let Some(origin) = self.origin(descriptor.digest)? {
            descriptor.annotations.entry(media::PULLED_FROM.to_owned()).or_insert(origin);
        }
        self.names()?.give(reference, descriptor)
    }

    /// Where a manifest or an index was pulled from, when one of its names says so.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn origin(&self, digest: Digest) -> Result<Option<String>, StoreError> {
        let mut known = self.descriptors()?.into_iter().filter(|d| d.digest == digest);
        Ok(known.find_map(|d| d.annotations.get(media::PULLED_FROM).cloned()))
    }
}
