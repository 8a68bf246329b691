//! The model of an image as a ModelPack artifact (CNCF model-spec): another manifest over the same layers.
//!
//! The configuration's schema is closed and readers refuse layer types that they do not know: what the specification
//! has no field for (the adapter's base, its lineage) is said in annotations only. Every layer is a bare tar, because
//! readers take no compressed one; its entries keep the paths they have in the image.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::image::{EPOCH, Image};
use crate::layer::{Compression, Layer, LayerKind};
use crate::media;
use crate::oci::{Descriptor, Manifest, Sealed};
use crate::pack::Artifact;

/// What a model is called and made of, for the configuration. Everything unknown is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelFacts {
    /// The Honefile's name.
    pub name: String,
    /// `llama`, `qwen2`, ...
    pub family: Option<String>,
    /// `gguf`, `safetensors`, ...
    pub format: String,
    /// `f32`, `bf16`, ...
    pub precision: Option<String>,
    /// `Q4_1`, ...
    pub quantization: Option<String>,
    /// `135M`.
    pub param_size: Option<String>,
    /// Where its source is.
    pub source: Option<String>,
    /// The source's revision.
    pub revision: Option<String>,
    /// SPDX expressions.
    pub licenses: Vec<String>,
}

/// The artifact over the model's layers of `image`; `None` when it holds no model.
pub fn artifact(image: &Image, facts: &ModelFacts) -> Option<Artifact> {
    let layers: Vec<&Layer> = image.layers().iter().filter(|l| of_model(l)).collect();
    if !layers.iter().any(|l| l.kind == LayerKind::Weight) {
        return None;
    }
    let diff_ids: Vec<String> = layers.iter().map(|l| l.diff_id.to_string()).collect();
    let created = image.config().value().created.as_deref().unwrap_or(EPOCH);
    let config = Sealed::new(config(facts, created, &diff_ids));
    Some(over(config, layers.into_iter().map(describe).collect(), BTreeMap::new()))
}

/// The artifact of a version: `parent`'s, with its adapter (if it has one) replaced by `adapter`.
pub fn with_adapter(parent: &Artifact, version: &Image, adapter: &Layer) -> Artifact {
    let is_adapter = |d: &Descriptor| d.annotations.get(media::LAYER_KIND).is_some_and(|k| k == "adapter");
    let below = parent.manifest.value().layers.iter().take_while(|d| !is_adapter(d));
    let mut layers: Vec<Descriptor> = below.cloned().collect();
    let mut value = parent.config.value().clone();
    if let Some(Value::Array(ids)) = value.pointer_mut("/modelfs/diffIds") {
        ids.truncate(layers.len());
        ids.push(json!(adapter.diff_id));
    }
    layers.push(describe(adapter));
    let from_base =
        |name: &str| version.manifest().value().annotations.get(name).cloned().map(|v| (name.to_owned(), v));
    let annotations = [media::BASE_NAME, media::BASE_DIGEST].into_iter().filter_map(from_base).collect();
    over(Sealed::new(value), layers, annotations)
}

fn over(config: Sealed<Value>, layers: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Artifact {
    let manifest = Manifest::artifact(media::MODEL_MANIFEST, config.descriptor(media::MODEL_CONFIG), layers);
    Artifact { manifest: Sealed::new(Manifest { annotations, ..manifest }), config }
}

/// What belongs to the model; compressed layers are left out, because readers refuse them.
fn of_model(layer: &Layer) -> bool {
    let kind = matches!(layer.kind, LayerKind::Weight | LayerKind::Model | LayerKind::Tokenizer | LayerKind::Adapter);
    kind && layer.compression() == Some(Compression::None)
}

/// The configuration (model-spec, config.md; schema/config-schema.json).
fn config(facts: &ModelFacts, created: &str, diff_ids: &[String]) -> Value {
    let mut descriptor = json!({ "createdAt": created, "name": facts.name });
    let mut config = json!({ "format": facts.format });
    let say = |object: &mut Value, key: &str, value: &Option<String>| {
        if let Some(value) = value {
            object[key] = json!(value);
        }
    };
    say(&mut descriptor, "family", &facts.family);
    say(&mut descriptor, "sourceURL", &facts.source);
    say(&mut descriptor, "revision", &facts.revision);
    if !facts.licenses.is_empty() {
        descriptor["licenses"] = json!(facts.licenses);
    }
    say(&mut config, "architecture", &facts.family.as_ref().map(|_| "transformer".to_owned()));
    say(&mut config, "paramSize", &facts.param_size);
    say(&mut config, "precision", &facts.precision);
    say(&mut config, "quantization", &facts.quantization);
    json!({ "descriptor": descriptor, "config": config, "modelfs": { "type": "layers", "diffIds": diff_ids } })
}

/// A layer as ModelPack describes it: the same blob under another media type. A directory's layer is named after it.
pub fn describe(layer: &Layer) -> Descriptor {
    let (media_type, path) = match layer.kind {
        LayerKind::Weight => (media::MODEL_WEIGHT_TAR, layer.descriptor.annotations.get(media::WEIGHT_PATH)),
        LayerKind::Adapter => (media::MODEL_WEIGHT_TAR, None),
        _ => (media::MODEL_WEIGHT_CONFIG_TAR, layer.descriptor.annotations.get(media::WEIGHT_PATH)),
    };
    let path = path.map_or("/hone/adapter", |p| p).trim_start_matches('/');
    let is_file = layer.kind == LayerKind::Weight;
    let size = layer.descriptor.annotations.get(media::FILE_SIZE).and_then(|s| s.parse().ok()).unwrap_or(0u64);
    // Every key, constants where the tar is normalised: readers fail on a missing one (model-spec, annotations.md).
    let metadata = json!({
        "name": path.rsplit('/').next().unwrap_or(path),
        "mode": if is_file { 0o644 } else { 0o755 },
        "uid": 0,
        "gid": 0,
        "size": if is_file { size } else { 0 },
        "mtime": "1970-01-01T00:00:00Z",
        "typeflag": if is_file { b'0' } else { b'5' },
    });
    let mut described = Descriptor::of(media_type, layer.descriptor.digest, layer.descriptor.size);
    described.annotations = BTreeMap::from([
        (media::LAYER_KIND.to_owned(), layer.kind.as_str().to_owned()),
        (media::WEIGHT_PATH.to_owned(), path.to_owned()),
        (media::FILE_METADATA.to_owned(), metadata.to_string()),
        (media::FILE_UNTESTED.to_owned(), "false".to_owned()),
    ]);
    described
}
