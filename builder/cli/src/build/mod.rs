//! A build: Honefile -> plan -> what is there -> layers -> images and the model's artifact -> store.
//!
//! Everything that can be refused is refused before the first byte is packed. The name is given last; until then
//! the store's names are as they were.

mod artifact;
mod base;
mod honefile;
mod source;
mod trainer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hone_base::{BaseModel, understand};
use hone_image::image::BaseImage;
use hone_image::job::{JOB_PATH, Job};
use hone_image::modelpack::{self, ModelFacts};
use hone_image::tar::Entry;
use hone_image::{Image, Layer, LayerKind, Pack, Reference, media};
use hone_plan::{BuildPlan, JobParts};
use hone_registry::Client;
use hone_store::{Ingest, Store};

use crate::failure::Failure;
use crate::progress::Progress;
use crate::sbom::{self, Format};
use base::{PackedBase, Packer};
use source::{Fetch, Provenance};
use trainer::PackedTrainer;

/// Where an image is built, and with what.
pub struct Site<'a> {
    /// The store it is built into.
    pub store: &'a Store,
    /// The name it gets.
    pub reference: &'a Reference,
    /// Reaches servers.
    pub client: &'a Client,
    /// Shows steps.
    pub progress: Progress,
    /// A bill of materials is attached.
    pub sbom: Option<Format>,
}

/// Builds the Honefile at `path` (or in the directory `path`).
pub fn build(site: &Site<'_>, path: &Path) -> Result<Pack, Failure> {
    let (dir, plan) = honefile::read(path)?;
    let progress = site.progress;
    let ingest = site.store.ingest()?;
    let fetch = Fetch { dir: &dir, plan: &plan, ingest: &ingest, client: site.client, progress };
    let trainer = fetch.trainer()?;
    let fetched = plan.base.as_ref().map(|base| fetch.base(base)).transpose()?;
    let model = match &fetched {
        Some(found) => Some(understand(&found.sources, found.tokenizer.as_ref(), &plan)?),
        None => None,
    };
    let build = Build { ingest: &ingest, plan: &plan, progress };
    let trainers = trainer.pack(&ingest, progress)?;
    let packed = match (&model, &fetched) {
        (Some(model), Some(fetched)) => {
            let packer = Packer { ingest: &ingest, progress, digests: &fetched.digests };
            Some(packer.pack(model)?)
        }
        _ => None,
    };
    let provenance = fetched.as_ref().map(|f| f.provenance.clone()).unwrap_or_default();
    let pack = build.pack(trainers, model.as_ref(), packed.as_ref(), &provenance)?;
    site.finish(&ingest, &pack)?;
    Ok(pack)
}

impl Site<'_> {
    /// Gives the pack its name, and says what it is made of.
    fn finish(&self, ingest: &Ingest<'_>, pack: &Pack) -> Result<(), Failure> {
        ingest.put_pack(self.reference, pack)?;
        if let Some(format) = self.sbom {
            sbom::attach(ingest, self.reference, pack, format)?;
        }
        Ok(())
    }
}

struct Build<'a> {
    ingest: &'a Ingest<'a>,
    plan: &'a BuildPlan,
    progress: Progress,
}

impl Build<'_> {
    /// An image a trainer, and the model's artifact over the same layers.
    fn pack(
        &self,
        trainers: Vec<PackedTrainer>,
        model: Option<&BaseModel>,
        base: Option<&PackedBase>,
        provenance: &Provenance,
    ) -> Result<Pack, Failure> {
        let facts = model.map(|m| facts_of(m, provenance));
        let annotations = annotations(base, facts.as_ref(), provenance);
        let mut images = Vec::new();
        for trainer in trainers {
            let mut layers = trainer.layers;
            layers.extend(base.iter().flat_map(|b| b.layers.iter().cloned()));
            let job = self.plan.job(JobParts {
                base: base.map(|b| b.base.clone()),
                trainer: trainer.job,
                tensors: model.and_then(|m| m.tensors.clone()),
            });
            layers.push(self.job_layer(&job, model.map(BaseModel::dirs).unwrap_or_default())?);
            images.push(Image::base(BaseImage {
                name: self.plan.name.clone(),
                architecture: trainer.platform.architecture,
                variant: trainer.platform.variant,
                config: trainer.config,
                layers,
                annotations: annotations.clone(),
            }));
        }
        let artifact = facts.and_then(|facts| modelpack::artifact(images.first()?, &facts));
        Ok(Pack::new(images, artifact.into_iter().collect()))
    }

    /// The job, `/hone/out`, and every directory of the model: a weight layer holds its file alone, and engines
    /// make the directories above it as they like (docker 20.10 with mode 0600).
    fn job_layer(&self, job: &Job, mut dirs: BTreeSet<String>) -> Result<Layer, Failure> {
        let step = self.progress.step("job", None);
        let bytes = job.to_bytes();
        let path = JOB_PATH.trim_start_matches('/');
        dirs.extend(["hone".to_owned(), "hone/out".to_owned(), path.to_owned()]);
        let mut writer = self.ingest.layer(LayerKind::Job)?;
        for entry in &dirs {
            if entry == path {
                writer.tar().file(path, false, bytes.len() as u64, &mut &bytes[..])?;
            } else {
                writer.tar().add(entry, Entry::Dir)?;
            }
        }
        let layer = writer.finish()?;
        step.done(layer.descriptor.size, &layer.descriptor.digest.to_string());
        Ok(layer)
    }
}

/// What the model's files say, and over it what is known of where they come from.
fn facts_of(model: &BaseModel, provenance: &Provenance) -> ModelFacts {
    let mut facts = model.facts.clone();
    let origin = &provenance.origin;
    facts.source = origin.source.clone().or(facts.source);
    facts.revision = origin.revision.clone();
    if let Some(licenses) = &origin.licenses {
        facts.licenses = vec![licenses.clone()];
    }
    facts
}

/// Where the model comes from, as annotations of the manifest (image-spec, annotations.md).
fn annotations(
    base: Option<&PackedBase>,
    facts: Option<&ModelFacts>,
    provenance: &Provenance,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut say = |name: &str, value: Option<String>| {
        all.extend(value.map(|value| (name.to_owned(), value)));
    };
    say(media::BASE_NAME, provenance.name.clone());
    say(media::BASE_DIGEST, provenance.digest.map(|d| d.to_string()));
    if let Some(facts) = facts {
        say(media::SOURCE, facts.source.clone());
        say(media::REVISION, facts.revision.clone());
        say(media::LICENSES, (!facts.licenses.is_empty()).then(|| facts.licenses.join(" AND ")));
    }
    if let Some(packed) = base {
        say(media::BASE_IDENTITY, Some(packed.base.identity.to_string()));
        say(media::BASE_SIZE, Some(packed.base.files.iter().map(|f| f.size).sum::<u64>().to_string()));
    }
    all
}
