//! An image that somebody else's builder made of a Honefile, as Hone's own layers: the same files and the same job, one
//! layer a weight, digests that repeat.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use hone_base::{BaseModel, Provenance, Sources, facts_of, is_weight};
use hone_contract::job::{Base, JOB_PATH, Job, Trainer};
use hone_contract::progress::Silent;
use hone_contract::{Digest, identity};
use hone_image::modelpack::ModelFacts;
use hone_image::oci::{Platform, RuntimeConfig};
use hone_image::tar::check_path;
use hone_image::untar::{self, Kind};
use hone_image::{Image, Layer, LayerKind, Pack};
use hone_plan::ROOTFS;
use hone_store::{Budget, Ingest, Store, contents};
use hone_tree::Tree;

use crate::artifact::{Local, model};
use crate::base::Packer;
use crate::error::{BuildError, ConversionError, at};
use crate::fetch::Model;
use crate::trainer::pack_tree;
use crate::{Assembly, Built, Site, assemble};

/// What begins every label that Hone writes.
const LABELS: &str = "dev.hone.";
/// A job layer is not larger than this (bytes): larger layers are not looked into for a job.
const LARGEST_JOB_LAYER: u64 = 16 << 20;
/// Bytes of the paths of one layer's directories; ten thousand have less than one megabyte.
const MAX_PATHS: usize = 256 << 20;

/// Makes Hone's own of the pack `from`, whose blobs are in the store.
///
/// # Errors
/// When it was built of no Honefile, or is not what its job says; the store's names are then as they were.
pub fn from_image(site: &Site<'_>, from: &Pack) -> Result<Built, BuildError> {
    let converting = at("make Hone's layers of the image");
    let convert = || -> Result<Built, BuildError> {
        let ingest = site.store.ingest()?;
        let mut assemblies = Vec::new();
        let (mut facts, mut provenance) = (None, Provenance::default());
        for image in from.images() {
            let (assembly, seen) = one(site, &ingest, image)?;
            // A frontend says of each platform's image what is true of all.
            provenance = provenance.or(Provenance::annotated(&image.manifest().value().annotations));
            facts = facts.or(seen.map(|seen| provenance.over(seen)));
            assemblies.push(assembly);
        }
        let pack = assemble(site, &ingest, assemblies, facts, &provenance)?;
        site.finish(&ingest, &pack)?;
        Ok(Built { pack, held: ingest.reading()? })
    };
    convert().map_err(converting)
}

fn one(site: &Site<'_>, ingest: &Ingest<'_>, image: &Image) -> Result<(Assembly, Option<ModelFacts>), BuildError> {
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
            return Err(ConversionError::Identity { got, want }.into());
        }
        dirs = base_model.dirs();
        base_layers = packed.layers;
        facts = Some(base_model.facts);
    }
    let trainer = match &job.trainer {
        Some(trainer) => trainer_layers(site, ingest, image, trainer)?,
        None => Vec::new(),
    };
    let config = image.config().value();
    let platform = Platform::linux(&config.architecture, config.variant.as_deref());
    Ok((Assembly { trainer, base: base_layers, job, dirs, config: own_config(&config.config), platform }, facts))
}

/// The topmost `/hone/job.json`.
fn job_of(store: &Store, image: &Image) -> Result<Job, BuildError> {
    let path = JOB_PATH.trim_start_matches('/');
    let budget = Budget::of_image(image);
    for layer in image.layers().iter().rev().filter(|l| l.descriptor.size <= LARGEST_JOB_LAYER) {
        if let Some(bytes) = contents::read(store, layer, &budget, &[path], &Silent)?.kept.get(path) {
            return Ok(Job::parse(bytes)?);
        }
    }
    Err(ConversionError::NoJob.into())
}

/// The lowest layers, as many as the job's trainer has: they are told by its digest.
fn trainer_layers(
    site: &Site<'_>,
    ingest: &Ingest<'_>,
    image: &Image,
    trainer: &Trainer,
) -> Result<Vec<Layer>, BuildError> {
    let diff_ids: Vec<Digest> = image.layers().iter().map(|layer| layer.diff_id).collect();
    for n in 1..=diff_ids.len() {
        if identity::of_trainer(&diff_ids[..n]) == trainer.digest {
            return Ok(image.layers()[..n].iter().map(|l| l.of_kind(LayerKind::Trainer)).collect());
        }
    }
    // A root file system is named by the layer that `hone build` makes of it, which is not BuildKit's.
    if let (ROOTFS, Some(lowest)) = (&*trainer.name, image.layers().first()) {
        let layer = packed_again(site, ingest, lowest).map_err(at("pack the trainer's root file system"))?;
        if identity::of_trainer(&[layer.diff_id]) == trainer.digest {
            return Ok(vec![layer]);
        }
    }
    Err(ConversionError::Trainer(trainer.name.clone()).into())
}

/// The tree that is in a layer, as Hone packs trees.
fn packed_again(site: &Site<'_>, ingest: &Ingest<'_>, layer: &Layer) -> Result<Layer, BuildError> {
    let scratch = ingest.scratch_dir()?;
    let mut tar = site.store.open_layer(layer, &Budget::of_layer(layer))?;
    let mut unpacking = Unpacking::new(scratch.path(), untar::MAX_ENTRIES);
    untar::walk(&mut tar, untar::MAX_ENTRIES, &mut |entry| unpacking.entry(entry))?;
    pack_tree(ingest, &Tree::scan(scratch.path())?, site.progress)
}

/// A tree that is made of a layer's entries, in a directory of our own.
struct Unpacking<'r> {
    root: &'r Path,
    /// Directories so far: nobody else writes here, so what is made is what is there.
    made: HashSet<String>,
    /// How many more there may be, and bytes of their paths.
    left: (usize, usize),
}

impl<'r> Unpacking<'r> {
    fn new(root: &'r Path, most: usize) -> Self {
        Self { root, made: HashSet::new(), left: (most, MAX_PATHS) }
    }

    /// Makes an entry, as far as it is of a tree that is packed. What would go through a link is left out, and the digest
    /// is then another one.
    fn entry(&mut self, entry: &mut untar::Entry<'_, '_>) -> io::Result<()> {
        if entry.kind() == Kind::Global {
            return Ok(());
        }
        let Some((name, path)) = self.inside(entry.path())? else { return Ok(()) };
        let mode = |mode: u32| fs::Permissions::from_mode(0o600 | mode);
        match entry.kind() {
            Kind::Directory => {
                if !self.directory(&name)? {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::set_permissions(&path, mode(0o100 | entry.mode()? & 0o1000))
            }
            Kind::File | Kind::Sparse => {
                io::copy(entry, &mut fs::File::create_new(&path)?)?;
                fs::set_permissions(&path, mode(entry.mode()? & 0o100))
            }
            Kind::Symlink => symlink(OsStr::from_bytes(entry.link()), &path),
            Kind::HardLink => self.inside(entry.link())?.map_or(Ok(()), |(_, twin)| fs::hard_link(twin, &path)),
            _ => Ok(()),
        }
    }

    /// Where an entry of this name belongs: beneath directories, which are made when no entry made them. A name that no
    /// layer of ours has is refused before anything is made.
    fn inside(&mut self, name: &[u8]) -> io::Result<Option<(String, PathBuf)>> {
        let name = untar::clean(std::str::from_utf8(name).map_err(io::Error::other)?)?;
        if !name.is_empty() {
            check_path(&name).map_err(io::Error::other)?;
        }
        let path = self.root.join(&name);
        Ok(self.directory(above(&name))?.then_some((name, path)))
    }

    /// Makes a directory and those above it; `false` where one of them is something else.
    fn directory(&mut self, path: &str) -> io::Result<bool> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.is_empty() && !self.made.contains(at) {
            missing.push(at);
            at = above(at);
        }
        for dir in missing.into_iter().rev() {
            let left = self.left.0.checked_sub(1).zip(self.left.1.checked_sub(dir.len()));
            self.left = left.ok_or_else(|| io::Error::other("more directories than any layer has"))?;
            match fs::create_dir(self.root.join(dir)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                made => made?,
            }
            self.made.insert(dir.to_owned());
        }
        Ok(true)
    }
}

/// The directory that a clean path is in; empty for the root.
fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Names relative to the base's directory, which may lie above what all files have in common.
fn rename(sources: &mut Sources, base: &Base) -> Result<(), ConversionError> {
    let wanted = |name: &str| base.files.iter().find(|f| f.path == name || f.path.ends_with(&format!("/{name}")));
    for file in &mut sources.files {
        let found = wanted(&file.name).ok_or_else(|| ConversionError::Unknown(file.name.clone()))?;
        file.name = found.path.clone();
    }
    match base.files.iter().find(|f| sources.get(&f.path).is_none()) {
        Some(absent) => Err(ConversionError::Missing(format!("{}/{}", base.path, absent.path))),
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
        positions: None,
        notes: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes files of these names below a directory, and at most `most` directories; how many there are, or why not all.
    fn deep(names: &[String], most: usize) -> (usize, Result<(), String>) {
        let root = tempfile::tempdir().expect("directory");
        let mut tar = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, io::empty()).expect("memory");
        }
        let mut unpacking = Unpacking::new(root.path(), most);
        let tar = tar.into_inner().expect("memory");
        let done: io::Result<()> = untar::walk(&mut &tar[..], names.len(), &mut |entry| unpacking.entry(entry));
        (unpacking.made.len(), done.map_err(|error| error.to_string()))
    }

    #[test]
    fn directories_that_a_few_entries_ask_for_are_bounded() {
        let name = |n: usize, depth: usize| format!("{n}/{}f", "d/".repeat(depth));
        let (made, done) = deep(&[name(0, 2000)], 10_000);
        assert!(
            made == 0 && done.as_ref().is_err_and(|said| said.contains("longer than 1024 bytes")),
            "{made} {done:?}"
        );
        let names: Vec<String> = (0..8).map(|n| name(n, 400)).collect();
        assert_eq!(deep(&names, 8 * 401), (8 * 401, Ok(())));
        let (made, done) = deep(&names, 1000);
        assert_eq!((made, done), (1000, Err("more directories than any layer has".to_owned())));
        // Those that are there cost nothing.
        assert_eq!(deep(&["a/b/f".into(), "a/b/g".into(), "./a//b/h".into()], 2), (2, Ok(())));
    }

    /// Makes these entries below a directory: kind, name, where a link leads.
    fn made(entries: &[(u8, &str, &str)]) -> tempfile::TempDir {
        let site = tempfile::tempdir().expect("directory");
        fs::create_dir(site.path().join("root")).expect("root");
        fs::write(site.path().join("file"), "untouched").expect("file");
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, link) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::new(*kind));
            header.set_mode(0o5511);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
            let content: &[u8] = if *kind == b'0' { b"content" } else { b"" };
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content).expect("memory");
        }
        let (tar, root) = (tar.into_inner().expect("memory"), site.path().join("root"));
        let mut unpacking = Unpacking::new(&root, 99);
        let unpacked: io::Result<()> = untar::walk(&mut &tar[..], 99, &mut |entry| unpacking.entry(entry));
        // It may fail; it may not reach out.
        drop(unpacked);
        assert_eq!(fs::read_to_string(site.path().join("file")).expect("file"), "untouched");
        assert_eq!(fs::read_dir(site.path()).expect("site").count(), 2);
        site
    }

    #[test]
    fn a_layer_is_made_beneath_its_directory_and_nowhere_else() {
        let site = made(&[
            (b'5', "./", ""),
            (b'5', "bin/", ""),
            (b'0', "bin/tool", ""),
            (b'1', "bin/twin", "bin/tool"),
            (b'2', "link", "bin/tool"),
            (b'0', "deep/er/file", ""),
            (b'3', "null", ""),
        ]);
        let tree = Tree::scan(&site.path().join("root")).expect("a tree");
        let names: Vec<_> = tree.items().iter().map(|item| item.path.as_str()).collect();
        assert_eq!(names, ["bin", "bin/tool", "bin/twin", "deep", "deep/er", "deep/er/file", "link"]);
        assert_eq!(fs::read_to_string(site.path().join("root/link")).expect("through the link"), "content");
        for out in ["..", "../file", "../../file", "a/../../file", "/../file"] {
            made(&[(b'0', out, "")]);
            made(&[(b'1', "twin", out), (b'0', "twin", "")]);
            made(&[(b'2', "door", out), (b'0', "door", "")]);
            made(&[(b'2', "door", out), (b'5', "door", ""), (b'0', "door/file", "")]);
        }
        made(&[(b'2', "door", ".."), (b'0', "door/file", ""), (b'0', "door/new", ""), (b'5', "door/file", "")]);
        made(&[(b'2', "door", ".."), (b'1', "twin", "door/file"), (b'0', "twin", "")]);
    }
}
