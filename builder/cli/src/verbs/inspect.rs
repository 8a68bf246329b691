//! `hone inspect`: what one image is made of.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use hone_image::{Digest, Image, LayerKind, Reference, media};
use hone_store::Store;
use hone_store::versions::{State, VersionRecord};
use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// Arguments of `hone inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// An image: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An image, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    references: Vec<Reference>,
    /// Manifest digest; null when only an engine has the image.
    digest: Option<Digest>,
    /// Configuration digest: docker's image id.
    config: Digest,
    architecture: String,
    os: String,
    /// Bytes of the layers that are here.
    size: u64,
    layers: Vec<LayerView>,
    /// The base's reference.
    lineage: Option<String>,
    /// What a version was trained from; null for a base.
    base: Option<BaseView>,
    /// Configuration digest of the version that training began from; null when that was the base.
    parent: Option<String>,
    version: Option<u64>,
    state: Option<State>,
    /// The model inside.
    model: Option<ModelView>,
    command: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// A layer. Of a base that only an engine has, the diff id is all that is known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerView {
    kind: LayerKind,
    digest: Option<Digest>,
    size: Option<u64>,
    media_type: Option<String>,
    diff_id: Digest,
}

#[derive(Debug, Serialize)]
struct BaseView {
    name: String,
    /// Manifest digest, where it is known.
    digest: Option<String>,
    config: Option<String>,
}

#[derive(Debug, Serialize)]
struct ModelView {
    identity: Digest,
    path: String,
    format: String,
    family: Option<String>,
}

impl Inspect {
    /// Shows it.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let view = view(store, &self.image)?;
        if self.json { output::json(&view) } else { output::print(&text(&view)) }
    }
}

fn view(store: &Store, name: &str) -> Result<View, Failure> {
    let error = match store.resolve(name) {
        Ok(found) => return of_image(store, found.references, &found.image),
        Err(error) => error,
    };
    let reference: Option<Reference> = name.parse().ok();
    match reference.map(|r| store.version(&r)).transpose()?.flatten() {
        Some(version) => of_record(store, version),
        None => Err(error.into()),
    }
}

fn of_image(store: &Store, references: Vec<Reference>, image: &Image) -> Result<View, Failure> {
    let layers = image.layers().iter().map(|layer| LayerView {
        kind: layer.kind,
        digest: Some(layer.descriptor.digest),
        size: Some(layer.descriptor.size),
        media_type: Some(layer.descriptor.media_type.clone()),
        diff_id: layer.diff_id,
    });
    let base_digest = image.manifest().value().annotations.get(media::BASE_DIGEST).cloned();
    let mut view = common(image.config().value(), image.config().digest(), layers.collect());
    view.digest = Some(image.digest());
    view.size = image.size();
    if let Some(base) = &mut view.base {
        base.digest = base_digest;
    } else {
        view.lineage = references.first().map(Reference::to_string);
    }
    view.state = state(store, &view)?;
    view.references = references;
    view.model = store.job_of(image)?.and_then(|job| job.base).map(|base| ModelView {
        identity: base.identity,
        path: base.path,
        format: base.format,
        family: base.family,
    });
    Ok(view)
}

fn of_record(store: &Store, version: VersionRecord) -> Result<View, Failure> {
    let config = store.config(version.config.digest)?;
    let diff_ids = &config.value().rootfs.diff_ids;
    let layers = diff_ids.iter().enumerate().map(|(i, &diff_id)| {
        let adapter = (i + 1 == diff_ids.len()).then_some(&version.layer);
        LayerView {
            kind: if adapter.is_some() { LayerKind::Adapter } else { LayerKind::Other },
            digest: adapter.map(|d| d.digest),
            size: adapter.map(|d| d.size),
            media_type: adapter.map(|d| d.media_type.clone()),
            diff_id,
        }
    });
    let mut view = common(config.value(), config.digest(), layers.collect());
    view.size = version.layer.size;
    view.state = state(store, &view)?;
    view.references = vec![version.reference];
    Ok(view)
}

/// What a configuration alone tells.
fn common(config: &hone_image::oci::ImageConfig, digest: Digest, layers: Vec<LayerView>) -> View {
    let label = |name| config.config.label(name).map(str::to_owned);
    let lineage = label(media::LABEL_BASE_NAME);
    View {
        references: Vec::new(),
        digest: None,
        config: digest,
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        size: 0,
        layers,
        base: lineage.clone().map(|name| BaseView { name, digest: None, config: label(media::LABEL_BASE_CONFIG) }),
        lineage,
        parent: label(media::LABEL_PARENT),
        version: label(media::LABEL_VERSION).and_then(|n| n.parse().ok()),
        state: None,
        model: None,
        command: config.config.command_line(),
        labels: config.config.labels.clone().unwrap_or_default(),
    }
}

fn state(store: &Store, view: &View) -> Result<Option<State>, Failure> {
    let lineage: Option<Reference> = view.lineage.as_ref().and_then(|name| name.parse().ok());
    match (lineage, view.version) {
        (Some(lineage), Some(version)) => Ok(Some(store.lineage_state(&lineage)?.of(version))),
        _ => Ok(None),
    }
}

fn text(view: &View) -> String {
    let names: Vec<String> = view.references.iter().map(Reference::to_string).collect();
    let mut rows = vec![vec!["names".to_owned(), names.join(", ")]];
    let mut row = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);
    if let Some(digest) = view.digest {
        row("digest", digest.to_string());
    }
    row("config", view.config.to_string());
    row("platform", format!("{}/{}", view.os, view.architecture));
    row("size", output::size(view.size));
    if let Some(base) = &view.base {
        row("base", format!("{} {}", base.name, base.digest.as_ref().or(base.config.as_ref()).map_or("", |d| d)));
    }
    if let (Some(version), Some(state)) = (view.version, view.state) {
        row("version", format!("{version} ({})", crate::output::word(&state)));
    }
    if let Some(parent) = &view.parent {
        row("parent", parent.clone());
    }
    if let Some(model) = &view.model {
        let family = model.family.as_deref().unwrap_or("unknown family");
        row("model", format!("{} ({}, {family})", model.path, model.format));
    }
    row("command", view.command.join(" "));
    let mut text = output::table(&rows);
    let _ = writeln!(text, "layers");
    let layers: Vec<Vec<String>> = view
        .layers
        .iter()
        .map(|layer| {
            let size = layer.size.map_or("-".to_owned(), output::size);
            vec![format!("  {}", layer.kind), size, layer.digest.unwrap_or(layer.diff_id).to_string()]
        })
        .collect();
    text.push_str(&output::table(&layers));
    text
}
