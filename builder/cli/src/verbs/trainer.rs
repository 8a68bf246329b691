//! `hone trainer pack`: a root file system becomes a trainer that Honefiles can name.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hone_archive::layout::{self, Adding, Layout};
use hone_contract::Reference;
use hone_image::image::BaseImage;
use hone_image::oci::RuntimeConfig;
use hone_image::transport::Place;
use hone_image::{Image, Layer, LayerKind};
use hone_sbom::{CRATES_PATH, MAX_CRATES};
use hone_store::Store;
use hone_tree::Tree;
use serde_json::json;

use crate::answer::Form;
use crate::failure::{Failure, because};
use crate::layout::outside_of_stores;
use crate::output;

/// Arguments of `hone trainer`.
#[derive(Debug, Args)]
pub struct Trainer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Pack a root file system as a trainer: an image in an OCI layout; the same tree gives the same bytes
    Pack(Pack),
}

/// Arguments of `hone trainer pack`.
#[derive(Debug, Args)]
struct Pack {
    /// The root file system
    #[arg(value_name = "ROOTFS")]
    rootfs: PathBuf,
    /// The layout to add it to: DIR, where it is called as the directory, or DIR:TAG; what has this name is replaced
    #[arg(value_name = "LAYOUT")]
    layout: Place,
    /// Keep the images that the layout has for other processors: Honefiles with `platforms` find them all there
    #[arg(long)]
    append: bool,
    /// The program that trains
    #[arg(long, value_name = "PATH", default_value = "/hone/bin/hone-train")]
    entrypoint: String,
    /// Its arguments, one an option; '' for none
    #[arg(long, value_name = "ARG", default_values_t = ["train".to_owned()])]
    cmd: Vec<String>,
    /// Who runs it: uid:gid, or a name of its /etc/passwd; '' for root
    #[arg(long, default_value = "65532:65532")]
    user: String,
    /// Its environment, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Its directory
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// A label of its image, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    #[command(flatten)]
    form: Form,
}

impl Trainer {
    /// Packs.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let Action::Pack(pack) = self.action;
        let packing = because(format!("pack trainer {}", pack.rootfs.display()));
        pack.run(store).map_err(packing)
    }
}

impl Pack {
    fn config(&self) -> Result<RuntimeConfig, Failure> {
        let label = |pair: &String| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("--label {pair}: want NAME=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        let labels = self.label.iter().map(label).collect::<Result<_, String>>()?;
        let cmd: Vec<String> = self.cmd.iter().filter(|word| !word.is_empty()).cloned().collect();
        Ok(RuntimeConfig {
            user: Some(self.user.clone()).filter(|user| !user.is_empty()),
            env: Some(self.env.clone()).filter(|env| !env.is_empty()),
            entrypoint: Some(vec![self.entrypoint.clone()]),
            cmd: Some(cmd).filter(|cmd| !cmd.is_empty()),
            working_dir: self.workdir.clone(),
            labels: Some(labels),
            ..RuntimeConfig::default()
        })
    }

    fn run(self, own: &Store) -> Result<(), Failure> {
        let dir = &self.layout.dir;
        outside_of_stores(dir, own)?;
        layout::check(dir)?;
        let tree = Tree::scan(&self.rootfs)?;
        tree.refuse_reserved()?;
        check_crates(&tree)?;
        let Some(architecture) = tree.architecture()? else {
            return Err("there is no program for a known processor in it".into());
        };
        let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let reference: Reference = name.parse()?;
        let tag = self.layout.tag.clone().unwrap_or_else(|| reference.to_string());
        let mut adding = Adding::at(dir)?;
        let others = self.append.then(|| others(dir, &tag, architecture)).transpose()?.unwrap_or_default();
        for layer in others.iter().flat_map(Image::layers) {
            adding.take(&layer.descriptor, &Store::at(dir))?;
        }
        let base = BaseImage {
            name,
            architecture: architecture.to_owned(),
            variant: None,
            config: self.config()?,
            layers: vec![pack_tree(&tree, &mut adding)?],
            annotations: Default::default(),
        };
        let pack = packed(Image::base(base), others);
        for (_, bytes) in pack.documents() {
            adding.put(bytes)?;
        }
        adding.name(&tag, &pack.descriptor(), None);
        adding.publish()?;
        let (digest, size) = (pack.digest(), tree.size());
        let answer = json!({"layout": dir, "name": tag, "digest": digest, "size": size});
        self.form.report(&answer, |_| format!("{} {digest} ({})\n", dir.display(), output::size(size)))
    }
}

/// The layer of a trainer, packed on the layout's own disk.
fn pack_tree(tree: &Tree, adding: &mut Adding) -> Result<Layer, Failure> {
    let scratch = adding.scratch()?;
    let store = Store::at(scratch.path());
    let ingest = store.ingest()?;
    let mut writer = ingest.layer(LayerKind::Trainer)?;
    tree.write(writer.tar(), &mut |_| {})?;
    let layer = writer.finish()?;
    adding.take(&layer.descriptor, &store)?;
    Ok(layer)
}

/// The list of what the trainer's program is made of is read when a bill of materials is written: too late to mend it.
fn check_crates(tree: &Tree) -> Result<(), Failure> {
    let path = CRATES_PATH.trim_start_matches('/');
    let Some(item) = tree.items().iter().find(|item| item.path == path) else { return Ok(()) };
    let mut bytes = Vec::new();
    tree.open(item)?.take(MAX_CRATES as u64 + 1).read_to_end(&mut bytes)?;
    match hone_sbom::crates(&bytes)?.as_slice() {
        [] => {
            Err(format!("{CRATES_PATH}: it lists nothing; list what the program is made of, or leave the file out")
                .into())
        }
        _ => Ok(()),
    }
}

/// The images that a layout has under this name for other processors.
fn others(dir: &Path, tag: &str, architecture: &str) -> Result<Vec<Image>, Failure> {
    let layout = Layout::at(dir)?;
    let Some(named) = layout.named(tag)? else {
        return match layout.is_empty() {
            true => Ok(Vec::new()),
            false => {
                Err(format!("--append: {} has no trainer called {tag}; {}", dir.display(), layout.names()).into())
            }
        };
    };
    let pack = layout.store().pack_of(named)?;
    Ok(pack.images().iter().filter(|i| i.config().value().architecture != architecture).cloned().collect())
}

/// One image alone, or an index of them in the order of their processors' names.
fn packed(image: Image, others: Vec<Image>) -> hone_image::Pack {
    if others.is_empty() {
        return hone_image::Pack::alone(image);
    }
    let mut images = [others, vec![image]].concat();
    images.sort_by(|a, b| a.config().value().architecture.cmp(&b.config().value().architecture));
    hone_image::Pack::new(images, Vec::new())
}
