//! What nothing names any more is removed: temporary files of dead writers, and blobs.

use std::collections::HashSet;
use std::path::Path;

use hone_image::oci::Descriptor;
use hone_image::run::Outcome;
use hone_image::{Digest, media};

use crate::files::{self, Lock};
use crate::images::blobs_of;
use crate::index::Names;
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
        let mut names = self.names()?;
        sweep_dir(&self.tmp())?;
        let needed = self.needed(&mut names)?;
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
        self.sweep_cache()?;
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

    fn needed(&self, names: &mut Names<'_>) -> Result<HashSet<String>, StoreError> {
        let mut needed: HashSet<String> = HashSet::new();
        let named = |d: &&Descriptor| d.annotations.contains_key(media::REF_NAME);
        for descriptor in names.entries().iter().filter(named) {
            needed.insert(descriptor.digest.hex());
            if descriptor.is_manifest() || descriptor.is_index() {
                needed.extend(blobs_of(&self.pack_of(descriptor)?).map(|d| d.hex()));
            }
        }
        // A statement goes with what it is about.
        let mut orphans = HashSet::new();
        for descriptor in names.entries().iter().filter(|d| !named(d)) {
            let manifest = self.manifest(descriptor)?;
            let subject = manifest.value().subject.as_ref().map(|s| s.digest.hex());
            if subject.is_some_and(|subject| !needed.contains(&subject)) {
                orphans.insert(descriptor.digest);
                continue;
            }
            let parts = [&manifest.value().config].into_iter().chain(&manifest.value().layers);
            needed.extend(parts.map(|d| d.digest.hex()).chain([descriptor.digest.hex()]));
        }
        names.retain(|d| !orphans.contains(&d.digest))?;
        let mut need = |digest: Digest| needed.insert(digest.hex());
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
