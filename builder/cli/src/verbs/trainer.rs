//! `hone trainer pack`: a root file system becomes a trainer that Honefiles can name.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hone_image::image::BaseImage;
use hone_image::oci::RuntimeConfig;
use hone_image::{Image, LayerKind, Reference};

use crate::failure::{Failure, because};
use crate::layout::write_layout;
use crate::output;
use crate::tree::Tree;

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
    fn run(self) -> Result<(), Failure> {
        let tree = Tree::scan(&self.rootfs)?;
        tree.refuse_reserved()?;
        let Some(architecture) = tree.architecture()? else {
            return Err("there is no program for a known processor in it".into());
        };
        let name = self.layout.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let reference: Reference = name.parse()?;
        let label = |pair: &String| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let labels =
            self.label.iter().map(|pair| label(pair).ok_or_else(|| format!("--label {pair}: want NAME=VALUE")));
        let cmd: Vec<String> = self.cmd.into_iter().filter(|word| !word.is_empty()).collect();
        let config = RuntimeConfig {
            user: Some(self.user).filter(|user| !user.is_empty()),
            env: (!self.env.is_empty()).then_some(self.env),
            entrypoint: Some(vec![self.entrypoint]),
            cmd: Some(cmd).filter(|cmd| !cmd.is_empty()),
            working_dir: self.workdir,
            labels: Some(labels.collect::<Result<_, _>>()?),
            ..RuntimeConfig::default()
        };
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
            digest = Some(image.digest());
            Ok(to.put_image(&reference, &image)?)
        })?;
        let digest = digest.map(|d| d.to_string()).unwrap_or_default();
        output::print(&format!("{} {digest} ({})\n", self.layout.display(), output::size(tree.size())))
    }
}
