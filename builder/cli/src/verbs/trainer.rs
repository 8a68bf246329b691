//! `hone trainer pack`: a root file system becomes a trainer that Honefiles can name.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hone_base::Tree;
use hone_image::image::BaseImage;
use hone_image::oci::RuntimeConfig;
use hone_image::sbom::{self, CRATES_PATH};
use hone_image::{Image, LayerKind, Reference};
use hone_store::Store;

use crate::failure::{Failure, because};
use crate::layout::write_layout;
use crate::output;

/// Arguments of `hone trainer`.
#[derive(Debug, Args)]
pub struct Trainer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Pack a root file system as a trainer: an OCI layout with one image; the same tree gives the same bytes
    Pack(Pack),
}

/// Arguments of `hone trainer pack`.
#[derive(Debug, Args)]
struct Pack {
    /// The root file system
    #[arg(value_name = "ROOTFS")]
    rootfs: PathBuf,
    /// The layout to write; replaced when it is there
    #[arg(value_name = "LAYOUT")]
    layout: PathBuf,
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
}

impl Trainer {
    /// Packs.
    pub fn run(self) -> Result<(), Failure> {
        let Action::Pack(pack) = self.action;
        let packing = because(format!("pack trainer {}", pack.rootfs.display()));
        pack.run().map_err(packing)
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

    fn run(self) -> Result<(), Failure> {
        let tree = Tree::scan(&self.rootfs)?;
        tree.refuse_reserved()?;
        check_crates(&tree)?;
        let Some(architecture) = tree.architecture()? else {
            return Err("there is no program for a known processor in it".into());
        };
        let config = self.config()?;
        let name = self.layout.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let reference: Reference = name.parse()?;
        let others = self.append.then(|| others(&self.layout, architecture)).transpose()?.unwrap_or_default();
        let mut digest = None;
        write_layout(&self.layout, |to| {
            let mut writer = to.layer(LayerKind::Trainer)?;
            tree.write(writer.tar(), &mut |_| {})?;
            let base = BaseImage {
                name,
                architecture: architecture.to_owned(),
                variant: None,
                config,
                layers: vec![writer.finish()?],
                annotations: Default::default(),
            };
            let image = Image::base(base);
            let from = Store::at(&self.layout);
            for layer in others.iter().flat_map(Image::layers) {
                to.take(&layer.descriptor, &from)?;
            }
            let pack = packed(image, others);
            digest = Some(pack.digest());
            Ok(to.put_pack(&reference, &pack)?)
        })?;
        let digest = digest.map(|d| d.to_string()).unwrap_or_default();
        output::report(&format!("{} {digest} ({})\n", self.layout.display(), output::size(tree.size())))
    }
}

/// The list of what the trainer's program is made of is read when a bill of materials is written: too late to mend it.
fn check_crates(tree: &Tree) -> Result<(), Failure> {
    let path = CRATES_PATH.trim_start_matches('/');
    let Some(item) = tree.items().iter().find(|item| item.path == path) else { return Ok(()) };
    let mut bytes = Vec::new();
    tree.open(item)?.take(sbom::MAX_CRATES as u64 + 1).read_to_end(&mut bytes)?;
    match sbom::crates(&bytes)?.as_slice() {
        [] => {
            Err(format!("{CRATES_PATH}: it lists nothing; list what the program is made of, or leave the file out")
                .into())
        }
        _ => Ok(()),
    }
}

/// The images that a layout has for other processors.
fn others(layout: &Path, architecture: &str) -> Result<Vec<Image>, Failure> {
    let store = Store::at(layout);
    if !layout.join("index.json").is_file() {
        return Ok(Vec::new());
    }
    let pack = store.pack(store.only(None)?.digest)?;
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
