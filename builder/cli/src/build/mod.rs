//! A build: Honefile -> plan -> what is there -> layers -> image -> store.
//!
//! Everything that can be refused is refused before the first byte is packed. The name is given last; until then
//! the store's names are as they were.

mod honefile;
mod model;
mod pickle;
mod tokenizer;
mod trainer;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use hone_image::image::BaseImage;
use hone_image::job::{Base, BaseFile, JOB_PATH, Job, Trainer};
use hone_image::oci::RuntimeConfig;
use hone_image::tar::Entry;
use hone_image::{Digest, Image, Layer, LayerKind, Reference};
use hone_plan::{BuildPlan, JobParts, TrainerPlan};
use hone_store::{Ingest, Store};

use crate::failure::{Failure, because};
use crate::progress::Progress;
use model::BaseModel;
use trainer::FoundTrainer;

/// Architecture written for an image in which there is no program: weights have none, and the configuration
/// needs one.
const NO_PROGRAM: &str = "amd64";
/// What a container's PATH is when nobody sets it; docker's own default.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Builds the Honefile at `path` (or in the directory `path`) into `store` as `reference`.
pub fn build(store: &Store, path: &Path, reference: &Reference, progress: Progress) -> Result<Image, Failure> {
    let (dir, plan) = honefile::read(path)?;
    let trainer = trainer::find(&dir, &plan.trainer)?;
    let base = plan.base.as_ref().map(|base| model::find(&dir, base, &plan)).transpose()?;
    let ingest = store.ingest()?;
    let image = assemble(&Build { ingest: &ingest, plan: &plan, progress }, trainer, base)?;
    ingest.put_image(reference, &image)?;
    Ok(image)
}

struct Build<'a> {
    ingest: &'a Ingest<'a>,
    plan: &'a BuildPlan,
    progress: Progress,
}

fn assemble(build: &Build<'_>, trainer: FoundTrainer, base: Option<BaseModel>) -> Result<Image, Failure> {
    let packed = trainer.pack(build.ingest, build.progress)?;
    let mut layers = packed.layers;
    let mut parts = JobParts { trainer: packed.job, ..JobParts::default() };
    let mut dirs = BTreeSet::new();
    if let Some(base) = base {
        dirs.extend(parents(&base.dir).into_iter().chain([base.dir.clone()]));
        for file in base.weights.iter().chain(&base.texts) {
            dirs.extend(parents(&format!("{}/{}", base.dir, file.name)));
        }
        parts.tensors = base.tensors.clone();
        parts.base = Some(build.base(base, &mut layers)?);
    }
    let job = build.plan.job(parts);
    layers.push(build.job_layer(&job, dirs)?);
    Ok(Image::base(BaseImage {
        name: build.plan.name.clone(),
        architecture: packed.architecture.unwrap_or_else(|| NO_PROGRAM.to_owned()),
        variant: packed.variant,
        config: with_path(packed.config),
        layers,
    }))
}

/// A layer of small files, and the size and digest of each, by path.
struct Texts {
    layer: Layer,
    packed: Vec<(u64, Digest)>,
}

impl Build<'_> {
    /// Packs the model: a layer for each weight, one for its small files, one for a tokenizer that came apart.
    fn base(&self, base: BaseModel, layers: &mut Vec<Layer>) -> Result<Base, Failure> {
        let mut files = Vec::new();
        for file in &base.weights {
            let step = self.progress.step(&file.name, Some(file.size));
            let reader = File::open(&file.source).map_err(because(format!("open {}", file.source.display())))?;
            let path = format!("{}/{}", base.dir, file.name);
            let packed = self.ingest.weight(&path, reader, file.size, &mut |n| step.seen(n))?;
            step.done(file.size, &packed.layer.descriptor.digest.to_string());
            files.push(BaseFile { path: file.name.clone(), size: file.size, digest: packed.file });
            layers.push(packed.layer);
        }
        if !base.texts.is_empty() {
            let texts = base.texts.iter().map(|f| (format!("{}/{}", base.dir, f.name), f.source.as_path()));
            let Texts { layer, packed } = self.texts(LayerKind::Model, "model files", texts.collect())?;
            layers.push(layer);
            let names = base.texts.iter().map(|f| f.name.clone());
            files.extend(names.zip(packed).map(|(path, (size, digest))| BaseFile { path, size, digest }));
        }
        if !base.tokenizer_files.is_empty() {
            let texts =
                base.tokenizer_files.iter().map(|f| (format!("hone/tokenizer/{}", f.name), f.source.as_path()));
            layers.push(self.texts(LayerKind::Tokenizer, "tokenizer", texts.collect())?.layer);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Base {
            identity: identity(&files),
            path: format!("/{}", base.dir),
            format: base.format.to_owned(),
            family: base.family.map(str::to_owned),
            files,
            tokenizer: base.tokenizer,
        })
    }

    /// Packs small files, each read once, as one zstd layer with the directories above them.
    fn texts(&self, kind: LayerKind, label: &str, files: BTreeMap<String, &Path>) -> Result<Texts, Failure> {
        let step = self.progress.step(label, None);
        let dirs: BTreeSet<String> = files.keys().flat_map(|path| parents(path)).collect();
        let mut packed = Vec::new();
        let mut writer = self.ingest.layer(kind)?;
        let all: BTreeSet<&String> = dirs.iter().chain(files.keys()).collect();
        for path in all {
            let Some(source) = files.get(path) else {
                writer.tar().add(path, Entry::Dir)?;
                continue;
            };
            let bytes = std::fs::read(source).map_err(because(format!("read {}", source.display())))?;
            writer.tar().file(path, false, bytes.len() as u64, &mut &bytes[..])?;
            packed.push((bytes.len() as u64, Digest::of(&bytes)));
        }
        let layer = writer.finish()?;
        step.done(layer.descriptor.size, &layer.descriptor.digest.to_string());
        Ok(Texts { layer, packed })
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

/// The directories above a path, highest first.
fn parents(path: &str) -> Vec<String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
}

/// sha256 over the lines `<digest> <size> <path>\n`, by path (docs/contract.md).
fn identity(files: &[BaseFile]) -> Digest {
    let lines: String = files.iter().map(|f| format!("{} {} {}\n", f.digest, f.size, f.path)).collect();
    Digest::of(lines.as_bytes())
}

/// What the runtime must know of a trainer: its name, its content, its command line.
fn trainer_job(plan: &TrainerPlan, layers: &[Layer], command: Vec<String>) -> Option<Trainer> {
    let lines: String = layers.iter().map(|layer| format!("{}\n", layer.diff_id)).collect();
    let (name, readonly_root) = match plan {
        TrainerPlan::None => return None,
        TrainerPlan::BuiltIn(name) => (name.clone(), true),
        // A user's own program may write where it likes in its own root: that goes with the container.
        TrainerPlan::Rootfs(_) => ("rootfs".to_owned(), false),
    };
    Some(Trainer { name, digest: Digest::of(lines.as_bytes()), command, readonly_root })
}

fn with_path(mut config: RuntimeConfig) -> RuntimeConfig {
    let env = config.env.get_or_insert_default();
    if !env.iter().any(|pair| pair.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    config
}
