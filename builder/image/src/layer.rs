//! Layers: what they hold, how they are stored, and what they are when unpacked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::media;
use crate::oci::Descriptor;
use hone_contract::digest::Digest;

/// What a layer holds; written as the annotation [`media::LAYER_KIND`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// The program that trains and its libraries.
    Trainer,
    /// One weight file, uncompressed.
    Weight,
    /// The model's small files.
    Model,
    /// The tokenizer, when it came apart from the model.
    Tokenizer,
    /// `/hone/job.json` and the directories the contract names.
    Job,
    /// The adapter of a version.
    Adapter,
    /// A layer that Hone did not make.
    Other,
}

impl LayerKind {
    /// The annotation's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trainer => "trainer",
            Self::Weight => "weight",
            Self::Model => "model",
            Self::Tokenizer => "tokenizer",
            Self::Job => "job",
            Self::Adapter => "adapter",
            Self::Other => "other",
        }
    }

    /// The kind an annotation's value names; anything unknown is [`LayerKind::Other`].
    pub fn of(annotation: Option<&str>) -> Self {
        match annotation {
            Some("trainer") => Self::Trainer,
            Some("weight") => Self::Weight,
            Some("model") => Self::Model,
            Some("tokenizer") => Self::Tokenizer,
            Some("job") => Self::Job,
            Some("adapter") => Self::Adapter,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One layer of an image: its blob, and the digest of the tar inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it holds.
    pub kind: LayerKind,
    /// The blob, as the manifest names it.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
}

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is: digest and diff id are the same.
    None,
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
}

/// How the tar of a layer with this media type is stored; `None` when it is not a layer's.
pub fn compression(media_type: &str) -> Option<Compression> {
    match media_type.rsplit(['.', '+']).next() {
        Some("zstd") => Some(Compression::Zstd),
        Some("gzip") => Some(Compression::Gzip),
        Some("tar") => Some(Compression::None),
        _ => None,
    }
}

impl Layer {
    /// A layer stored as a bare tar.
    pub fn tar(kind: LayerKind, digest: Digest, size: u64) -> Self {
        Self::with(kind, media::LAYER_TAR, digest, size, digest)
    }

    /// A layer stored under zstd.
    pub fn zstd(kind: LayerKind, digest: Digest, size: u64, diff_id: Digest) -> Self {
        Self::with(kind, media::LAYER_ZSTD, digest, size, diff_id)
    }

    /// The same layer with one more annotation.
    pub fn annotated(mut self, name: &str, value: &str) -> Self {
        self.descriptor.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same content as a layer of another kind, with no annotation but that.
    pub fn of_kind(&self, kind: LayerKind) -> Self {
        let d = &self.descriptor;
        Self::with(kind, &d.media_type, d.digest, d.size, self.diff_id)
    }

    /// A layer as a manifest and a configuration of anybody describe it.
    pub fn described(descriptor: Descriptor, diff_id: Digest) -> Self {
        let kind = LayerKind::of(descriptor.annotations.get(media::LAYER_KIND).map(String::as_str));
        Self { kind, descriptor, diff_id }
    }

    /// How its tar is stored; `None` for a media type that is not a layer's.
    pub fn compression(&self) -> Option<Compression> {
        compression(&self.descriptor.media_type)
    }

    fn with(kind: LayerKind, media_type: &str, digest: Digest, size: u64, diff_id: Digest) -> Self {
        let mut descriptor = Descriptor::of(media_type, digest, size);
        descriptor.annotations.insert(media::LAYER_KIND.to_owned(), kind.as_str().to_owned());
        Self { kind, descriptor, diff_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_survives_its_annotation() {
        use LayerKind::*;
        for kind in [Trainer, Weight, Model, Tokenizer, Job, Adapter, Other] {
            assert_eq!(LayerKind::of(Some(kind.as_str())), kind);
        }
        assert_eq!(LayerKind::of(None), Other);
    }

    #[test]
    fn compression_is_read_from_the_media_type() {
        let digest = Digest::of(b"");
        let layer = Layer::tar(LayerKind::Weight, digest, 0);
        assert_eq!(layer.compression(), Some(Compression::None));
        assert_eq!(Layer::zstd(LayerKind::Job, digest, 0, digest).compression(), Some(Compression::Zstd));
        let mut docker = layer.clone();
        docker.descriptor.media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned();
        assert_eq!(docker.compression(), Some(Compression::Gzip));
        docker.descriptor.media_type = "application/json".to_owned();
        assert_eq!(docker.compression(), None);
    }
}
