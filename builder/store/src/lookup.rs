//! What people call images: names, digests and the first digits of one.

use std::collections::BTreeSet;

use hone_image::oci::Descriptor;
use hone_image::{Digest, Image, Reference};

use crate::{Store, StoreError};

/// The tag that stands for the promoted version.
const CURRENT: &str = "current";
/// Fewest hex digits that may stand for a digest.
const SHORTEST_PREFIX: usize = 4;

/// What a text that names an image stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Its names; empty when only a digest was known.
    pub references: Vec<Reference>,
    /// What the names point at: an index or a manifest.
    pub descriptor: Descriptor,
    /// The image for this machine.
    pub image: Image,
}

impl Store {
    /// The image that a person means by `text`: a name, `NAME:current` (the promoted version of NAME's one
    /// lineage), a digest, or the first digits of one (of the manifest or of the configuration).
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Resolved, StoreError> {
        let digest = self.find(text)?;
        let named: Vec<_> = self.references()?.into_iter().filter(|(_, d)| d.digest == digest).collect();
        let pack = named.first().map_or_else(|| self.pack(digest), |(_, descriptor)| self.pack_of(descriptor))?;
        let image = self.image_of(&pack)?;
        let references = named.into_iter().map(|(reference, _)| reference).collect();
        Ok(Resolved { references, descriptor: pack.descriptor(), image })
    }

    /// What [`Store::resolve`] takes `text` to mean, without a look at whether it can be read.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Digest, StoreError> {
        let references = self.references()?;
        let named = text.parse::<Reference>().ok().and_then(|r| references.get(&r));
        match (named, self.current(text)?) {
            (Some(descriptor), _) => Ok(descriptor.digest),
            (None, Some(manifest)) => Ok(manifest),
            (None, None) => self.by_prefix(text),
        }
    }

    fn current(&self, text: &str) -> Result<Option<Digest>, StoreError> {
        let Some(reference) = text.parse::<Reference>().ok().filter(|r| r.tag() == CURRENT) else {
            return Ok(None);
        };
        let mut found = None;
        for lineage in self.lineages()?.into_iter().filter(|l| l.name() == reference.name()) {
            let current = self.lineage_state(&lineage)?.current;
            let version = self.versions(&lineage)?.into_iter().find(|v| Some(v.number) == current);
            if let Some(manifest) = version.and_then(|v| v.manifest)
                && found.replace(manifest).is_some()
            {
                return Err(StoreError::Ambiguous(text.to_owned()));
            }
        }
        Ok(found)
    }

    fn by_prefix(&self, text: &str) -> Result<Digest, StoreError> {
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let none = || StoreError::NoImage(text.to_owned());
        if prefix.len() < SHORTEST_PREFIX || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(none());
        }
        let fits = |digest: &Digest| digest.hex().starts_with(prefix);
        // What is meant itself is found whether or not it can be read.
        let mut found: BTreeSet<Digest> = self.references()?.values().map(|d| d.digest).filter(fits).collect();
        for (_, descriptor, pack) in self.packs()? {
            if pack.images().iter().flat_map(|i| [i.digest(), i.config().digest()]).any(|d| fits(&d)) {
                found.insert(descriptor.digest);
            }
        }
        match found.len() {
            0 | 1 => found.pop_first().ok_or_else(none),
            _ => Err(StoreError::Ambiguous(text.to_owned())),
        }
    }
}
