//! The trainer of an image: a layout that comes with Hone, or a user's own root file system.

use std::io;
use std::path::{Path, PathBuf};

use hone_image::job::Trainer;
use hone_image::oci::RuntimeConfig;
use hone_image::{Image, Layer, LayerKind};
use hone_plan::{RootfsPlan, TrainerPlan};
use hone_store::{Ingest, Store};

use super::trainer_job;
use crate::external::beside;
use crate::failure::{Failure, because};
use crate::progress::Progress;
use crate::tree::Tree;

/// Where trainers are looked for first.
const TRAINERS: &str = "HONE_TRAINERS";

/// A trainer that was found and can be packed.
pub struct FoundTrainer {
    plan: TrainerPlan,
    found: Found,
}

enum Found {
    Nothing,
    Layout(Store, Box<Image>),
    Tree(Tree, RootfsPlan),
}

/// A trainer whose layers are in the store.
#[derive(Debug, Default)]
pub struct PackedTrainer {
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// What the job says of it.
    pub job: Option<Trainer>,
    /// What a container starts with.
    pub config: RuntimeConfig,
    /// GOARCH of its programs.
    pub architecture: Option<String>,
    /// GOARCH variant.
    pub variant: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("trainer {name}: not found in {}; `./x build` makes it, `hone trainer pack` makes one from a directory, {TRAINERS}=DIR names another place", places(.looked))]
struct NoTrainer {
    name: String,
    looked: Vec<PathBuf>,
}

/// Finds the trainer that a plan names; a root file system's path is relative to `dir`.
pub fn find(dir: &Path, plan: &TrainerPlan) -> Result<FoundTrainer, Failure> {
    let found = match plan {
        TrainerPlan::None => Found::Nothing,
        TrainerPlan::BuiltIn(name) => {
            let path = layout(name)?;
            let store = Store::at(&path);
            let reading = because(format!("read trainer {}", path.display()));
            let image = store.only_image().map_err(reading)?;
            Found::Layout(store, Box::new(image))
        }
        TrainerPlan::Rootfs(own) => {
            let tree = Tree::scan(&dir.join(&own.dir)).map_err(because("trainer.rootfs"))?;
            tree.refuse_reserved().map_err(because("trainer.rootfs"))?;
            Found::Tree(tree, own.clone())
        }
    };
    Ok(FoundTrainer { plan: plan.clone(), found })
}

impl FoundTrainer {
    /// Puts its layers into the store.
    pub fn pack(&self, ingest: &Ingest<'_>, progress: Progress) -> Result<PackedTrainer, Failure> {
        let mut packed = match &self.found {
            Found::Nothing => return Ok(PackedTrainer::default()),
            Found::Layout(from, image) => import(ingest, from, image, progress)?,
            Found::Tree(tree, own) => pack_tree(ingest, tree, own, progress)?,
        };
        packed.job = trainer_job(&self.plan, &packed.layers, packed.config.command_line());
        Ok(packed)
    }
}

fn import(ingest: &Ingest<'_>, from: &Store, image: &Image, progress: Progress) -> Result<PackedTrainer, Failure> {
    let mut layers = Vec::new();
    for layer in image.layers() {
        let descriptor = &layer.descriptor;
        let step = progress.step("trainer", Some(descriptor.size));
        if !ingest.store().has(descriptor.digest, descriptor.size) {
            ingest.copy(descriptor, from.open_blob(descriptor.digest, descriptor.size)?)?;
            // The copy earned its digest; its diff id is still the layout's word.
            let mut tar = ingest.store().open_layer(layer)?;
            io::copy(&mut tar, &mut io::sink()).map_err(because(format!("read layer {}", descriptor.digest)))?;
        }
        step.done(descriptor.size, &descriptor.digest.to_string());
        layers.push(layer.of_kind(LayerKind::Trainer));
    }
    let config = image.config().value();
    Ok(PackedTrainer {
        layers,
        job: None,
        config: config.config.clone(),
        architecture: Some(config.architecture.clone()),
        variant: config.variant.clone(),
    })
}

fn pack_tree(
    ingest: &Ingest<'_>,
    tree: &Tree,
    own: &RootfsPlan,
    progress: Progress,
) -> Result<PackedTrainer, Failure> {
    let step = progress.step("trainer", Some(tree.size()));
    let mut writer = ingest.layer(LayerKind::Trainer)?;
    tree.write(writer.tar(), &mut |n| step.seen(n))?;
    let layer = writer.finish()?;
    step.done(layer.descriptor.size, &layer.descriptor.digest.to_string());
    let config = RuntimeConfig {
        user: own.user.clone(),
        env: Some(own.env.clone()),
        cmd: Some(own.command.clone()),
        working_dir: own.workdir.clone(),
        ..RuntimeConfig::default()
    };
    let architecture = tree.architecture()?.map(str::to_owned);
    Ok(PackedTrainer { layers: vec![layer], job: None, config, architecture, variant: None })
}

/// Where the layout of a built-in trainer is.
fn layout(name: &str) -> Result<PathBuf, Failure> {
    let mut looked = Vec::new();
    if let Some(dir) = std::env::var_os(TRAINERS).filter(|dir| !dir.is_empty()) {
        looked.push(PathBuf::from(dir).join(name));
    }
    looked.push(beside("trainers")?.join(name));
    looked.push(beside("../share/hone/trainers")?.join(name));
    match looked.iter().find(|path| path.join("index.json").is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(NoTrainer { name: name.to_owned(), looked }.into()),
    }
}

fn places(looked: &[PathBuf]) -> String {
    looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}
