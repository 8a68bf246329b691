//! Which lineage an image belongs to, as far as this store can tell: by its own records, else by the layers of a base that
//! is here. What an image's labels say counts for nothing by itself ([`hone_image::claim`]).

use hone_contract::job::AdapterSpec;
use hone_contract::{Digest, Reference};
use hone_image::claim::Claim;
use hone_image::oci::ImageConfig;
use hone_image::untar::{self, Kind};
use hone_image::{Image, Layer, LayerKind, Pack};

use crate::{Budget, Store, StoreError};

/// What an adapter's layer has at most: two directories and two files.
const ADAPTER_ENTRIES: [(&str, Kind); 4] = [
    ("hone", Kind::Directory),
    ("hone/adapter", Kind::Directory),
    ("hone/adapter/adapter_config.json", Kind::File),
    ("hone/adapter/adapter_model.safetensors", Kind::File),
];

/// A version that another store made, of a base that this one has.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// Its lineage: the base's name.
    pub lineage: Reference,
    /// Its number there.
    pub number: u64,
    /// The base.
    pub base: Pack,
    /// Its image that the version is of.
    pub image: Image,
}

impl Store {
    /// The lineage of the image called `name`: that of a version, else it is a base of its own.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn lineage_of(&self, name: &Reference) -> Result<Reference, StoreError> {
        if let Some(version) = self.version(name)? {
            return Ok(version.lineage);
        }
        match self.image(name)? {
            Some(image) => Ok(self.membership(name, &image)?.map_or_else(|| name.clone(), |(lineage, _)| lineage)),
            None => Ok(name.clone()),
        }
    }

    /// The lineage and the number of an image called `name`, when it is a version.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn membership(&self, name: &Reference, image: &Image) -> Result<Option<(Reference, u64)>, StoreError> {
        // Whoever says nothing of it is none, and most images are such.
        if Claim::of(image.config().value()).is_none() {
            return Ok(None);
        }
        if let Some(version) = self.version_of_config(image.config().digest())? {
            return Ok(Some((version.lineage, version.number)));
        }
        let Some(job) = self.job_of(image)? else { return Ok(None) };
        let foreign = self.foreign(name, &job.adapter, image.config().value(), image.layers().last())?;
        Ok(foreign.map(|foreign| (foreign.lineage, foreign.number)))
    }

    /// The version that the labels of a configuration say an image called `name` is, when a base in this store bears it
    /// out. `top` is its topmost layer, where that is here: it must then be an adapter's.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn foreign(
        &self,
        name: &Reference,
        adapter: &AdapterSpec,
        config: &ImageConfig,
        top: Option<&Layer>,
    ) -> Result<Option<Foreign>, StoreError> {
        let Some((claim, lineage)) = Claim::of(config).and_then(|c| Some((c.clone(), c.lineage(name, adapter)?)))
        else {
            return Ok(None);
        };
        let Some(descriptor) = self.references()?.remove(&lineage) else { return Ok(None) };
        let base = self.pack_of(&descriptor)?;
        let held = |image: &&Image| claim.holds(config, image.config().digest(), image.config().value());
        let Some(image) = base.images().iter().find(held).cloned() else { return Ok(None) };
        match top {
            Some(layer) if !self.is_adapter(layer)? => Ok(None),
            _ => Ok(Some(Foreign { lineage, number: claim.number(), base, image })),
        }
    }

    /// The one image here that has this configuration and its names.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn names_of_config(&self, config: Digest) -> Result<Vec<Reference>, StoreError> {
        let mut names = Vec::new();
        for (name, _, pack) in self.packs()? {
            if pack.images().iter().any(|image| image.config().digest() == config) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether a layer holds an adapter and nothing else: replacing it then loses nothing of anybody's.
    fn is_adapter(&self, layer: &Layer) -> Result<bool, StoreError> {
        if layer.kind != LayerKind::Adapter && layer.kind != LayerKind::Other {
            return Ok(false);
        }
        let mut others = false;
        let mut tar = self.open_layer(layer, &Budget::of_layer(layer))?;
        let walked = untar::walk(&mut *tar, ADAPTER_ENTRIES.len(), &mut |entry| -> std::io::Result<()> {
            let path = untar::clean(&String::from_utf8_lossy(entry.path()))?;
            // A link that is called as the adapter's directory is no adapter's.
            others |= !ADAPTER_ENTRIES.iter().any(|(name, of)| *name == path && *of == entry.kind());
            Ok(())
        });
        // What has more entries, or is no tar, is no adapter either.
        Ok(walked.is_ok() && !others)
    }
}
