//! What nothing names any more is removed: temporary files of dead writers, and blobs.

use std::collections::HashSet;
use std::path::Path;

use hone_image::Digest;
use hone_image::run::Outcome;

use crate::files::{self, Lock};
use crate::images::{blobs_of, is_manifest};
use crate::{Store, StoreError, staging};

/// What [`Store::collect`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Removes blobs that no name, no version and no unfinished commit needs. `None`, and nothing removed, while
    /// anybody adds blobs: they may not be named yet.
    ///
    /// # Errors
    /// When the store cannot be read whole: then it is not known what is needed, and nothing is removed.
    pub fn collect(&self) -> Result<Option<Swept>, StoreError> {
        if !self.root.join("oci-layout").exists() {
            return Ok(Some(Swept::default()));
        }
        let Some(_alone) = Lock::try_exclusive(&self.ingest_lock())? else {
            return Ok(None);
        };
        let _names = self.lock()?;
        sweep_dir(&self.tmp())?;
        let needed = self.needed()?;
        let dir = self.root.join("blobs/sha256");
        let mut swept = Swept::default();
        for name in files::names(&dir)? {
            if needed.contains(&name) {
                continue;
            }
            let path = dir.join(&name);
            let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
            files::remove(&path)?;
            swept.blobs += 1;
            swept.bytes += bytes;
        }
        Ok(Some(swept))
    }

    /// Removes what dead writers left, when no other writer is there.
    pub(crate) fn reap_temporaries(&self) -> Result<(), StoreError> {
        let Some(_alone) = Lock::try_exclusive(&self.ingest_lock())? else {
            return Ok(());
        };
        let Some(_names) = Lock::try_exclusive(&self.names_lock())? else {
            return Ok(());
        };
        sweep_dir(&self.tmp())
    }

    fn needed(&self) -> Result<HashSet<String>, StoreError> {
        let mut needed: HashSet<String> = HashSet::new();
        let mut need = |digest: Digest| needed.insert(digest.hex());
        for descriptor in self.index()?.manifests {
            need(descriptor.digest);
            if is_manifest(&descriptor) {
                blobs_of(&self.image_by_digest(descriptor.digest)?).for_each(|digest| {
                    need(digest);
                });
            }
        }
        for lineage in self.lineages()? {
            for version in self.versions(&lineage)? {
                need(version.config.digest);
                need(version.layer.digest);
                version.manifest.map(&mut need);
            }
        }
        for entry in staging::list(self)? {
            if let Some(Outcome::Sealed { layer }) = entry.outcome {
                need(layer);
            }
        }
        Ok(needed)
    }
}

fn sweep_dir(dir: &Path) -> Result<(), StoreError> {
    files::names(dir)?.iter().try_for_each(|name| files::remove(&dir.join(name)))
}
