//! A pack: what one reference stands for. A runnable image for each platform, and the model as an artifact, in one
//! index over the same layers; or one image alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::image::Image;
use crate::layer::Layer;
use crate::media;
use crate::oci::{Descriptor, Index, Manifest, Platform, Sealed};
use crate::platform::best;
use hone_contract::digest::Digest;

/// A manifest that is no image, with its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// The manifest.
    pub manifest: Sealed<Manifest>,
    /// The configuration it names.
    pub config: Sealed<Value>,
}

/// What one reference stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    index: Option<Sealed<Index>>,
    images: Vec<Image>,
    artifacts: Vec<Artifact>,
}

impl Artifact {
    /// A descriptor of the manifest, as an index holds it. The platform is nobody's, so that no engine takes it for an
    /// image of its own (BuildKit marks its attestations the same way).
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            artifact_type: self.manifest.value().artifact_type.clone(),
            platform: Some(Platform::nobody()),
            ..self.manifest.descriptor(media::MANIFEST)
        }
    }
}

impl Pack {
    /// An index over images and artifacts, in this order.
    pub fn new(images: Vec<Image>, artifacts: Vec<Artifact>) -> Self {
        let manifests = images.iter().map(Image::descriptor).chain(artifacts.iter().map(Artifact::descriptor));
        let index = Sealed::new(Index::new(manifests.collect()));
        Self { index: Some(index), images, artifacts }
    }

    /// One image, and no index.
    pub fn alone(image: Image) -> Self {
        Self { index: None, images: vec![image], artifacts: Vec::new() }
    }

    /// An index and those of its manifests that are there.
    pub fn join(index: Sealed<Index>, images: Vec<Image>, artifacts: Vec<Artifact>) -> Self {
        Self { index: Some(index), images, artifacts }
    }

    /// What the reference points at: the index, or the only manifest.
    pub fn descriptor(&self) -> Descriptor {
        match (&self.index, self.images.first()) {
            (Some(index), _) => {
                let media_type = index.value().media_type.as_deref().unwrap_or(media::INDEX);
                index.descriptor(media_type)
            }
            (None, Some(image)) => Descriptor { platform: None, ..image.descriptor() },
            // Nothing but an index can be without images.
            (None, None) => Sealed::new(Index::new(Vec::new())).descriptor(media::INDEX),
        }
    }

    /// The digest of what the reference points at.
    pub fn digest(&self) -> Digest {
        self.descriptor().digest
    }

    /// The index.
    pub fn index(&self) -> Option<&Sealed<Index>> {
        self.index.as_ref()
    }

    /// The images that are there.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The artifacts that are there.
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }

    /// The ModelPack artifact.
    pub fn model(&self) -> Option<&Artifact> {
        let is_model = |a: &&Artifact| a.manifest.value().artifact_type.as_deref() == Some(media::MODEL_MANIFEST);
        self.artifacts.iter().find(is_model)
    }

    /// The image for a machine: of those that run on it the best, else the first.
    pub fn image_for(&self, machine: &Platform) -> Option<&Image> {
        best(machine, &self.images, |image| Some(image.platform())).or(self.images.first())
    }

    /// Every document, those that others name first: the order in which they are stored and pushed.
    pub fn documents(&self) -> Vec<(Descriptor, &[u8])> {
        let mut documents = Vec::new();
        for image in &self.images {
            documents.push((image.manifest().value().config.clone(), image.config().bytes()));
            documents.push((image.descriptor(), image.manifest().bytes()));
        }
        for artifact in &self.artifacts {
            documents.push((artifact.manifest.value().config.clone(), artifact.config.bytes()));
            documents.push((artifact.descriptor(), artifact.manifest.bytes()));
        }
        documents.extend(self.index.iter().map(|index| (self.descriptor(), index.bytes())));
        documents
    }

    /// Every layer blob, each once, as its first image describes it.
    pub fn layers(&self) -> Vec<&Descriptor> {
        let of_images = self.images.iter().flat_map(|i| &i.manifest().value().layers);
        let all = of_images.chain(self.artifacts.iter().flat_map(|a| &a.manifest.value().layers));
        let mut seen = BTreeMap::new();
        let mut layers = Vec::new();
        for layer in all {
            if seen.insert(layer.digest, ()).is_none() {
                layers.push(layer);
            }
        }
        layers
    }

    /// The layers of its images, each once: images for several processors share most of theirs, and one image may have
    /// the same layer twice.
    pub fn image_layers(&self) -> Vec<&Layer> {
        let mut seen = BTreeSet::new();
        let all = self.images.iter().flat_map(Image::layers);
        all.filter(|layer| seen.insert((layer.descriptor.digest, layer.descriptor.size, layer.diff_id))).collect()
    }

    /// Manifests that the index names and that are not there.
    pub fn missing(&self) -> Vec<&Descriptor> {
        let here = |digest| {
            self.images.iter().any(|i| i.digest() == digest)
                || self.artifacts.iter().any(|a| a.manifest.digest() == digest)
        };
        self.index.iter().flat_map(|i| &i.value().manifests).filter(|d| !here(d.digest)).collect()
    }
}
