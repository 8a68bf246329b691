//! Images as values, and the two ways to make one: from layers, and from an image plus an adapter.
//!
//! Every function here is pure. An image's parts keep the bytes that own their digests ([`Sealed`]).

use std::collections::BTreeMap;

use crate::layer::{Layer, LayerKind};
use crate::media;
use crate::oci::{Descriptor, History, ImageConfig, Manifest, Platform, RootFs, RuntimeConfig, Sealed};
use hone_contract::digest::Digest;

/// The creation time of everything Hone makes, unless somebody asks for another.
pub(crate) const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Layers of one image, a version's adapter apart. Docker takes 125, overlayfs as many as a program can name.
pub const MAX_LAYERS: usize = 127;

/// A manifest with its configuration; the layers are known by both.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    manifest: Sealed<Manifest>,
    config: Sealed<ImageConfig>,
    layers: Vec<Layer>,
}

/// Documents that do not belong together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    /// The manifest names another configuration.
    #[error("read image: manifest names config {want}, got {got}")]
    Config {
        /// As the manifest says.
        want: Digest,
        /// As given.
        got: Digest,
    },
    /// More layers than a container can be made of.
    #[error("read image {config}: {got} layers, want at most {want}")]
    TooMany {
        /// Whose.
        config: Digest,
        /// As in the manifest.
        got: usize,
        /// What would do.
        want: usize,
    },
    /// The manifest and the configuration disagree on the number of layers.
    #[error("read image {config}: manifest has {manifest} layers, config has {diff_ids} diff ids")]
    Layers {
        /// Whose.
        config: Digest,
        /// Layers in the manifest.
        manifest: usize,
        /// Diff ids in the configuration.
        diff_ids: usize,
    },
}

/// What a new base image is made of.
#[derive(Debug, Clone)]
pub struct BaseImage {
    /// The Honefile's name.
    pub name: String,
    /// GOARCH of the programs inside.
    pub architecture: String,
    /// GOARCH variant.
    pub variant: Option<String>,
    /// What a container starts with, without Hone's labels.
    pub config: RuntimeConfig,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Of the manifest: where the model comes from.
    pub annotations: BTreeMap<String, String>,
}

/// Which version an adapter becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionOf {
    /// The lineage: the base's reference.
    pub lineage: String,
    /// Digest of the base's configuration.
    pub base: Digest,
    /// Digest of the parent's configuration: the base, or the version that training began from.
    pub parent: Digest,
    /// Number in the lineage, from 1.
    pub number: u64,
}

impl Image {
    /// Joins a manifest and the configuration it names.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn join(manifest: Sealed<Manifest>, config: Sealed<ImageConfig>) -> Result<Self, ImageError> {
        let want = manifest.value().config.digest;
        if want != config.digest() {
            return Err(ImageError::Config { want, got: config.digest() });
        }
        let (descriptors, diff_ids) = (&manifest.value().layers, &config.value().rootfs.diff_ids);
        if descriptors.len() != diff_ids.len() {
            return Err(ImageError::Layers { config: want, manifest: descriptors.len(), diff_ids: diff_ids.len() });
        }
        // A version has one layer more than its base may have.
        let most = MAX_LAYERS + usize::from(is_version(config.value()));
        if descriptors.len() > most {
            return Err(ImageError::TooMany { config: want, got: descriptors.len(), want: most });
        }
        let layers = descriptors.iter().zip(diff_ids).map(|(d, &id)| Layer::described(d.clone(), id)).collect();
        Ok(Self { manifest, config, layers })
    }

    /// A new base image.
    pub fn base(base: BaseImage) -> Self {
        let mut config = base.config;
        let labels = config.labels.get_or_insert_default();
        labels.insert(media::LABEL_CONTRACT.to_owned(), hone_contract::job::CONTRACT.to_string());
        labels.insert(media::LABEL_NAME.to_owned(), base.name);
        let document = ImageConfig {
            created: Some(EPOCH.to_owned()),
            architecture: base.architecture,
            variant: base.variant,
            os: "linux".to_owned(),
            config,
            rootfs: RootFs::of(base.layers.iter().map(|l| l.diff_id).collect()),
            history: base.layers.iter().map(|layer| history(layer, EPOCH)).collect(),
            rest: BTreeMap::new(),
        };
        Self::of_parts(Sealed::new(document), base.layers, base.annotations)
    }

    /// The same image, made at another time (RFC 3339): engines show what the configuration says as its age.
    #[must_use]
    pub fn created_at(&self, time: &str) -> Self {
        let mut config = self.config.value().clone();
        for created in config.history.iter_mut().map(|step| &mut step.created).chain([&mut config.created]) {
            *created = Some(time.to_owned());
        }
        Self::of_parts(Sealed::new(config), self.layers.clone(), self.manifest.value().annotations.clone())
    }

    /// This image with an adapter: the manifest of a version whose configuration is `config` (from [`version_config`]).
    /// This image's layers stay as far as `config` has them: all of a base's, and a version's without its adapter.
    pub fn with_adapter(&self, config: Sealed<ImageConfig>, version: &VersionOf, adapter: Layer) -> Self {
        let stay = config.value().rootfs.diff_ids.len().saturating_sub(1).min(self.layers.len());
        let mut layers = self.layers[..stay].to_vec();
        layers.push(adapter);
        let mut annotations = self.manifest.value().annotations.clone();
        // A version's manifest names the base's, and hands that on.
        let handed = annotations.get(media::BASE_DIGEST).filter(|_| stay < self.layers.len());
        let base = handed.and_then(|text| text.parse().ok()).unwrap_or(self.digest());
        annotations.insert(media::BASE_NAME.to_owned(), version.lineage.clone());
        annotations.insert(media::BASE_DIGEST.to_owned(), base.to_string());
        Self::of_parts(config, layers, annotations)
    }

    /// The manifest.
    pub fn manifest(&self) -> &Sealed<Manifest> {
        &self.manifest
    }

    /// The configuration.
    pub fn config(&self) -> &Sealed<ImageConfig> {
        &self.config
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The image's digest: its manifest's.
    pub fn digest(&self) -> Digest {
        self.manifest.digest()
    }

    /// A descriptor of the manifest, as an index holds it.
    pub fn descriptor(&self) -> Descriptor {
        let platform = self.platform();
        let media_type = self.manifest.value().media_type.as_deref().unwrap_or(media::MANIFEST);
        Descriptor { platform: Some(platform), ..self.manifest.descriptor(media_type) }
    }

    /// What it runs on, by its configuration.
    pub fn platform(&self) -> Platform {
        self.config.value().platform()
    }

    /// Bytes of all its layers as stored.
    pub fn size(&self) -> u64 {
        // A manifest may claim any sizes; their sum is for people and must not end the program.
        self.layers.iter().fold(0, |sum, l| sum.saturating_add(l.descriptor.size))
    }

    /// The layer of this kind, when there is exactly one.
    pub fn layer(&self, kind: LayerKind) -> Option<&Layer> {
        let mut found = self.layers.iter().filter(|l| l.kind == kind);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    fn of_parts(config: Sealed<ImageConfig>, layers: Vec<Layer>, annotations: BTreeMap<String, String>) -> Self {
        let descriptors = layers.iter().map(|l| l.descriptor.clone()).collect();
        let manifest = Manifest::new(config.descriptor(media::CONFIG), descriptors, annotations);
        Self { manifest: Sealed::new(manifest), config, layers }
    }
}

/// Whether a configuration says that it is a version's. That is a hint at most: labels are handed on to images that are
/// made from a version, and anybody can write them ([`crate::claim`]).
pub fn is_version(config: &ImageConfig) -> bool {
    config.config.label(media::LABEL_VERSION).is_some()
}

/// The configuration of what a version is made on: a version's own, without its topmost layer.
pub fn without_adapter(version: &ImageConfig) -> ImageConfig {
    let mut config = version.clone();
    config.rootfs.diff_ids.pop();
    config.history.pop();
    config
}

/// The configuration of a version: `below`'s, which has no adapter ([`without_adapter`]), and `adapter` on top.
///
/// `below` may come from an engine that knows no manifest: configuration and diff ids are enough. A version says of its
/// age what its base says: the clock of the device that trained it would make the same run another image.
pub fn version_config(below: &ImageConfig, version: &VersionOf, adapter: &Layer) -> Sealed<ImageConfig> {
    let mut config = below.clone();
    let created = config.created.get_or_insert_with(|| EPOCH.to_owned()).clone();
    config.rootfs.diff_ids.push(adapter.diff_id);
    if !config.history.is_empty() {
        config.history.push(history(adapter, &created));
    }
    let labels = config.config.labels.get_or_insert_default();
    labels.insert(media::LABEL_VERSION.to_owned(), version.number.to_string());
    labels.insert(media::LABEL_BASE_NAME.to_owned(), version.lineage.clone());
    labels.insert(media::LABEL_BASE_CONFIG.to_owned(), version.base.to_string());
    if version.parent == version.base {
        labels.remove(media::LABEL_PARENT);
    } else {
        labels.insert(media::LABEL_PARENT.to_owned(), version.parent.to_string());
    }
    Sealed::new(config)
}

fn history(layer: &Layer, created: &str) -> History {
    let what = match layer.descriptor.annotations.get(media::WEIGHT_PATH) {
        Some(path) => format!("hone: {} {path}", layer.kind),
        None => format!("hone: {}", layer.kind),
    };
    History { created: Some(created.to_owned()), created_by: Some(what), ..History::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(kind: LayerKind, seed: u8) -> Layer {
        Layer::tar(kind, Digest::of(&[seed]), u64::from(seed))
    }

    fn base() -> Image {
        Image::base(BaseImage {
            name: "assistant".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
            config: RuntimeConfig { cmd: Some(vec!["train".to_owned()]), ..RuntimeConfig::default() },
            layers: vec![layer(LayerKind::Trainer, 1), layer(LayerKind::Weight, 2), layer(LayerKind::Job, 3)],
            annotations: BTreeMap::new(),
        })
    }

    fn version(parent: &Image, number: u64, seed: u8) -> Image {
        let of = VersionOf {
            lineage: "assistant:base".to_owned(),
            base: base().config().digest(),
            parent: parent.config().digest(),
            number,
        };
        let adapter = layer(LayerKind::Adapter, seed);
        let below = parent.config().value();
        let below = if of.parent == of.base { below.clone() } else { without_adapter(below) };
        let config = version_config(&below, &of, &adapter);
        parent.with_adapter(config, &of, adapter)
    }

    #[test]
    fn a_version_is_its_base_and_one_layer() {
        let (base, v1) = (base(), version(&base(), 1, 9));
        assert_eq!(v1.layers()[..3], *base.layers());
        assert_eq!(v1.layers().len(), 4);
        let labels = &v1.config().value().config;
        assert_eq!(labels.label(media::LABEL_VERSION), Some("1"));
        assert_eq!(labels.label(media::LABEL_PARENT), None);
        assert_eq!(v1.manifest().value().annotations[media::BASE_DIGEST], base.digest().to_string());
    }

    #[test]
    fn adapters_are_replaced_never_stacked() {
        let v1 = version(&base(), 1, 9);
        let v2 = version(&v1, 2, 10);
        assert_eq!(v2.layers().len(), 4);
        assert_eq!(v2.layers()[..3], *base().layers());
        let config = v2.config().value();
        assert_eq!(config.rootfs.diff_ids.len(), 4);
        assert_eq!(config.history.len(), 4);
        assert_eq!(config.config.label(media::LABEL_PARENT), Some(v1.config().digest().to_string().as_str()));
        assert_eq!(v2.manifest().value().annotations[media::BASE_DIGEST], base().digest().to_string());
    }

    #[test]
    fn what_was_put_on_a_version_stays_when_it_is_a_base() {
        let v1 = version(&base(), 1, 9);
        // `FROM assistant:base-v1` and a `RUN`: one layer more, and the labels are those of the version.
        let mut config = v1.config().value().clone();
        config.rootfs.diff_ids.push(Digest::of(&[7]));
        let layers = [v1.layers(), &[layer(LayerKind::Other, 7)]].concat();
        let derived = Image::of_parts(Sealed::new(config), layers, v1.manifest().value().annotations.clone());
        let id = derived.config().digest();
        let of = VersionOf { lineage: "mine:x".to_owned(), base: id, parent: id, number: 1 };
        let adapter = layer(LayerKind::Adapter, 10);
        let made =
            derived.with_adapter(version_config(derived.config().value(), &of, &adapter), &of, adapter.clone());
        assert_eq!(made.layers()[..5], *derived.layers());
        assert_eq!(made.layers()[5], adapter);
        assert_eq!(made.config().value().rootfs.diff_ids.len(), 6);
        assert_eq!(made.config().value().config.label(media::LABEL_BASE_NAME), Some("mine:x"));
        assert_eq!(made.manifest().value().annotations[media::BASE_DIGEST], derived.digest().to_string());
    }

    #[test]
    fn written_and_read_back_is_the_same_image() {
        for image in [base(), version(&base(), 1, 9)] {
            let manifest = crate::document::manifest(None, image.manifest().bytes().to_vec()).expect("manifest");
            let config = Sealed::parse("config", image.config().bytes().to_vec()).expect("config");
            assert_eq!(Image::join(manifest, config), Ok(image));
        }
    }

    #[test]
    fn more_layers_than_a_container_has_are_refused() {
        let of = |layers: usize, version: bool| {
            let base = base();
            let mut config = base.config().value().clone();
            let layers: Vec<Layer> = (0..layers).map(|n| layer(LayerKind::Other, n as u8)).collect();
            config.rootfs.diff_ids = layers.iter().map(|l| l.diff_id).collect();
            if version {
                config.config.labels.get_or_insert_default().insert(media::LABEL_VERSION.to_owned(), "1".to_owned());
            }
            let made = Image::of_parts(Sealed::new(config), layers, BTreeMap::new());
            Image::join(made.manifest, made.config)
        };
        assert!(of(127, false).is_ok() && of(128, true).is_ok());
        for (layers, version) in [(128, false), (129, true), (30_000, false)] {
            assert!(matches!(of(layers, version), Err(ImageError::TooMany { got, .. }) if got == layers), "{layers}");
        }
    }

    #[test]
    fn the_same_layer_twice_is_read() {
        let (base, same) = (base(), layer(LayerKind::Other, 7));
        let mut config = base.config().value().clone();
        config.rootfs.diff_ids = vec![same.diff_id; 3];
        let made = Image::of_parts(Sealed::new(config), vec![same.clone(); 3], BTreeMap::new());
        let image = Image::join(made.manifest, made.config).expect("an image");
        assert_eq!(image.layers().len(), 3);
        assert_eq!(crate::Pack::alone(image).image_layers().len(), 1);
    }

    #[test]
    fn documents_that_do_not_belong_together_are_refused() {
        let (a, b) = (base(), version(&base(), 1, 9));
        let error = Image::join(a.manifest().clone(), b.config().clone()).expect_err("joined");
        assert!(matches!(error, ImageError::Config { .. }));
    }

    #[test]
    fn a_version_is_as_old_as_its_base_says() {
        let time = "2026-11-23T03:00:00Z";
        let young = base().created_at(time);
        assert_eq!(young.layers(), base().layers());
        assert_ne!(young.digest(), base().digest());
        assert_eq!(base().created_at(EPOCH), base());
        for (base, want) in [(base(), EPOCH), (young, time)] {
            let config = version(&version(&base, 1, 9), 2, 10).config().value().clone();
            assert_eq!(config.created.as_deref(), Some(want));
            assert!(config.history.iter().all(|step| step.created.as_deref() == Some(want)), "{:?}", config.history);
        }
    }

    #[test]
    fn golden_digest_of_a_base_image() {
        // The order of keys, the labels and the creation time are part of every image's digest.
        assert_eq!(
            base().digest().to_string(),
            "sha256:7e27cf39423fd68a31df44dd7276500ea0c130b7a801a29cb373ee7f33d2ebc5"
        );
    }
}
