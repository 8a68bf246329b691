//! Images: put whole, found by name or digest.

use std::collections::BTreeSet;

use hone_image::oci::{Descriptor, ImageConfig, MAX_DOCUMENT_BYTES, Manifest, Sealed};
use hone_image::{Digest, Image, Reference, media};

use crate::{Ingest, Store, StoreError};

/// The tag that stands for the promoted version.
const CURRENT: &str = "current";
/// Fewest hex digits that may stand for a digest.
const SHORTEST_PREFIX: usize = 4;

/// What a text that names an image stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Its names; empty when only a digest was known.
    pub references: Vec<Reference>,
    /// The image.
    pub image: Image,
}

impl Ingest<'_> {
    /// Stores an image under a name. Its layers must be there already.
    ///
    /// # Errors
    /// When a layer is not, or the disk refuses; the name then stands for what it stood for before.
    pub fn put_image(&self, reference: &Reference, image: &Image) -> Result<(), StoreError> {
        let manifest = self.put_documents(image)?;
        self.store.names()?.set(reference, manifest)
    }

    pub(crate) fn put_documents(&self, image: &Image) -> Result<Descriptor, StoreError> {
        let missing = |l: &&hone_image::Layer| !self.store.has(l.descriptor.digest, l.descriptor.size);
        if let Some(layer) = image.layers().iter().find(missing) {
            return Err(StoreError::NoBlob(layer.descriptor.digest));
        }
        self.put(image.config().bytes())?;
        self.put(image.manifest().bytes())?;
        Ok(image.descriptor())
    }
}

impl Store {
    /// The image of this name.
    ///
    /// # Errors
    /// When the store cannot be read; an absent name is `None`.
    pub fn image(&self, reference: &Reference) -> Result<Option<Image>, StoreError> {
        match self.references()?.get(reference) {
            Some(descriptor) => self.image_by_digest(descriptor.digest).map(Some),
            None => Ok(None),
        }
    }

    /// The image of this manifest digest.
    ///
    /// # Errors
    /// When it is not there, or its documents do not fit each other.
    pub fn image_by_digest(&self, manifest: Digest) -> Result<Image, StoreError> {
        let bytes = self.read_blob(manifest, MAX_DOCUMENT_BYTES)?;
        let manifest: Sealed<Manifest> = Sealed::parse("manifest", bytes)?;
        let config = self.config(manifest.value().config.digest)?;
        Ok(Image::join(manifest, config)?)
    }

    /// The image of a layout that holds one, whatever it is called.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only_image(&self) -> Result<Image, StoreError> {
        match self.index()?.manifests.as_slice() {
            [only] if is_manifest(only) => self.image_by_digest(only.digest),
            others => {
                let why = format!("want one image manifest, got {} entries", others.len());
                Err(StoreError::Record { path: self.root.join("index.json"), why })
            }
        }
    }

    /// An image configuration.
    ///
    /// # Errors
    /// When it is not there or is none.
    pub fn config(&self, digest: Digest) -> Result<Sealed<ImageConfig>, StoreError> {
        Ok(Sealed::parse("config", self.read_blob(digest, MAX_DOCUMENT_BYTES)?)?)
    }

    /// The named image that has this configuration: docker's image id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn image_by_config(&self, config: Digest) -> Result<Option<Image>, StoreError> {
        for descriptor in self.references()?.values() {
            let image = self.image_by_digest(descriptor.digest)?;
            if image.config().digest() == config {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    /// The image that a person means by `text`: a name, `NAME:current` (the promoted version of NAME's one
    /// lineage), a digest, or the first digits of one (of the manifest or of the configuration).
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Resolved, StoreError> {
        let references = self.references()?;
        let named = text.parse::<Reference>().ok().and_then(|r| references.get(&r));
        let digest = match (named, self.current(text)?) {
            (Some(descriptor), _) => descriptor.digest,
            (None, Some(manifest)) => manifest,
            (None, None) => self.by_prefix(text)?,
        };
        let names = references.into_iter().filter(|(_, d)| d.digest == digest).map(|(r, _)| r).collect();
        Ok(Resolved { references: names, image: self.image_by_digest(digest)? })
    }

    /// Takes a name away; `false` when there was none. The content stays until [`Store::collect`].
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn untag(&self, reference: &Reference) -> Result<bool, StoreError> {
        self.names()?.unset(reference)
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn tag(&self, image: &Image, reference: &Reference) -> Result<(), StoreError> {
        self.names()?.set(reference, image.descriptor())
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
        let mut found = BTreeSet::new();
        for descriptor in self.references()?.values() {
            let image = self.image_by_digest(descriptor.digest)?;
            if [image.digest(), image.config().digest()].iter().any(|d| d.hex().starts_with(prefix)) {
                found.insert(image.digest());
            }
        }
        match found.len() {
            0 | 1 => found.pop_first().ok_or_else(none),
            _ => Err(StoreError::Ambiguous(text.to_owned())),
        }
    }
}

/// Every blob an image's documents name, themselves included.
pub(crate) fn blobs_of(image: &Image) -> impl Iterator<Item = Digest> + '_ {
    let layers = image.layers().iter().map(|l| l.descriptor.digest);
    [image.digest(), image.config().digest()].into_iter().chain(layers)
}

/// Whether a descriptor of the index is of a kind that this store makes.
pub(crate) fn is_manifest(descriptor: &Descriptor) -> bool {
    descriptor.media_type == media::MANIFEST
}
