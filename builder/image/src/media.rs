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

/// Manifest annotation on an index entry: the reference's name (image-spec, annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Manifest annotation: the image this one was made from, by name.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Manifest annotation: the image this one was made from, by manifest digest.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
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
