//! An image that somebody else's builder made of a Honefile, as Hone's own layers: the same files and the same job, one
//! layer a weight, digests that repeat.

use std::collections::BTreeMap;

use hone_base::{BaseModel, Sources, facts_of, is_weight};
use hone_image::job::{Base, JOB_PATH, Job, Trainer};
use hone_image::modelpack::ModelFacts;
use hone_image::oci::RuntimeConfig;
use hone_image::{Digest, Image, Layer, LayerKind, Pack};
use hone_plan::Platform;
use hone_store::Store;

use super::artifact::{Local, model};
use super::base::Packer;
use super::source::Model;
use super::{Assembly, Site, assemble};
use crate::contents;
use crate::failure::{Failure, because};

/// What begins every label that Hone writes.
const LABELS: &str = "dev.hone.";
/// A job layer is not larger than this (bytes): larger layers are not looked into for a job.
const LARGEST_JOB_LAYER: u64 = 16 << 20;

/// Makes Hone's own of the pack `from`, whose blobs are in the store.
pub fn from_image(site: &Site<'_>, from: &Pack) -> Result<Pack, Failure> {
    let converting = because("make Hone's layers of the image");
    let convert = || -> Result<Pack, Failure> {
        let ingest = site.store.ingest()?;
        let mut assemblies = Vec::new();
        let mut facts = None;
        for image in from.images() {
            let (assembly, seen) = one(site, &ingest, image)?;
            facts = facts.or(seen);
            assemblies.push(assembly);
        }
        let provenance = Default::default();
        let pack = assemble(&ingest, site.progress, assemblies, facts, &provenance)?;
        site.finish(&ingest, &pack)?;
        Ok(pack)
    };
    convert().map_err(converting)
}

fn one(
    site: &Site<'_>,
    ingest: &hone_store::Ingest<'_>,
    image: &Image,
) -> Result<(Assembly, Option<ModelFacts>), Failure> {
    let job = job_of(site.store, image)?;
    let (mut base_layers, mut dirs, mut facts) = (Vec::new(), Default::default(), None);
    if let Some(base) = &job.base {
        let mut origin =
            model(&Local { layout: site.store.clone(), root: image.descriptor() }, "the image", ingest, &|_, _| {
                None
            })?;
        rename(&mut origin.sources, base)?;
        let base_model = base_model(&job, base, &origin);
        let digests: BTreeMap<String, Digest> = base.files.iter().map(|f| (f.path.clone(), f.digest)).collect();
        let packed = Packer { ingest, progress: site.progress, digests: &digests }.pack(&base_model)?;
        if packed.base.identity != base.identity {
            let (got, want) = (packed.base.identity, base.identity);
            return Err(format!("base identity: got {got}, want {want}, as its job.json says").into());
        }
        dirs = base_model.dirs();
        base_layers = packed.layers;
        facts = Some(base_model.facts);
    }
    let trainer = match &job.trainer {
        Some(trainer) => trainer_layers(image, trainer)?,
        None => Vec::new(),
    };
    let config = image.config().value();
    let platform = Platform { architecture: config.architecture.clone(), variant: config.variant.clone() };
    Ok((Assembly { trainer, base: base_layers, job, dirs, config: own_config(&config.config), platform }, facts))
}

/// The topmost `/hone/job.json`.
fn job_of(store: &Store, image: &Image) -> Result<Job, Failure> {
    let path = JOB_PATH.trim_start_matches('/');
    for layer in image.layers().iter().rev().filter(|l| l.descriptor.size <= LARGEST_JOB_LAYER) {
        if let Some(bytes) = contents::read(store, layer, &[path])?.kept.get(path) {
            return Ok(Job::parse(bytes)?);
        }
    }
    Err(format!("there is no {JOB_PATH} in it; was it built with the frontend?").into())
}

/// The lowest layers, as many as the job's trainer has: they are told by its digest.
fn trainer_layers(image: &Image, trainer: &Trainer) -> Result<Vec<Layer>, Failure> {
    let mut lines = String::new();
    for (n, layer) in image.layers().iter().enumerate() {
        lines.push_str(&format!("{}\n", layer.diff_id));
        if Digest::of(lines.as_bytes()) == trainer.digest {
            return Ok(image.layers()[..=n].iter().map(|l| l.of_kind(LayerKind::Trainer)).collect());
        }
    }
    let what = format!("the trainer {} that its job.json names is not in its layers as it was", trainer.name);
    Err(format!("{what}; an image whose trainer is a root file system is built again from the Honefile").into())
}

/// Names relative to the base's directory, which may lie above what all files have in common.
fn rename(sources: &mut Sources, base: &Base) -> Result<(), Failure> {
    let wanted = |name: &str| base.files.iter().find(|f| f.path == name || f.path.ends_with(&format!("/{name}")));
    for file in &mut sources.files {
        let found = wanted(&file.name).ok_or_else(|| format!("{} is not in its job.json", file.name))?;
        file.name = found.path.clone();
    }
    match base.files.iter().find(|f| sources.get(&f.path).is_none()) {
        Some(absent) => Err(format!("{}/{} is not in it; its job.json names it", base.path, absent.path).into()),
        None => Ok(()),
    }
}

fn base_model(job: &Job, base: &Base, origin: &Model) -> BaseModel {
    let (weights, texts): (Vec<_>, Vec<_>) = origin.sources.files.iter().cloned().partition(is_weight);
    let (weights, texts) = if origin.sources.lone { ([weights, texts].concat(), vec![]) } else { (weights, texts) };
    let mut facts = facts_of(&job.name, &base.format, &origin.sources);
    facts.family = base.family.clone();
    BaseModel {
        dir: base.path.trim_start_matches('/').to_owned(),
        format: base.format.clone(),
        family: base.family.clone(),
        weights,
        texts,
        tokenizer_files: origin.tokenizer.iter().flat_map(|t| t.files.iter().cloned()).collect(),
        tokenizer: base.tokenizer.clone(),
        tensors: None,
        facts,
    }
}

/// What a container starts with, without the labels that are written anew.
fn own_config(config: &RuntimeConfig) -> RuntimeConfig {
    let mut config = config.clone();
    if let Some(labels) = &mut config.labels {
        labels.retain(|name, _| !name.starts_with(LABELS));
    }
    config.labels = config.labels.filter(|labels| !labels.is_empty());
    config
}
