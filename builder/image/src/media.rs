//! Media types, annotations and labels: every name that Hone writes into a manifest or a configuration.
//!
//! Only names live here; what they mean is said in docs/store.md and docs/contract.md.

/// An OCI image index (image-spec, image-index.md).
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest (image-spec, manifest.md).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image configuration (image-spec, config.md).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer that is a bare tar: its digest is its diff id.
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer compressed with zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A layer compressed with gzip; read from others, never written.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The empty configuration of an artifact that has none (image-spec, manifest.md, "Guidance for an Empty Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A docker manifest list; read from others, never written.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A docker image configuration; read from others, never written.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A docker image manifest; read from others, never written.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Annotation of an index entry: what BuildKit says that it is.
pub const BUILDKIT_TYPE: &str = "vnd.docker.reference.type";
/// A statement about an image beside it (provenance, a bill of materials).
pub const BUILDKIT_ATTESTATION: &str = "attestation-manifest";

/// Artifact type of a ModelPack manifest (CNCF model-spec, spec.md).
pub const MODEL_MANIFEST: &str = "application/vnd.cncf.model.manifest.v1+json";
/// A ModelPack configuration (model-spec, config.md).
pub const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// ModelPack: weights in a bare tar.
pub const MODEL_WEIGHT_TAR: &str = "application/vnd.cncf.model.weight.v1.tar";
/// ModelPack: a model's small files in a bare tar.
pub const MODEL_WEIGHT_CONFIG_TAR: &str = "application/vnd.cncf.model.weight.config.v1.tar";
/// ModelPack layer annotation: the file's metadata, as JSON.
pub const FILE_METADATA: &str = "org.cncf.model.file.metadata+json";
/// ModelPack layer annotation: whether the media type was guessed.
pub const FILE_UNTESTED: &str = "org.cncf.model.file.mediatype.untested";

/// Manifest annotation on an index entry: the reference's name (image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation on an index entry of a store: the name that it was pulled by, with its registry.
pub const PULLED_FROM: &str = "dev.hone.pulled.from";
/// Manifest annotation: the image this one was made from, by name.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Manifest annotation: the image this one was made from, by manifest digest.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Manifest annotation: where the model's source is (image-spec, annotations.md).
pub const SOURCE: &str = "org.opencontainers.image.source";
/// Manifest annotation: the source's revision.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// Manifest annotation: an SPDX expression.
pub const LICENSES: &str = "org.opencontainers.image.licenses";
/// Manifest annotation: the base model's identity (docs/contract.md).
pub const BASE_IDENTITY: &str = "dev.hone.base.identity";
/// Manifest annotation: bytes of the base model's files.
pub const BASE_SIZE: &str = "dev.hone.base.size";
/// Layer annotation of a weight: sha256 of the file inside.
pub const FILE_DIGEST: &str = "dev.hone.file.digest";
/// Layer annotation of a weight: bytes of the file inside.
pub const FILE_SIZE: &str = "dev.hone.file.size";
/// Layer annotation: what the layer holds, a [`crate::LayerKind`].
pub const LAYER_KIND: &str = "dev.hone.layer.kind";
/// Layer annotation of a weight: the file's path in the root filesystem (model-spec, annotations.md).
pub const WEIGHT_PATH: &str = "org.cncf.model.filepath";

/// Configuration label: the run contract's version.
pub const LABEL_CONTRACT: &str = "dev.hone.contract";
/// Configuration label: the Honefile's name.
pub const LABEL_NAME: &str = "dev.hone.name";
/// Configuration label: a version's number in its lineage.
pub const LABEL_VERSION: &str = "dev.hone.version";
/// Configuration label: the lineage, which is the base's reference.
pub const LABEL_BASE_NAME: &str = "dev.hone.base.name";
/// Configuration label: digest of the base's configuration.
pub const LABEL_BASE_CONFIG: &str = "dev.hone.base.config";
/// Configuration label: digest of the parent version's configuration, when the parent is not the base.
pub const LABEL_PARENT: &str = "dev.hone.parent";
