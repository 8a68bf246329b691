//! Finding what is damaged of an image, and taking it away where it cannot be had again.

use std::collections::HashSet;
use std::fs::File;

use hone_contract::Digest;
use hone_files::open_regular;
use hone_image::oci::Descriptor;
use hone_image::walk::{Follow, Node, Part, Unread, Walk};

use crate::files::{self, Lock};
use crate::intact::{self, drain};
use crate::{Store, StoreError, Verified};

/// A blob that is not there, or not what its name says, or a document that is refused.
#[derive(Debug)]
pub struct Damage {
    /// What it should be; of a size that is not known, 0.
    pub descriptor: Descriptor,
    /// Whether it is a manifest or an index.
    pub document: bool,
    /// What is wrong with it.
    pub why: StoreError,
}

impl Damage {
    /// Whether its bytes are those of its name, and what they say is refused: then there is nothing to mend.
    pub fn is_refused(&self) -> bool {
        self.document && matches!(self.why, StoreError::Parse { .. })
    }
}

impl Store {
    /// Reads all that a manifest or an index stands for to its end, statements about it too, and tells what is damaged.
    /// What a damaged document names is not known, and not looked at. Hold the store open meanwhile.
    ///
    /// # Errors
    /// When the store may not be read.
    pub fn damaged(&self, root: Digest) -> Result<Vec<Damage>, StoreError> {
        let statements = self.statements_about(root)?.into_iter().map(|(descriptor, _)| descriptor);
        let (mut damaged, mut seen) = (Vec::new(), HashSet::new());
        for root in [Descriptor::of("", root, 0)].into_iter().chain(statements) {
            for found in Walk::of(self, root, Follow::named()) {
                let (descriptor, document, read) = match found {
                    Ok(Node { part: Part::Config | Part::Layer, descriptor, .. }) => {
                        if !seen.insert(descriptor.digest) {
                            continue;
                        }
                        let read = self.read_through(&descriptor);
                        (descriptor, false, read)
                    }
                    Ok(_) => continue,
                    Err(Unread { descriptor, .. }) if !seen.insert(descriptor.digest) => continue,
                    Err(Unread { descriptor, error }) => (descriptor, true, Err(error)),
                };
                match read {
                    Ok(()) => {}
                    Err(why @ StoreError::Denied { .. }) => return Err(why),
                    Err(why) => damaged.push(Damage { descriptor, document, why }),
                }
            }
        }
        Ok(damaged)
    }

    fn read_through(&self, blob: &Descriptor) -> Result<(), StoreError> {
        let path = self.blob_path(blob.digest);
        let read = drain(self.open_blob(blob.digest, blob.size)?);
        read.map(drop).map_err(|source| crate::blob::corrupt_or_io(source, blob.digest, "read blob", path))
    }

    /// Removes those of these blobs whose bytes are not those of their name, so that whoever builds or pulls them writes
    /// them anew; which ones those were. `None`, and nothing removed, while somebody else reads or adds.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn discard(&self, blobs: &[Digest]) -> Result<Option<Vec<Digest>>, StoreError> {
        let Some(_alone) = Lock::try_exclusive(&self.ingest_lock())? else {
            return Ok(None);
        };
        let mut removed = Vec::new();
        for &digest in blobs {
            let path = self.blob_path(digest);
            // Somebody may have mended it meanwhile.
            let good = |file: File| drain(Verified::new(file, digest, None)).is_ok();
            if path.symlink_metadata().is_ok() && !open_regular(&path).is_ok_and(good) {
                intact::doubt(&intact::record(self, digest));
                files::remove(&path)?;
                removed.push(digest);
            }
        }
        files::sync_dir(&self.blobs()).map_err(StoreError::at("sync", &self.blobs()))?;
        Ok(Some(removed))
    }
}
