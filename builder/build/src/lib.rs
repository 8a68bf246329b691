//! A build: Honefile -> plan -> what is there -> layers -> images and the model's artifact -> store.
//!
//! Everything that can be refused is refused before the first byte is packed. The name is given last; until then
//! the store's names are as they were.
//!
//! `honefile` finds the plan; `fetch` brings what it names, `artifact` reads a model out of another maker's artifact or image,
//! `trainer` finds who trains; `base` packs the model; `bill` writes what the image is made of; `from_image` makes the same
//! of what BuildKit built. Environment, clock and command line are the caller's: it says by [`Site`] what they say.

mod artifact;
mod base;
mod bill;
mod error;
mod fetch;
mod from_image;
mod honefile;
mod trainer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hone_base::{BaseModel, Provenance, understand};
use hone_contract::Reference;
use hone_contract::job::{JOB_PATH, Job};
use hone_contract::progress::Progress;
use hone_image::image::{BaseImage, MAX_LAYERS};
use hone_image::modelpack::{self, ModelFacts};
use hone_image::oci::{Platform, RuntimeConfig};
use hone_image::tar::Entry;
use hone_image::{Image, Layer, LayerKind, Pack};
use hone_plan::{BuildPlan, JobParts};
use hone_registry::Client;
use hone_store::{Ingest, Reading, Store};

use base::{PackedBase, Packer};
use fetch::Fetch;
use trainer::PackedTrainer;

pub use artifact::{Known, Local, Origin, Remote, model};
pub use bill::{Bill, Format};
pub use error::{ArtifactError, BuildError, ConversionError, TrainerError};
pub use fetch::{HubAccess, Model};
pub use from_image::from_image;

/// Where an image is built, and with what.
pub struct Site<'a> {
    /// The store it is built into.
    pub store: &'a Store,
    /// The name it gets.
    pub reference: &'a Reference,
    /// Reaches servers.
    pub client: &'a Client,
    /// What `hf://` means.
    pub hub: &'a HubAccess,
    /// Where trainers that come with Hone are looked for, the first place first.
    pub trainers: &'a [PathBuf],
    /// Is told of steps.
    pub progress: &'a dyn Progress,
    /// A bill of materials is attached.
    pub bill: Option<Bill>,
    /// When the image says that it was made, in seconds since 1970; the start of 1970 without.
    pub created: Option<u64>,
    /// What it is built for, in place of what the Honefile says; nothing: what that says.
    pub platforms: &'a [Platform],
}

/// What was built.
pub struct Built {
    /// The image.
    pub pack: Pack,
    /// Keeps it in the store until this is dropped, whatever is removed or built meanwhile.
    pub held: Reading,
}

/// Builds the Honefile at `path` (or in the directory `path`).
///
/// # Errors
/// See [`BuildError`].
pub fn build(site: &Site<'_>, path: &Path) -> Result<Built, BuildError> {
    let (dir, plan) = honefile::read(path, site.platforms)?;
    let progress = site.progress;
    let ingest = site.store.ingest()?;
    let fetch = Fetch {
        dir: &dir,
        plan: &plan,
        ingest: &ingest,
        client: site.client,
        hub: site.hub,
        trainers: site.trainers,
        progress,
    };
    let trainer = fetch.trainer()?;
    let fetched = plan.base.as_ref().map(|base| fetch.base(base)).transpose()?;
    let model = match &fetched {
        Some(found) => Some(understand(&found.sources, found.tokenizer.as_ref(), &plan)?),
        None => None,
    };
    let trainers = trainer.pack(&ingest, progress)?;
    let packed = match (&model, &fetched) {
        (Some(model), Some(fetched)) => {
            let packer = Packer { ingest: &ingest, progress, digests: &fetched.digests };
            Some(packer.pack(model)?)
        }
        _ => None,
    };
    let provenance = fetched.as_ref().map(|f| f.provenance.clone()).unwrap_or_default();
    let each = trainers.into_iter().map(|t| Assembly::of(&plan, t, model.as_ref(), packed.as_ref()));
    let facts = model.as_ref().map(|m| provenance.over(m.facts.clone()));
    let pack = assemble(site, &ingest, each.collect(), facts, &provenance)?;
    site.finish(&ingest, &pack)?;
    // Last, where a person looks; an error would be all that counts.
    model.iter().flat_map(|model| &model.notes).for_each(|note| progress.note(note));
    Ok(Built { pack, held: ingest.reading()? })
}

/// One platform's image before it is one.
struct Assembly {
    trainer: Vec<Layer>,
    base: Vec<Layer>,
    job: Job,
    /// Directories of the model.
    dirs: BTreeSet<String>,
    config: RuntimeConfig,
    platform: Platform,
}

impl Assembly {
    fn of(plan: &BuildPlan, trainer: PackedTrainer, model: Option<&BaseModel>, base: Option<&PackedBase>) -> Self {
        let job = plan.job(JobParts {
            base: base.map(|b| b.base.clone()),
            trainer: trainer.job,
            tensors: model.and_then(|m| m.tensors.clone()),
            positions: model.and_then(|m| m.positions),
        });
        Self {
            trainer: trainer.layers,
            base: base.map(|b| b.layers.clone()).unwrap_or_default(),
            job,
            dirs: model.map(BaseModel::dirs).unwrap_or_default(),
            config: trainer.config,
            platform: trainer.platform,
        }
    }
}

impl Site<'_> {
    /// Says what the pack is made of, then gives it its name: a build that fails names nothing.
    fn finish(&self, ingest: &Ingest<'_>, pack: &Pack) -> Result<(), BuildError> {
        if let Some(bill) = self.bill {
            bill::attach(ingest, self.reference, pack, bill)?;
        }
        Ok(ingest.put_pack(self.reference, pack)?)
    }
}

/// An image a platform, and the model's artifact over the same layers.
fn assemble(
    site: &Site<'_>,
    ingest: &Ingest<'_>,
    assemblies: Vec<Assembly>,
    facts: Option<ModelFacts>,
    provenance: &Provenance,
) -> Result<Pack, BuildError> {
    let mut images = Vec::new();
    for each in assemblies {
        let described = each.job.base.as_ref().zip(facts.as_ref());
        let annotations = described.map(|(base, facts)| provenance.annotations(base, facts)).unwrap_or_default();
        let job_layer = job_layer(ingest, site.progress, &each.job, each.dirs)?;
        let layers = [each.trainer, each.base, vec![job_layer]].concat();
        if layers.len() > MAX_LAYERS {
            return Err(BuildError::Layers(layers.len()));
        }
        let image = Image::base(BaseImage {
            name: each.job.name,
            architecture: each.platform.architecture,
            variant: each.platform.variant,
            config: each.config,
            layers,
            annotations,
        });
        images.push(match site.created {
            Some(seconds) => image.created_at(&hone_sbom::date(seconds)),
            None => image,
        });
    }
    let artifact = images.first().zip(facts).and_then(|(image, facts)| modelpack::artifact(image, &facts));
    Ok(Pack::new(images, artifact.into_iter().collect()))
}

/// The job, `/hone/out`, and every directory of the model: a weight layer holds its file alone, and engines
/// make the directories above it as they like (docker 20.10 with mode 0600).
fn job_layer(
    ingest: &Ingest<'_>,
    progress: &dyn Progress,
    job: &Job,
    mut dirs: BTreeSet<String>,
) -> Result<Layer, BuildError> {
    // A trainer's image may say no command; what is found out on the device is found out too late.
    job.check()?;
    let step = progress.step("job", None);
    let bytes = job.to_bytes();
    let path = JOB_PATH.trim_start_matches('/');
    dirs.extend(["hone".to_owned(), "hone/out".to_owned(), path.to_owned()]);
    let mut writer = ingest.tar_layer(LayerKind::Job)?;
    for entry in &dirs {
        if entry == path {
            writer.tar().file(path, false, bytes.len() as u64, &mut &bytes[..])?;
        } else {
            writer.tar().add(entry, Entry::Dir)?;
        }
    }
    let layer = writer.finish()?;
    step.done(layer.descriptor.size, layer.descriptor.digest);
    Ok(layer)
}
