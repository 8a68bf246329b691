//! What was found in an archive.

use std::collections::{BTreeMap, BTreeSet};

use hone_contract::{Digest, Reference};
use hone_image::{Artifact, Pack};

use crate::table::Place;

/// An image, or an index with those of its manifests that are there, in an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchivedPack {
    /// Its names; texts that are no references are left out.
    pub names: BTreeSet<Reference>,
    /// All its documents. A docker archive has no manifest: it gets one here, over the layers as they lie there.
    pub pack: Pack,
}

/// A manifest in an archive, in no index, that is no image of containers: a model, a statement about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchivedArtifact {
    /// Its names; mostly none.
    pub names: BTreeSet<Reference>,
    /// The manifest and its configuration.
    pub artifact: Artifact,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) packs: Vec<ArchivedPack>,
    pub(crate) artifacts: Vec<ArchivedArtifact>,
    pub(crate) blobs: BTreeMap<Digest, Place>,
}

impl Contents {
    /// Adds a pack, or only its names when the pack is known.
    pub(crate) fn pack(&mut self, names: impl IntoIterator<Item = Reference>, pack: Pack) {
        match self.packs.iter_mut().find(|known| known.pack.digest() == pack.digest()) {
            Some(known) => known.names.extend(names),
            None => self.packs.push(ArchivedPack { names: names.into_iter().collect(), pack }),
        }
    }

    /// Adds an artifact, or only its name when the artifact is known.
    pub(crate) fn artifact(&mut self, name: Option<Reference>, artifact: Artifact) {
        let digest = artifact.manifest.digest();
        match self.artifacts.iter_mut().find(|known| known.artifact.manifest.digest() == digest) {
            Some(known) => known.names.extend(name),
            None => self.artifacts.push(ArchivedArtifact { names: name.into_iter().collect(), artifact }),
        }
    }
}
