//! Image documents and another reader of them, the crate oci-spec: what Hone writes both read alike.
//!
//! Where they differ is why Hone has types of its own (docs/ARCHITECTURE.md, decisions). When a test of those fails, since
//! oci-spec has changed, so may that decision.

use std::collections::{BTreeMap, HashMap};

use hone_contract::Digest;
use hone_image::image::{BaseImage, VersionOf, version_config};
use hone_image::modelpack::{self, ModelFacts};
use hone_image::oci::{Descriptor, ImageConfig, Index, Manifest, Platform, RuntimeConfig, Sealed};
use hone_image::{Document, Image, Layer, LayerKind, Pack, document, media};
use oci_spec::image as spec;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn layer(kind: LayerKind, content: &[u8]) -> Layer {
    Layer::tar(kind, Digest::of(content), content.len() as u64)
}

fn base() -> Image {
    let config = RuntimeConfig {
        user: Some("1000:1000".to_owned()),
        env: Some(vec!["A=b".to_owned()]),
        entrypoint: Some(vec!["/hone/train".to_owned()]),
        cmd: Some(vec!["--data".to_owned(), "/data".to_owned()]),
        working_dir: Some("/".to_owned()),
        ..RuntimeConfig::default()
    };
    Image::base(BaseImage {
        name: "assistant".to_owned(),
        architecture: "arm".to_owned(),
        variant: Some("v7".to_owned()),
        config,
        layers: vec![layer(LayerKind::Trainer, b"trainer"), layer(LayerKind::Weight, b"weight")],
        annotations: BTreeMap::from([(media::LICENSES.to_owned(), "MIT".to_owned())]),
    })
}

fn version(base: &Image) -> Image {
    let id = base.config().digest();
    let of = VersionOf { lineage: "assistant:base".to_owned(), base: id, parent: id, number: 1 };
    let adapter = layer(LayerKind::Adapter, b"adapter");
    base.with_adapter(version_config(base.config().value(), &of, &adapter), &of, adapter)
}

fn theirs<T: DeserializeOwned>(bytes: &[u8]) -> T {
    serde_json::from_slice(bytes).expect("read by oci-spec")
}

fn same_annotations(ours: &BTreeMap<String, String>, theirs: &Option<HashMap<String, String>>) {
    let theirs: BTreeMap<String, String> = theirs.clone().unwrap_or_default().into_iter().collect();
    assert_eq!(*ours, theirs);
}

fn same_platform(ours: Option<&Platform>, theirs: &Option<spec::Platform>) {
    let words = |p: &spec::Platform| (p.architecture().to_string(), p.os().to_string(), p.variant().clone());
    let ours = ours.map(|p| (p.architecture.clone(), p.os.clone(), p.variant.clone()));
    assert_eq!(ours, theirs.as_ref().map(words));
}

fn same_descriptor(ours: &Descriptor, theirs: &spec::Descriptor) {
    assert_eq!(ours.media_type, theirs.media_type().to_string());
    assert_eq!((ours.digest.to_string(), ours.size), (theirs.digest().to_string(), theirs.size()));
    assert_eq!(ours.artifact_type, theirs.artifact_type().as_ref().map(ToString::to_string));
    same_platform(ours.platform.as_ref(), theirs.platform());
    same_annotations(&ours.annotations, theirs.annotations());
}

fn same_manifest(ours: &Sealed<Manifest>) {
    let theirs: spec::ImageManifest = theirs(ours.bytes());
    let ours = ours.value();
    assert_eq!(ours.schema_version, theirs.schema_version());
    assert_eq!(ours.media_type, theirs.media_type().as_ref().map(ToString::to_string));
    assert_eq!(ours.artifact_type, theirs.artifact_type().as_ref().map(ToString::to_string));
    same_descriptor(&ours.config, theirs.config());
    assert_eq!(ours.layers.len(), theirs.layers().len());
    ours.layers.iter().zip(theirs.layers()).for_each(|(ours, theirs)| same_descriptor(ours, theirs));
    same_annotations(&ours.annotations, theirs.annotations());
}

fn same_config(ours: &Sealed<ImageConfig>) {
    let theirs: spec::ImageConfiguration = theirs(ours.bytes());
    let ours = ours.value();
    assert_eq!((&ours.created, &ours.variant), (theirs.created(), theirs.variant()));
    assert_eq!((&ours.architecture, &ours.os), (&theirs.architecture().to_string(), &theirs.os().to_string()));
    let diff_ids: Vec<String> = ours.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    assert_eq!((&diff_ids, &ours.rootfs.kind), (theirs.rootfs().diff_ids(), theirs.rootfs().typ()));
    assert_eq!(ours.history.len(), theirs.history().as_ref().map_or(0, Vec::len));
    let (ours, theirs) = (&ours.config, theirs.config().as_ref().expect("a config"));
    assert_eq!((&ours.user, &ours.env, &ours.cmd), (theirs.user(), theirs.env(), theirs.cmd()));
    assert_eq!((&ours.entrypoint, &ours.working_dir), (theirs.entrypoint(), theirs.working_dir()));
    same_annotations(ours.labels.as_ref().expect("labels"), theirs.labels());
}

#[test]
fn another_reader_reads_what_hone_writes() {
    let base = base();
    let version = version(&base);
    let facts = ModelFacts { name: "assistant".to_owned(), format: "gguf".to_owned(), ..ModelFacts::default() };
    let model = modelpack::artifact(&base, &facts).expect("a model");
    let model = modelpack::with_adapter(&model, &version, &version.layers()[2]);
    for image in [&base, &version] {
        same_manifest(image.manifest());
        same_config(image.config());
    }
    same_manifest(&model.manifest);
    let pack = Pack::new(vec![base, version], vec![model]);
    let index = pack.index().expect("an index");
    let theirs: spec::ImageIndex = theirs(index.bytes());
    assert_eq!(theirs.manifests().len(), 3);
    let ours = &index.value().manifests;
    ours.iter().zip(theirs.manifests()).for_each(|(ours, theirs)| same_descriptor(ours, theirs));
}

#[test]
fn names_are_the_specification_s() {
    for (ours, theirs) in [
        (media::INDEX, spec::MediaType::ImageIndex),
        (media::MANIFEST, spec::MediaType::ImageManifest),
        (media::CONFIG, spec::MediaType::ImageConfig),
        (media::LAYER_TAR, spec::MediaType::ImageLayer),
        (media::LAYER_GZIP, spec::MediaType::ImageLayerGzip),
        (media::LAYER_ZSTD, spec::MediaType::ImageLayerZstd),
        (media::EMPTY, spec::MediaType::EmptyJSON),
    ] {
        assert_eq!(ours, theirs.to_string());
    }
    for (ours, theirs) in [
        (media::REF_NAME, spec::ANNOTATION_REF_NAME),
        (media::BASE_NAME, spec::ANNOTATION_BASE_IMAGE_NAME),
        (media::BASE_DIGEST, spec::ANNOTATION_BASE_IMAGE_DIGEST),
        (media::SOURCE, spec::ANNOTATION_SOURCE),
        (media::REVISION, spec::ANNOTATION_REVISION),
        (media::LICENSES, spec::ANNOTATION_LICENSES),
    ] {
        assert_eq!(ours, theirs);
    }
}

fn descriptor() -> Value {
    json!({"mediaType": media::CONFIG, "digest": Digest::of(b"x"), "size": 1})
}

/// Go writes a list without entries as null: docker an image without layers, podman an empty layout.
#[test]
fn oci_spec_refuses_what_go_writes_for_empty() {
    let manifest = json!({"schemaVersion": 2, "config": descriptor(), "layers": null}).to_string();
    assert!(document::manifest(None, manifest.clone().into()).is_ok());
    assert!(serde_json::from_str::<spec::ImageManifest>(&manifest).is_err());
    let index = json!({"schemaVersion": 2, "manifests": null}).to_string();
    assert!(document::index(None, index.clone().into()).is_ok());
    assert!(serde_json::from_str::<spec::ImageIndex>(&index).is_err());
    let config = json!({"architecture": "arm64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": null}});
    let config = config.to_string();
    assert!(Sealed::<ImageConfig>::parse("config", config.clone().into()).is_ok());
    assert!(serde_json::from_str::<spec::ImageConfiguration>(&config).is_err());
}

#[test]
fn oci_spec_loses_what_others_write() {
    fn lost<T: DeserializeOwned + serde::Serialize>(value: &Value, field: &str) {
        let read: T = serde_json::from_value(value.clone()).expect(field);
        let written = serde_json::to_value(&read).expect("written");
        assert!(value.pointer(field).is_some() && written.pointer(field).is_none(), "{field}: {written}");
    }
    let platform = json!({"architecture": "amd64", "os": "windows", "os.version": "10.0", "os.features": ["win32k"]});
    lost::<spec::Platform>(&platform, "/os.version");
    lost::<spec::Platform>(&platform, "/os.features");
    let mut entry = descriptor();
    entry["new"] = json!(1);
    lost::<spec::Descriptor>(&entry, "/new");
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Healthcheck": {"Test": ["CMD", "/probe"]}, "OnBuild": ["RUN x"], "Shell": ["/bin/sh"]},
    });
    for field in ["/config/Healthcheck", "/config/OnBuild", "/config/Shell"] {
        lost::<spec::ImageConfiguration>(&config, field);
        let ours: ImageConfig = serde_json::from_value(config.clone()).expect("a configuration");
        assert_eq!(serde_json::to_value(&ours).expect("written").pointer(field), config.pointer(field));
    }
}

#[test]
fn oci_spec_takes_what_no_store_holds() {
    for digest in ["sha512:".to_owned() + &"0".repeat(128), "x:y".to_owned()] {
        let mut entry = descriptor();
        entry["digest"] = json!(digest);
        assert!(serde_json::from_value::<spec::Descriptor>(entry.clone()).is_ok());
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        assert!(Document::parse(None, index.into()).is_err(), "{digest}");
    }
    // To Go's readers no type; to oci-spec one that is nobody's.
    let mut index = json!(Index::new(Vec::new()));
    index["mediaType"] = json!("");
    let read: spec::ImageIndex = serde_json::from_value(index.clone()).expect("an index");
    assert_eq!(*read.media_type(), Some(spec::MediaType::Other(String::new())));
    let ours = document::index(None, index.to_string().into()).expect("an index");
    assert_eq!(ours.value().media_type, None);
}
