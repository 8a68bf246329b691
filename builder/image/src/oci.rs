//! The OCI image-spec documents that Hone reads and writes.
//!
//! Fields that others may write and we do not know are kept (`rest`), so that an image which docker
//! describes loses nothing when a layer is added to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use crate::sealed::{DocumentError, MAX_DOCUMENT_BYTES, Plain, Sealed};
use crate::{layer, media};
use hone_contract::digest::Digest;

/// A content descriptor (image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// What kind of artifact a manifest is, when it is one.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "absent_when_empty")]
    pub artifact_type: Option<String>,
    /// What an image runs on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<Platform>,
    /// Free annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default, deserialize_with = "empty_when_null")]
    pub annotations: BTreeMap<String, String>,
    /// What others wrote and we do not know: `urls`, `data`.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What an image runs on (image-spec, image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
    /// GOARCH variant.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "absent_when_empty")]
    pub variant: Option<String>,
    /// What others wrote and we do not know: `os.version`, `os.features`.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// An image manifest (image-spec, manifest.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::MANIFEST`].
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "absent_when_empty")]
    pub media_type: Option<String>,
    /// What kind of artifact it is, when it is no image.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "absent_when_empty")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(deserialize_with = "empty_when_null")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<Descriptor>,
    /// Free annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default, deserialize_with = "empty_when_null")]
    pub annotations: BTreeMap<String, String>,
    /// What others wrote and we do not know.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// An image index (image-spec, image-index.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`media::INDEX`].
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "absent_when_empty")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(deserialize_with = "empty_when_null")]
    pub manifests: Vec<Descriptor>,
    /// Free annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default, deserialize_with = "empty_when_null")]
    pub annotations: BTreeMap<String, String>,
    /// What others wrote and we do not know: `subject`, `artifactType`.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// An image configuration (image-spec, config.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made; Hone writes the start of 1970, because a clock would change the digest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created: Option<String>,
    /// GOARCH name of the processor.
    pub architecture: String,
    /// GOARCH variant, e.g. `v8`.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "absent_when_empty")]
    pub variant: Option<String>,
    /// `linux`.
    pub os: String,
    /// What a container starts with.
    #[serde(default, deserialize_with = "empty_when_null")]
    pub config: RuntimeConfig,
    /// The layers by their uncompressed digests.
    pub rootfs: RootFs,
    /// One entry a layer, for people.
    #[serde(skip_serializing_if = "Vec::is_empty", default, deserialize_with = "empty_when_null")]
    pub history: Vec<History>,
    /// What others wrote and we do not know.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// The `config` object of an image configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuntimeConfig {
    /// `user`, `uid` or `uid:gid`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub env: Option<Vec<String>>,
    /// Start of the command line, kept when the caller gives arguments.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entrypoint: Option<Vec<String>>,
    /// Rest of the command line, replaced by the caller's arguments.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cmd: Option<Vec<String>>,
    /// Where the process starts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub working_dir: Option<String>,
    /// Free labels.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// What others wrote and we do not know.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl ImageConfig {
    /// What it runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            variant: self.variant.clone(),
            rest: BTreeMap::new(),
        }
    }
}

impl RuntimeConfig {
    /// Entrypoint and default arguments together: what a container runs when the caller says nothing.
    pub fn command_line(&self) -> Vec<String> {
        let part = |p: &Option<Vec<String>>| p.clone().unwrap_or_default();
        [part(&self.entrypoint), part(&self.cmd)].concat()
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name).map(String::as_str)
    }
}

/// The `rootfs` object of an image configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digest of each layer's tar, uncompressed, lowest first.
    #[serde(deserialize_with = "empty_when_null")]
    pub diff_ids: Vec<Digest>,
    /// What others wrote and we do not know.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl RootFs {
    /// These layers.
    pub fn of(diff_ids: Vec<Digest>) -> Self {
        Self { kind: "layers".to_owned(), diff_ids, rest: BTreeMap::new() }
    }
}

/// Go writes a list or a map that has nothing in it as null.
///
/// # Errors
/// When it is something else.
pub fn empty_when_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// To Go's readers a text without a letter is none.
pub(crate) fn absent_when_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::deserialize(from)?.filter(|text: &String| !text.is_empty()))
}

/// One line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created: Option<String>,
    /// By which step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_by: Option<String>,
    /// No layer belongs to this line.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub empty_layer: bool,
    /// What others wrote and we do not know.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl Descriptor {
    /// A descriptor with nothing but what every one has.
    pub fn of(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self {
            media_type,
            digest,
            size,
            artifact_type: None,
            platform: None,
            annotations: BTreeMap::new(),
            rest: BTreeMap::new(),
        }
    }

    /// Whether it describes an index, ours or docker's list.
    pub fn is_index(&self) -> bool {
        [media::INDEX, media::DOCKER_INDEX].contains(&self.media_type.as_str())
    }

    /// Whether it describes a manifest, ours or docker's.
    pub fn is_manifest(&self) -> bool {
        [media::MANIFEST, media::DOCKER_MANIFEST].contains(&self.media_type.as_str())
    }
}

impl Manifest {
    /// A manifest over these parts.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Self {
        let media_type = Some(media::MANIFEST.to_owned());
        Self {
            schema_version: 2,
            media_type,
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations,
            rest: BTreeMap::new(),
        }
    }

    /// Whether it is an image of containers: neither an artifact with a configuration of another type, nor one that
    /// borrows the image's, as BuildKit's attestations and Ollama's models do.
    pub fn is_image(&self) -> bool {
        let config = [media::CONFIG, media::DOCKER_CONFIG].contains(&self.config.media_type.as_str());
        let tar = |layer: &Descriptor| layer::compression(&layer.media_type).is_some();
        config && self.artifact_type.is_none() && (self.layers.is_empty() || self.layers.iter().any(tar))
    }

    /// An artifact's manifest over these parts.
    pub fn artifact(kind: &str, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { artifact_type: Some(kind.to_owned()), ..Self::new(config, layers, BTreeMap::new()) }
    }
}

impl Index {
    /// An index over these manifests.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        let media_type = Some(media::INDEX.to_owned());
        Self { schema_version: 2, media_type, manifests, annotations: BTreeMap::new(), rest: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    #[test]
    fn sealed_bytes_survive_unchanged() {
        // Odd spacing and an unknown key: written again, they would differ and the digest would lie.
        let bytes = br#"{ "architecture":"arm64","os":"linux", "x":1,"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let sealed: Sealed<ImageConfig> = Sealed::parse("config", bytes.to_vec()).expect("config");
        assert_eq!(sealed.bytes(), bytes);
        assert_eq!(sealed.digest(), Digest::of(bytes));
        assert_eq!(sealed.value().rest["x"], 1);
    }

    #[test]
    fn what_go_writes_as_null_is_empty() {
        let text = r#"{"architecture":"arm64","variant":"","os":"linux","config":null,"history":null,
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        let config: Sealed<ImageConfig> = Sealed::parse("config", text.into()).expect("config");
        let ImageConfig { variant, config, history, rootfs, .. } = config.value();
        assert_eq!(
            (variant, config, history, rootfs),
            (&None, &RuntimeConfig::default(), &vec![], &RootFs::of(vec![]))
        );
        let missing = r#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers"}}"#;
        assert!(Sealed::<ImageConfig>::parse("config", missing.into()).is_err());
    }

    #[test]
    fn unknown_keys_of_a_runtime_config_are_kept() {
        let text = r#"{"Cmd":["sh"],"ExposedPorts":{"80/tcp":{}},"Env":null}"#;
        let config: RuntimeConfig = serde_json::from_str(text).expect("config");
        assert_eq!(config.rest["ExposedPorts"]["80/tcp"], serde_json::json!({}));
        assert_eq!(config.command_line(), ["sh"]);
    }

    #[test]
    fn an_oversized_document_is_refused_unread() {
        let bytes = vec![b' '; MAX_DOCUMENT_BYTES as usize + 1];
        let error = Sealed::<Manifest>::read("manifest", bytes).expect_err("too large");
        assert_eq!(error.to_string(), "read manifest: 8388609 bytes, want at most 8388608");
    }

    /// As an engine, a registry or another tool may write them; read and written, nothing is lost and nothing new.
    #[test]
    fn what_others_wrote_into_documents_is_kept() {
        let hex = "0".repeat(64);
        let descriptor = format!(
            r#"{{"mediaType":"m","digest":"sha256:{hex}","size":18446744073709551615,
            "platform":{{"architecture":"amd64","os":"windows","os.version":"10.0","os.features":["win32k"],"x":{{}}}},
            "annotations":{{"a":"b"}},"data":"e30=","urls":["https://x"],"new":[1,null,{{"deep":true}}]}}"#
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{descriptor},"layers":[{descriptor}],"subject":{descriptor},"other":1.5}}"#
        );
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{descriptor}],"artifactType":"a","subject":{descriptor},"other":null}}"#
        );
        fn kept<T: Serialize + DeserializeOwned>(text: &str) {
            let want: Value = serde_json::from_str(text).expect("JSON");
            let read: T = serde_json::from_str(text).expect("a document");
            assert_eq!(serde_json::to_value(&read).expect("written"), want);
        }
        kept::<Descriptor>(&descriptor);
        kept::<Manifest>(&manifest);
        kept::<Index>(&index);
    }

    #[test]
    fn what_is_wrong_with_a_document_does_not_repeat_all_of_it() {
        let long = r"\u001b[2J".repeat(1 << 18);
        for text in [
            format!(r#"{{"architecture":"a","os":"b","rootfs":"{long}"}}"#),
            format!(r#"{{"architecture":"a","os":"b","rootfs":{{"type":"layers","diff_ids":["{long}"]}}}}"#),
        ] {
            let error = Sealed::<ImageConfig>::parse("config", text.into_bytes()).expect_err("no configuration");
            let why = std::error::Error::source(&error).expect("a cause").to_string();
            assert!(why.len() < 2000 && !why.contains('\u{1b}'), "{}", why.len());
            assert!(why.contains(" at line 1 column "), "{why}");
        }
    }

    #[test]
    fn attestations_and_models_are_no_images() {
        let config = || Descriptor::of(media::CONFIG, Digest::of(b"c"), 1);
        let layers = |types: &[&str]| types.iter().map(|t| Descriptor::of(t, Digest::of(b"l"), 1)).collect();
        let of = |types: &[&str]| Manifest::new(config(), layers(types), BTreeMap::new());
        assert!(of(&[]).is_image() && of(&[media::LAYER_GZIP, "application/x.encrypted"]).is_image());
        assert!(of(&["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"]).is_image());
        assert!(!of(&["application/vnd.in-toto+json"]).is_image());
        assert!(!of(&["application/vnd.ollama.image.model", "application/vnd.ollama.image.params"]).is_image());
        assert!(!Manifest { artifact_type: Some("x".to_owned()), ..of(&[media::LAYER_TAR]) }.is_image());
        let mut entry = Descriptor::of(media::MANIFEST, Digest::of(b"m"), 1);
        assert!(!entry.is_attestation() && entry.is_for_linux_or_nobody());
        entry.platform = Some(Platform::nobody());
        assert!(entry.is_attestation() && entry.is_for_linux_or_nobody());
        entry.artifact_type = Some(media::MODEL_MANIFEST.to_owned());
        assert!(!entry.is_attestation());
        entry.annotations.insert(media::BUILDKIT_TYPE.to_owned(), media::BUILDKIT_ATTESTATION.to_owned());
        assert!(entry.is_attestation());
    }
}
