//! `hone inspect`: what one image is made of.

mod remote;
mod text;

use std::collections::BTreeMap;

use clap::Args;
use hone_contract::job::{Base, Job};
use hone_contract::{Digest, Reference};
use hone_image::oci::{MAX_DOCUMENT_BYTES, Platform};
use hone_image::transport::Transport;
use hone_image::{Layer, LayerKind, media};
use hone_sbom::{CYCLONEDX_JSON, SPDX_JSON};
use hone_store::versions::{State, VersionRecord};
use hone_store::{Found, Resolved, Store};
use serde::Serialize;

use crate::answer::{Form, by_template};
use crate::failure::{Failure, because, chain};
use crate::net::NetArgs;
use crate::output;
use crate::platforms::platform;
use crate::template::Template;

/// Arguments of `hone inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// An image: its name, its digest, or the first digits of that; docker://NAME:TAG looks at a registry's
    #[arg(value_name = "REF")]
    image: String,
    #[command(flatten)]
    form: Form,
    /// Print with a template, as `hone images --format`: '{{.Config}}', '{{json .Labels}}'
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<Template>,
    /// Print its bill of materials, as `hone build --sbom` attached it
    #[arg(long, conflicts_with_all = ["json", "format"])]
    sbom: bool,
    /// Print the manifest or index as it is, byte for byte
    #[arg(long, conflicts_with_all = ["json", "format", "sbom"])]
    raw: bool,
    /// Print the configuration of the image as it is
    #[arg(long, conflicts_with_all = ["json", "format", "sbom", "raw"])]
    config: bool,
    /// Of a registry's image the one for this platform, e.g. linux/arm64 [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    #[command(flatten)]
    net: NetArgs,
}

/// An image, as `--json` prints it.
#[derive(Debug, Serialize)]
struct View {
    references: Vec<Reference>,
    /// Of what the name stands for: an index, or a manifest; null when only an engine has the image.
    digest: Option<Digest>,
    /// Manifest digest of the image for this machine.
    manifest: Option<Digest>,
    /// What there is an image for.
    platforms: Vec<String>,
    /// Manifest digest of the model's artifact (ModelPack).
    modelpack: Option<Digest>,
    /// Statements about it.
    referrers: Vec<ReferrerView>,
    /// Where the model comes from, and more that the manifest says.
    annotations: BTreeMap<String, String>,
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
    /// Why the job inside is not understood, where it is not.
    job_error: Option<String>,
    command: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// A statement about an image.
#[derive(Debug, Serialize)]
struct ReferrerView {
    artifact_type: String,
    /// Manifest digest.
    digest: Digest,
}

/// A layer. Of a base that only an engine has, the diff id is all that is known.
#[derive(Debug, Serialize)]
struct LayerView {
    kind: LayerKind,
    digest: Option<Digest>,
    size: Option<u64>,
    media_type: Option<String>,
    diff_id: Digest,
    /// Its part of the image's bytes, from 0 to 1.
    share: Option<f64>,
    /// Other images here that have the layer, too: it is stored once.
    shared_with: Vec<Reference>,
    /// The file in a weight's layer.
    file: Option<String>,
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

impl ModelView {
    fn of(base: Base) -> Self {
        Self { identity: base.identity, path: base.path, format: base.format, family: base.family }
    }
}

impl Inspect {
    /// Shows it.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        if let Some(name) = Transport::in_registry(&self.image)? {
            return self.remote(&name).map_err(because(format!("inspect {}", self.image)));
        }
        if self.platform.is_some() {
            return Err("--platform is for docker://NAME:TAG; what is here is shown whole".into());
        }
        let _held = store.reading()?;
        if self.raw || self.config {
            let found = store.resolve(&self.image)?;
            let bytes = match self.raw {
                true => store.read_blob(found.descriptor.digest, MAX_DOCUMENT_BYTES)?,
                false => found.image.config().bytes().to_vec(),
            };
            return output::print(&String::from_utf8_lossy(&bytes));
        }
        if self.sbom {
            return output::print(&sbom(store, &self.image)?);
        }
        self.show(view(store, &self.image)?)
    }

    fn show(&self, view: View) -> Result<(), Failure> {
        match &self.format {
            // docker's inspect leaves digests whole.
            Some(template) => by_template(&[view], template, true),
            None => self.form.print(&view, text::text),
        }
    }
}

fn sbom(store: &Store, name: &str) -> Result<String, Failure> {
    let found = store.resolve(name)?;
    let kinds = [SPDX_JSON, CYCLONEDX_JSON];
    for referrer in store.referrers(found.descriptor.digest)? {
        let documents = referrer.manifest.value().layers.iter();
        if let Some(document) = documents.clone().find(|d| kinds.contains(&d.media_type.as_str())) {
            let bytes = store.read_blob(document.digest, MAX_DOCUMENT_BYTES)?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Err(format!("{name}: it has no bill of materials; `hone build --sbom` attaches one").into())
}

fn view(store: &Store, name: &str) -> Result<View, Failure> {
    match store.look_up(name)? {
        Found::Image(found) => of_image(store, &found),
        Found::Version(version) => of_record(store, *version),
    }
}

fn of_image(store: &Store, found: &Resolved) -> Result<View, Failure> {
    let image = &found.image;
    let pack = store.pack(found.descriptor.digest)?;
    let others = others(store, found)?;
    let total = image.size().max(1) as f64;
    let layers = image.layers().iter().map(|layer| layer_view(layer, total, &others));
    let annotations = image.manifest().value().annotations.clone();
    let mut view = common(image.config().value(), image.config().digest(), layers.collect());
    view.digest = Some(found.descriptor.digest);
    view.manifest = Some(image.digest());
    view.platforms = pack.images().iter().map(|image| image.platform().to_string()).collect();
    view.modelpack = pack.model().map(|model| model.manifest.digest());
    view.referrers = store
        .referrers(found.descriptor.digest)?
        .iter()
        .map(|r| ReferrerView {
            artifact_type: r.manifest.value().artifact_type.clone().unwrap_or_default(),
            digest: r.manifest.digest(),
        })
        .collect();
    view.size = image.size();
    settle_lineage(store, found, &mut view);
    if let Some(base) = &mut view.base {
        base.digest = annotations.get(media::BASE_DIGEST).cloned();
    }
    view.annotations = annotations;
    view.state = state(store, &view)?;
    view.references = found.references.clone();
    // One of a later Hone is an image all the same.
    match store.job_of(image) {
        Ok(job) => {
            if let Some(note) = job.as_ref().and_then(Job::note) {
                output::tell(&format!("note: {note}"));
            }
            view.model = job.and_then(|job| job.base).map(ModelView::of);
        }
        Err(error) => view.job_error = Some(chain(&error)),
    }
    Ok(view)
}

/// What the labels say of versions counts when the layers bear it out; every other image is a base of its own.
fn settle_lineage(store: &Store, found: &Resolved, view: &mut View) {
    for name in &found.references {
        let member = store.membership(name, &found.image).unwrap_or_else(|error| {
            store.notice(format!("image {name}"), format!("its lineage is not known: {}", chain(&error)));
            None
        });
        if let Some((lineage, number)) = member {
            view.lineage = Some(lineage.to_string());
            view.version = Some(number);
            return;
        }
    }
    view.lineage = found.references.first().map(Reference::to_string);
    (view.base, view.parent, view.version) = (None, None, None);
}

fn layer_view(layer: &Layer, total: f64, others: &BTreeMap<Digest, Vec<Reference>>) -> LayerView {
    let d = &layer.descriptor;
    LayerView {
        kind: layer.kind,
        digest: Some(d.digest),
        size: Some(d.size),
        media_type: Some(d.media_type.clone()),
        diff_id: layer.diff_id,
        share: Some(d.size as f64 / total),
        shared_with: others.get(&d.digest).cloned().unwrap_or_default(),
        file: d.annotations.get(media::WEIGHT_PATH).cloned(),
    }
}

/// Which other images have a layer.
fn others(store: &Store, found: &Resolved) -> Result<BTreeMap<Digest, Vec<Reference>>, Failure> {
    let mut others: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
    for (name, descriptor, pack) in store.packs()? {
        if descriptor.digest != found.descriptor.digest {
            for layer in pack.layers() {
                others.entry(layer.digest).or_default().push(name.clone());
            }
        }
    }
    Ok(others)
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
            share: None,
            shared_with: Vec::new(),
            file: None,
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
        manifest: None,
        platforms: Vec::new(),
        modelpack: None,
        referrers: Vec::new(),
        annotations: BTreeMap::new(),
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
        job_error: None,
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
