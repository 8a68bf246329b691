//! An index or a manifest: which of the two a document is, decided in one place for every reader.
//!
//! Three may say what a document is: whoever names it (a descriptor, a server), its own `mediaType`, and its fields. A
//! document that is an index to one reader and a manifest to another shows each of them another image under one digest
//! (CVE-2021-41190, GHSA-77vh-xpmg-72qh): all that is said must agree. OCI's and docker's names for one of the two agree:
//! indexes that docker's tools wrote have been described by OCI's name since there is one.
//! A field that only differs in case from one that matters is refused, too (`spelling`).

use hone_contract::quoted;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::oci::{self, Descriptor, DocumentError, Index, MAX_DOCUMENT_BYTES, Manifest, Sealed};
use crate::{media, spelling};

/// A document that others name by its digest, with its bytes.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made, and never kept by the dozen")]
pub enum Document {
    /// Of several manifests.
    Index(Sealed<Index>),
    /// Of one image, or of an artifact.
    Manifest(Sealed<Manifest>),
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

impl Kind {
    fn named(media_type: &str) -> Option<Self> {
        match media_type {
            media::INDEX | media::DOCKER_INDEX => Some(Self::Index),
            media::MANIFEST | media::DOCKER_MANIFEST => Some(Self::Manifest),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Index => "an index",
            Self::Manifest => "a manifest",
        }
    }
}

/// The fields that tell.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default, deserialize_with = "oci::absent_when_empty")]
    media_type: Option<String>,
    /// Go writes a list that is empty as null: it is there, then.
    #[serde(default, deserialize_with = "there")]
    manifests: Option<Option<IgnoredAny>>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    /// Of docker's first schema.
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<IgnoredAny>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Document {
    /// Reads a document that `said` is the media type of, in the words of whoever names it. Words that are neither an
    /// index's nor a manifest's say nothing: servers call documents what they like.
    ///
    /// # Errors
    /// When it is neither, or both, or not what is said.
    pub fn parse(said: Option<&str>, bytes: Vec<u8>) -> Result<Self, DocumentError> {
        let said = said.and_then(Kind::named);
        let what = match said {
            Some(Kind::Index) => "index",
            Some(Kind::Manifest) => "manifest",
            None => "index or manifest",
        };
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLarge { what, got: bytes.len() as u64 });
        }
        let shape = serde_json::from_slice(&bytes).map_err(|error| DocumentError::json(what, error))?;
        let kind = kind(what, &shape)?;
        if let Some(said) = said.filter(|said| *said != kind) {
            let why = format!("it is described as {} and is {}", said.as_str(), kind.as_str());
            return Err(DocumentError::Ambiguous { what, why });
        }
        let document = match kind {
            Kind::Index => Self::Index(Sealed::read("index", bytes)?),
            Kind::Manifest => Self::Manifest(Sealed::read("manifest", bytes)?),
        };
        document.spelled(what)?;
        Ok(document)
    }

    /// Reads the document that a descriptor describes; its digest and size are the caller's to check.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn of(descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Self, DocumentError> {
        Self::parse(Some(&descriptor.media_type), bytes)
    }

    /// As an entry of an index describes it, by its own words.
    pub fn descriptor(&self) -> Descriptor {
        match self {
            Self::Index(index) => index.descriptor(index.value().media_type.as_deref().unwrap_or(media::INDEX)),
            Self::Manifest(manifest) => {
                manifest.descriptor(manifest.value().media_type.as_deref().unwrap_or(media::MANIFEST))
            }
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Index(index) => index.bytes(),
            Self::Manifest(manifest) => manifest.bytes(),
        }
    }

    /// Refuses fields that a reader who does not look at the case would take for others.
    fn spelled(&self, what: &'static str) -> Result<(), DocumentError> {
        match self {
            Self::Index(index) => spelling::document(what, &index.value().rest, &index.value().manifests),
            Self::Manifest(manifest) => {
                let Manifest { config, layers, subject, rest, .. } = manifest.value();
                spelling::document(what, rest, [config].into_iter().chain(layers).chain(subject))
            }
        }
    }
}

/// Reads what must be an index.
///
/// # Errors
/// As [`Document::parse`]; when it is a manifest.
pub fn index(said: Option<&str>, bytes: Vec<u8>) -> Result<Sealed<Index>, DocumentError> {
    match Document::parse(said.or(Some(media::INDEX)), bytes)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(not("index", "it is a manifest", "an index")),
    }
}

/// Reads what must be a manifest.
///
/// # Errors
/// As [`Document::parse`]; when it is an index.
pub fn manifest(said: Option<&str>, bytes: Vec<u8>) -> Result<Sealed<Manifest>, DocumentError> {
    match Document::parse(said.or(Some(media::MANIFEST)), bytes)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(not("manifest", "it is an index", "a manifest")),
    }
}

/// Whether a document is an index by its fields and its own words; what its entries are is not looked at.
///
/// # Errors
/// When it is not, or is something else, too.
pub fn shaped_as_index(bytes: &[u8]) -> Result<(), DocumentError> {
    let shape = serde_json::from_slice(bytes).map_err(|error| DocumentError::json("index", error))?;
    match kind("index", &shape)? {
        Kind::Index => Ok(()),
        Kind::Manifest => Err(not("index", "it is a manifest", "an index")),
    }
}

/// What its fields and its own words agree on.
fn kind(what: &'static str, shape: &Shape) -> Result<Kind, DocumentError> {
    let want = "an index or a manifest";
    // A manifest always has a configuration: null makes an index only of what has none.
    let index = shape.manifests.as_ref().map(|manifests| manifests.is_some());
    let by_fields = match (index == Some(true), shape.config.is_some() || shape.layers.is_some()) {
        (true, false) => Kind::Index,
        (false, true) => Kind::Manifest,
        (true, true) => {
            let why = "it has the manifests of an index beside the config or layers of a manifest".to_owned();
            return Err(DocumentError::Ambiguous { what, why });
        }
        (false, false) if index.is_some() => Kind::Index,
        (false, false) if shape.fs_layers.is_some() => {
            return Err(not(what, "it is a manifest of docker's schema 1, which nobody writes any more", want));
        }
        (false, false) => return Err(not(what, "it has neither manifests, nor config and layers", want)),
    };
    match shape.media_type.as_deref().map(|own| (own, Kind::named(own))) {
        Some((own, None)) => Err(not(what, &format!("it calls itself {}", quoted(own)), want)),
        Some((_, Some(own))) if own != by_fields => {
            let why = format!("it calls itself {} and has the fields of {}", own.as_str(), by_fields.as_str());
            Err(DocumentError::Ambiguous { what, why })
        }
        _ => Ok(by_fields),
    }
}

fn not(what: &'static str, got: &str, want: &'static str) -> DocumentError {
    DocumentError::Kind { what, got: got.to_owned(), want }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn descriptor() -> Value {
        json!({"mediaType": "x", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1})
    }

    fn an_index() -> Value {
        json!({"schemaVersion": 2, "manifests": [descriptor()]})
    }

    fn a_manifest() -> Value {
        json!({"schemaVersion": 2, "config": descriptor(), "layers": [descriptor()]})
    }

    fn with(mut value: Value, field: &str, content: Value) -> Value {
        value[field] = content;
        value
    }

    fn parse(said: Option<&str>, value: &Value) -> Result<Document, DocumentError> {
        Document::parse(said, value.to_string().into_bytes())
    }

    const INDEXES: [&str; 2] = [media::INDEX, media::DOCKER_INDEX];
    const MANIFESTS: [&str; 2] = [media::MANIFEST, media::DOCKER_MANIFEST];

    #[test]
    fn what_all_agree_on_is_read() {
        let says_nothing = [None, Some("application/octet-stream"), Some("")];
        for own in INDEXES {
            for said in INDEXES.map(Some).into_iter().chain(says_nothing) {
                for value in
                    [an_index(), with(an_index(), "mediaType", json!(own)), with(an_index(), "new", json!(1))]
                {
                    assert!(matches!(parse(said, &value), Ok(Document::Index(_))), "{said:?} {value}");
                }
            }
        }
        for own in MANIFESTS {
            for said in MANIFESTS.map(Some).into_iter().chain(says_nothing) {
                let odd = with(a_manifest(), "manifests", json!(null));
                for value in [a_manifest(), with(a_manifest(), "mediaType", json!(own)), odd] {
                    assert!(matches!(parse(said, &value), Ok(Document::Manifest(_))), "{said:?} {value}");
                }
            }
        }
        let bytes = an_index().to_string().into_bytes();
        assert_eq!(index(None, bytes.clone()).expect("an index").bytes(), bytes);
    }

    #[test]
    fn a_document_that_is_both_is_refused_whatever_is_said() {
        let said = [None].into_iter().chain(INDEXES.map(Some)).chain(MANIFESTS.map(Some));
        for said in said {
            for (field, content) in
                [("config", descriptor()), ("layers", json!([])), ("layers", json!([descriptor()]))]
            {
                for own in [None, Some(media::INDEX), Some(media::MANIFEST)] {
                    let mut both = with(an_index(), field, content.clone());
                    if let Some(own) = own {
                        both["mediaType"] = json!(own);
                    }
                    let error = parse(said, &both).expect_err("both");
                    assert!(matches!(error, DocumentError::Ambiguous { .. }), "{error}");
                }
            }
            let empty = with(a_manifest(), "manifests", json!([]));
            assert!(matches!(parse(said, &empty), Err(DocumentError::Ambiguous { .. })));
        }
    }

    #[test]
    fn words_that_contradict_each_other_are_refused() {
        for (own, said) in INDEXES.into_iter().zip(MANIFESTS) {
            // Its own words and its fields; the descriptor's and its fields; the descriptor's and its own.
            for (said, value) in [
                (None, with(a_manifest(), "mediaType", json!(own))),
                (None, with(an_index(), "mediaType", json!(said))),
                (Some(own), a_manifest()),
                (Some(said), an_index()),
                (Some(said), with(an_index(), "mediaType", json!(own))),
            ] {
                let error = parse(said, &value).expect_err("contradicts");
                assert!(matches!(error, DocumentError::Ambiguous { .. }), "{error}");
            }
        }
        for value in [json!({"schemaVersion": 2}), json!({"fsLayers": []}), with(an_index(), "mediaType", json!("x"))]
        {
            assert!(matches!(parse(None, &value), Err(DocumentError::Kind { .. })), "{value}");
        }
        for text in ["", "[]", "1", "{", r#"{"manifests":1}"#, r#"{"manifests":[],"manifests":[]}"#] {
            assert!(Document::parse(None, text.into()).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_that_go_takes_for_others_are_refused() {
        for (value, field) in [
            (a_manifest(), "Manifests"),
            (a_manifest(), "MANIFEST\u{17f}"),
            (an_index(), "Config"),
            (an_index(), "layerS"),
            (an_index(), "MediaType"),
            (a_manifest(), "layer\u{17f}"),
        ] {
            let error = parse(None, &with(value, field, json!([]))).expect_err(field);
            assert!(matches!(error, DocumentError::Ambiguous { .. }), "{error}");
        }
        let digest = json!(format!("sha256:{}", "1".repeat(64)));
        for value in [
            with(a_manifest(), "config", with(descriptor(), "Digest", digest.clone())),
            with(a_manifest(), "layers", json!([with(descriptor(), "\u{17f}ize", json!(2))])),
            with(an_index(), "manifests", json!([with(descriptor(), "DIGEST", digest)])),
        ] {
            assert!(matches!(parse(None, &value), Err(DocumentError::Ambiguous { .. })), "{value}");
        }
        // Fields that are nobody's are kept.
        for field in ["manifest", "x-config", "Data", "URLS"] {
            assert!(parse(None, &with(an_index(), field, json!([]))).is_ok(), "{field}");
        }
    }

    /// Go writes lists and maps that have nothing in them as null, and takes an empty text for none.
    #[test]
    fn what_go_takes_for_empty_is_empty() {
        for own in [None, Some(json!(null)), Some(json!("")), Some(json!(media::INDEX))] {
            let mut value = json!({"schemaVersion": 2, "manifests": null, "annotations": null});
            if let Some(own) = own {
                value["mediaType"] = own;
            }
            shaped_as_index(value.to_string().as_bytes()).expect("an index");
            let Ok(Document::Index(index)) = parse(None, &value) else { panic!("{value}") };
            assert!(index.value().manifests.is_empty() && index.value().annotations.is_empty());
        }
        let entry = with(with(descriptor(), "annotations", json!(null)), "artifactType", json!(""));
        let entry = with(entry, "platform", json!({"architecture": "arm64", "os": "linux", "variant": ""}));
        let index = index(None, with(an_index(), "manifests", json!([entry])).to_string().into()).expect("an index");
        let [entry] = &index.value().manifests[..] else { panic!("one entry") };
        assert_eq!((&entry.artifact_type, entry.platform.as_ref().and_then(|p| p.variant.as_ref())), (&None, None));
        let mut value = with(with(a_manifest(), "layers", json!(null)), "annotations", json!(null));
        value["config"]["mediaType"] = json!(media::CONFIG);
        for field in ["mediaType", "artifactType"] {
            value[field] = json!("");
        }
        let Ok(Document::Manifest(manifest)) = parse(None, &value) else { panic!("{value}") };
        assert!(manifest.value().is_image() && manifest.value().layers.is_empty());
        assert_eq!(manifest.value().media_type, None);
        // What says something is not empty; what is missing is not there.
        assert!(parse(None, &with(value, "mediaType", json!(media::INDEX))).is_err());
        assert!(parse(Some(media::MANIFEST), &json!({"schemaVersion": 2, "manifests": null})).is_err());
        let no_layers = json!({"schemaVersion": 2, "config": descriptor()});
        assert!(parse(None, &no_layers).is_err());
    }

    #[test]
    fn what_a_stranger_calls_it_is_quoted() {
        let value = with(an_index(), "mediaType", json!("\u{1b}[2J".repeat(1 << 16)));
        let said = parse(None, &value).expect_err("refused").to_string();
        assert!(said.len() < 2000 && !said.contains('\u{1b}'), "{}", said.len());
    }
}
