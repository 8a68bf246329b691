//! What we write as ModelPack obeys model-spec's own schema (schema/config-schema.json, specs-go/v1/{mediatype,annotations}.go),
//! whose rules are written down here; and the rules are tried with documents that break them.

use std::collections::BTreeMap;

use hone_contract::Digest;
use hone_image::image::{BaseImage, VersionOf, version_config};
use hone_image::modelpack::{ModelFacts, artifact, with_adapter};
use hone_image::oci::RuntimeConfig;
use hone_image::{Artifact, Image, Layer, LayerKind, media};
use serde_json::{Map, Value, json};

fn must(fits: bool, why: impl Into<String>) -> Result<(), String> {
    if fits { Ok(()) } else { Err(why.into()) }
}

/// An object that has only these keys, each of this kind: `s`tring, `a`rray of strings, `o`bject.
fn closed<'v>(value: &'v Value, keys: &[(&str, char)], required: &[&str]) -> Result<&'v Map<String, Value>, String> {
    let object = value.as_object().ok_or("no object")?;
    for (key, value) in object {
        let (_, kind) = keys.iter().find(|(known, _)| known == key).ok_or(format!("unknown key {key}"))?;
        let fits = match kind {
            's' => value.is_string(),
            'a' => value.as_array().is_some_and(|a| a.iter().all(Value::is_string)),
            _ => value.is_object(),
        };
        must(fits, format!("{key} has another type"))?;
    }
    required.iter().try_for_each(|key| must(object.contains_key(*key), format!("{key} is missing")))?;
    Ok(object)
}

/// The rules of config-schema.json.
fn config(value: &Value) -> Result<(), String> {
    let parts = ["descriptor", "config", "modelfs"];
    let top = closed(value, &parts.map(|k| (k, 'o')), &parts)?;
    let texts = [
        "createdAt",
        "family",
        "name",
        "docURL",
        "sourceURL",
        "version",
        "revision",
        "vendor",
        "title",
        "description",
    ];
    let mut keys: Vec<(&str, char)> = texts.map(|k| (k, 's')).to_vec();
    keys.extend(["authors", "datasetsURL", "licenses"].map(|k| (k, 'a')));
    let descriptor = closed(&top["descriptor"], &keys, &[])?;
    must(descriptor.get("name").is_none_or(|name| name != ""), "name is empty")?;
    let mut keys: Vec<(&str, char)> =
        ["architecture", "format", "paramSize", "precision", "quantization"].map(|k| (k, 's')).to_vec();
    keys.extend(["transformerConfig", "capabilities"].map(|k| (k, 'o')));
    closed(&top["config"], &keys, &[])?;
    let fs = closed(&top["modelfs"], &[("type", 's'), ("diffIds", 'a')], &["type", "diffIds"])?;
    must(fs["type"] == "layers", "modelfs.type")?;
    must(fs["diffIds"].as_array().is_some_and(|a| !a.is_empty()), "no diff id")
}

/// The rules of the manifest and its layers.
fn manifest(artifact: &Artifact) -> Result<(), String> {
    let value: Value = serde_json::from_slice(artifact.manifest.bytes()).map_err(|e| e.to_string())?;
    for (place, want) in [
        ("/mediaType", "application/vnd.oci.image.manifest.v1+json"),
        ("/artifactType", "application/vnd.cncf.model.manifest.v1+json"),
        ("/config/mediaType", "application/vnd.cncf.model.config.v1+json"),
    ] {
        must(value.pointer(place) == Some(&json!(want)), format!("{place}: {:?}", value.pointer(place)))?;
    }
    let layers = value["layers"].as_array().ok_or("layers")?;
    let ids = artifact.config.value()["modelfs"]["diffIds"].as_array().ok_or("diff ids")?;
    must(layers.len() == ids.len(), "a diff id a layer")?;
    layers.iter().zip(ids).try_for_each(|(layer, id)| layer_rules(layer, id))
}

fn layer_rules(layer: &Value, diff_id: &Value) -> Result<(), String> {
    let kind = layer["mediaType"].as_str().and_then(|m| m.strip_prefix("application/vnd.cncf.model."));
    must(kind.is_some_and(|k| ["weight.v1.tar", "weight.config.v1.tar"].contains(&k)), format!("type {kind:?}"))?;
    must(layer["digest"] == *diff_id, "a bare tar's digest is its diff id")?;
    let annotation = |name: &str| layer["annotations"][name].as_str().ok_or(format!("{name} is missing"));
    hone_image::tar::check_path(annotation("org.cncf.model.filepath")?).map_err(|e| e.to_string())?;
    let metadata: Value =
        serde_json::from_str(annotation("org.cncf.model.file.metadata+json")?).map_err(|e| e.to_string())?;
    let keys: Vec<&str> = metadata.as_object().ok_or("metadata")?.keys().map(String::as_str).collect();
    must(keys == ["gid", "mode", "mtime", "name", "size", "typeflag", "uid"], format!("{keys:?}"))?;
    must(["gid", "mode", "size", "typeflag", "uid"].iter().all(|k| metadata[k].is_u64()), "numbers")?;
    must(["true", "false"].contains(&annotation("org.cncf.model.file.mediatype.untested")?), "untested")
}

fn base_of(layers: Vec<Layer>) -> Image {
    Image::base(BaseImage {
        name: "m".to_owned(),
        architecture: "arm64".to_owned(),
        variant: None,
        config: RuntimeConfig::default(),
        layers,
        annotations: BTreeMap::new(),
    })
}

fn image() -> Image {
    let tar = |kind, text: &str, path: &str| {
        Layer::tar(kind, Digest::of(text.as_bytes()), 9).annotated(media::WEIGHT_PATH, path)
    };
    let weight = tar(LayerKind::Weight, "w", "/models/m/model.safetensors").annotated(media::FILE_SIZE, "4");
    let small = tar(LayerKind::Model, "m", "/models/m");
    let tokenizer = tar(LayerKind::Tokenizer, "t", "/hone/tokenizer");
    base_of(vec![weight, small, tokenizer, Layer::zstd(LayerKind::Job, Digest::of(b"j"), 9, Digest::of(b"jj"))])
}

fn facts() -> ModelFacts {
    let text = |s: &str| Some(s.to_owned());
    ModelFacts {
        name: "m".to_owned(),
        family: text("llama"),
        format: "safetensors".to_owned(),
        precision: text("bf16"),
        quantization: text("Q4_1"),
        param_size: text("135M"),
        source: text("https://example.com/m"),
        revision: text("1"),
        licenses: vec!["MIT".to_owned()],
    }
}

#[test]
fn a_base_and_its_versions_obey_the_schema() {
    let base = image();
    let model = artifact(&base, &facts()).expect("a model");
    let adapter = Layer::tar(LayerKind::Adapter, Digest::of(b"a"), 5);
    let digest = base.config().digest();
    let of = VersionOf { lineage: "m:base".to_owned(), base: digest, parent: digest, number: 1 };
    let v1 = base.with_adapter(version_config(base.config().value(), &of, &adapter), &of, adapter.clone());
    let version = with_adapter(&model, &v1, &adapter);
    // A version of a version has one adapter, too.
    let next = Layer::tar(LayerKind::Adapter, Digest::of(b"b"), 6);
    let second = with_adapter(&version, &v1, &next);
    let unknown = ModelFacts { name: "m".to_owned(), format: "other".to_owned(), ..ModelFacts::default() };
    let least = artifact(&base, &unknown).expect("a model");
    for (artifact, layers) in [(&model, 3), (&version, 4), (&second, 4), (&least, 3)] {
        assert_eq!(config(artifact.config.value()), Ok(()));
        assert_eq!(manifest(artifact), Ok(()));
        assert_eq!(artifact.manifest.value().layers.len(), layers);
    }
    assert_eq!(version.manifest.value().annotations[media::BASE_DIGEST], base.digest().to_string());
    assert_eq!(second.manifest.value().layers[3].digest, next.diff_id);
}

#[test]
fn documents_that_break_the_rules_are_found() {
    let good = artifact(&image(), &facts()).expect("a model").config.value().clone();
    assert_eq!(config(&good), Ok(()));
    for (place, with) in [
        ("/descriptor", json!({ "name": "" })),
        ("/descriptor", json!({ "adapter": "x" })),
        ("/descriptor", json!({ "licenses": "MIT" })),
        ("/config", json!({ "rank": "8" })),
        ("/config", json!({ "paramSize": 135 })),
        ("/modelfs", json!({ "type": "layers", "diffIds": [] })),
        ("/modelfs", json!({ "type": "layers", "diff_ids": ["x"] })),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).expect("place") = with.clone();
        assert!(config(&bad).is_err(), "{place} {with}");
    }
    let mut extra = good;
    extra["more"] = json!({});
    assert!(config(&extra).is_err());
}

#[test]
fn an_image_without_weights_is_no_model() {
    let base = image();
    assert_eq!(artifact(&base_of(base.layers()[1..].to_vec()), &facts()), None);
}
