//! The trainer of an image, for each platform: a layout that comes with Hone, a user's own image or root file system.

use std::io;
use std::path::{Path, PathBuf};

use hone_contract::job::Trainer;
use hone_contract::progress::Progress;
use hone_contract::{Digest, Pinned};
use hone_image::oci::{Descriptor, Platform, RuntimeConfig};
use hone_image::platform::best;
use hone_image::walk::{Follow, Part, Walk};
use hone_image::{Document, Image, Layer, LayerKind};
use hone_plan::{TrainerPlan, TrainerSource};
use hone_registry::Repository;
use hone_store::{Budget, Ingest, Store, this_machine};
use hone_tree::Tree;

use crate::error::{BuildError, TrainerError, at, io_at};
use crate::fetch::Fetch;

/// Architecture written for an image in which there is no program: weights have none, and the configuration
/// needs one.
const NO_PROGRAM: &str = "amd64";

/// A trainer that was found and can be packed.
pub struct FoundTrainer {
    plan: TrainerPlan,
    found: Found,
}

enum Found {
    Nothing(Vec<Platform>),
    /// Images of a layout or of this store, one a platform.
    Images(Store, Vec<Image>),
    Remote(Repository, Vec<Image>),
    Tree(Tree, Platform),
}

/// A trainer for one platform, whose layers are in the store.
#[derive(Debug)]
pub struct PackedTrainer {
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// What the job says of it.
    pub job: Option<Trainer>,
    /// What a container starts with.
    pub config: RuntimeConfig,
    /// What its programs are for.
    pub platform: Platform,
}

impl Fetch<'_> {
    /// Finds the trainer that the plan names, for each of its platforms.
    pub fn trainer(&self) -> Result<FoundTrainer, BuildError> {
        let found = match &self.plan.trainer {
            TrainerPlan::None => Found::Nothing(self.platforms_or(NO_PROGRAM)),
            TrainerPlan::BuiltIn(name) => {
                let path = self.built_in(name)?;
                self.of_layout(&path, None).map_err(at(format!("read trainer {}", path.display())))?
            }
            TrainerPlan::Own(own) => match &own.from {
                TrainerSource::Rootfs(dir) => self.of_tree(&self.dir.join(dir)).map_err(at("trainer.rootfs"))?,
                TrainerSource::Layout(place) => {
                    let layout = self.dir.join(&place.dir);
                    self.of_layout(&layout, place.tag.as_deref()).map_err(at("trainer.layout"))?
                }
                TrainerSource::Image(name) => self.of_name(name).map_err(at("trainer.image"))?,
            },
        };
        Ok(FoundTrainer { plan: self.plan.trainer.clone(), found })
    }

    fn platforms_or(&self, architecture: &str) -> Vec<Platform> {
        match self.plan.platforms.as_slice() {
            [] => vec![Platform::linux(architecture, None)],
            some => some.to_vec(),
        }
    }

    /// Where the layout of a built-in trainer is.
    fn built_in(&self, name: &str) -> Result<PathBuf, TrainerError> {
        let looked: Vec<PathBuf> = self.trainers.iter().map(|place| place.join(name)).collect();
        match looked.iter().find(|path| path.join("index.json").is_file()) {
            Some(path) => Ok(path.clone()),
            None => Err(TrainerError::None { name: name.to_owned(), looked }),
        }
    }

    fn of_layout(&self, path: &Path, tag: Option<&str>) -> Result<Found, BuildError> {
        let store = Store::at(path);
        self.ingest.hold(&store)?;
        let pack = store.pack_of(&store.only(tag)?)?;
        let images = self.chosen(&path.display().to_string(), pack.images())?;
        Ok(Found::Images(store, images))
    }

    /// As docker looks an image up: here first, then in its registry.
    fn of_name(&self, pinned: &Pinned) -> Result<Found, BuildError> {
        let name = &pinned.to_string();
        let here = self.ingest.store();
        let local = match pinned.digest {
            // What was pulled by its digest is here under another tag.
            Some(digest) => here.find(name).ok().filter(|found| *found == digest),
            None => here.references()?.get(&pinned.reference).map(|descriptor| descriptor.digest),
        };
        if let Some(digest) = local {
            let images = self.chosen(name, here.pack(digest)?.images())?;
            return Ok(Found::Images(here.clone(), images));
        }
        let repository = self.client.repository(&pinned.reference)?;
        let root = repository.manifest(&pinned.target())?;
        let root = Document::parse(Some(&root.media_type), root.bytes)?;
        let mut follow = Follow::joined();
        if let Document::Index(index) = &root {
            let manifests: Vec<&Descriptor> = index.value().manifests.iter().filter(|d| d.is_manifest()).collect();
            let wanted = self.picked(name, &manifests, |d| d.platform.clone())?;
            follow = follow.only(wanted.into_iter().map(|d| (*d).clone()).collect());
        }
        let mut images = Vec::new();
        for node in Walk::from(&repository, root, follow).strict() {
            if let Part::Image(image) = node?.part {
                images.push(*image);
            }
        }
        if images.is_empty() {
            return Err(TrainerError::NoImage(name.clone()).into());
        }
        Ok(Found::Remote(repository, self.chosen(name, &images)?))
    }

    fn of_tree(&self, dir: &Path) -> Result<Found, BuildError> {
        let tree = Tree::scan(dir)?;
        tree.refuse_reserved()?;
        let architecture = tree.architecture()?.unwrap_or(NO_PROGRAM);
        let own = Platform::linux(architecture, None);
        let name = || dir.display().to_string();
        match self.plan.platforms.as_slice() {
            [] => Ok(Found::Tree(tree, own)),
            [only] if only.architecture == own.architecture => Ok(Found::Tree(tree, only.clone())),
            wanted => {
                let want = wanted.iter().find(|p| p.architecture != own.architecture).unwrap_or(&wanted[0]).clone();
                let (want, has) = (want.to_string(), own.to_string());
                Err(TrainerError::Platform { name: name(), want, has }.into())
            }
        }
    }

    /// Of a trainer's images those for the plan's platforms, in its order; without any the one for this machine.
    fn chosen(&self, name: &str, images: &[Image]) -> Result<Vec<Image>, BuildError> {
        match (self.plan.platforms.as_slice(), images) {
            // It may be for a machine that nobody named; not for another system.
            ([], [only]) if only.platform().is_linux() => Ok(vec![only.clone()]),
            _ => Ok(self.picked(name, images, |image| Some(image.platform()))?.into_iter().cloned().collect()),
        }
    }

    /// The best of `all` for each platform that is wanted, in their order.
    fn picked<'t, T>(
        &self,
        name: &str,
        all: &'t [T],
        platform: impl Fn(&T) -> Option<Platform>,
    ) -> Result<Vec<&'t T>, BuildError> {
        let wanted = match self.plan.platforms.as_slice() {
            [] => vec![this_machine()],
            some => some.to_vec(),
        };
        let pick = |want: &Platform| {
            best(want, all, &platform).ok_or_else(|| {
                let has = all.iter().filter_map(&platform).filter(|p| !p.is_nobody());
                let has: Vec<String> = has.map(|p| p.to_string()).collect();
                TrainerError::Platform { name: name.to_owned(), want: want.to_string(), has: has.join(", ") }.into()
            })
        };
        wanted.iter().map(pick).collect()
    }
}

impl FoundTrainer {
    /// Puts its layers into the store; one for each platform.
    pub fn pack(&self, ingest: &Ingest<'_>, progress: &dyn Progress) -> Result<Vec<PackedTrainer>, BuildError> {
        match &self.found {
            Found::Nothing(platforms) => {
                let each = platforms.iter().cloned();
                Ok(each.map(|p| self.packed(Vec::new(), RuntimeConfig::default(), p)).collect())
            }
            Found::Images(from, images) => images
                .iter()
                .map(|image| {
                    let layers = import(ingest, image, progress, |layer| Ok(ingest.take(&layer.descriptor, from)?))?;
                    Ok(self.packed(layers, image.config().value().config.clone(), platform_of(image)))
                })
                .collect(),
            Found::Remote(repository, images) => images
                .iter()
                .map(|image| {
                    let layers = import(ingest, image, progress, |layer| {
                        hone_remote::blob(ingest, repository, &layer.descriptor, progress)?;
                        Ok(())
                    })?;
                    Ok(self.packed(layers, image.config().value().config.clone(), platform_of(image)))
                })
                .collect(),
            Found::Tree(tree, platform) => {
                let layer = pack_tree(ingest, tree, progress)?;
                Ok(vec![self.packed(vec![layer], RuntimeConfig::default(), platform.clone())])
            }
        }
    }

    fn packed(&self, layers: Vec<Layer>, image: RuntimeConfig, platform: Platform) -> PackedTrainer {
        let config = self.plan.config(image);
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let job = self.plan.job(&diff_ids, config.command_line());
        PackedTrainer { layers, job, config, platform }
    }
}

fn platform_of(image: &Image) -> Platform {
    let config = image.config().value();
    Platform::linux(&config.architecture, config.variant.as_deref())
}

/// Brings an image's layers into the store, each verified: its digest as it comes, its diff id after.
fn import(
    ingest: &Ingest<'_>,
    image: &Image,
    progress: &dyn Progress,
    bring: impl Fn(&Layer) -> Result<(), BuildError>,
) -> Result<Vec<Layer>, BuildError> {
    let (mut layers, budget) = (Vec::new(), Budget::of_image(image));
    for layer in image.layers() {
        let descriptor = &layer.descriptor;
        if layer.compression().is_none() {
            return Err(TrainerError::Layer(descriptor.digest).into());
        }
        if !ingest.has_intact(descriptor.digest, descriptor.size)? {
            bring(layer)?;
            let mut tar = ingest.store().open_layer(layer, &budget)?;
            io::copy(&mut tar, &mut io::sink()).map_err(io_at(format!("read layer {}", descriptor.digest)))?;
        }
        let step = progress.step("trainer", Some(descriptor.size));
        step.done(descriptor.size, descriptor.digest);
        layers.push(layer.of_kind(LayerKind::Trainer));
    }
    Ok(layers)
}

/// A root file system as one layer.
pub fn pack_tree(ingest: &Ingest<'_>, tree: &Tree, progress: &dyn Progress) -> Result<Layer, BuildError> {
    let step = progress.step("trainer", Some(tree.size()));
    let mut writer = ingest.layer(LayerKind::Trainer)?;
    tree.write(writer.tar(), &mut |n| step.seen(n))?;
    let layer = writer.finish()?;
    step.done(layer.descriptor.size, layer.descriptor.digest);
    Ok(layer)
}
