//! `hone install` and `hone uninstall`: an engine learns of Hone's runtime, and forgets it again.

use std::path::{Path, PathBuf};

use clap::Args;
use hone_engines::install::{self, Done, Target};
use hone_store::Store;

use crate::external::beside;
use crate::failure::{Failure, because};
use crate::output;

/// Arguments of `hone install`.
#[derive(Debug, Args)]
pub struct Install {
    #[command(flatten)]
    place: Place,
}

/// Arguments of `hone uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    /// docker, docker=ADDRESS or podman
    #[arg(value_name = "ENGINE")]
    engine: String,
    /// The engine's configuration file, when it is not the usual one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The program hone-runtime [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
}

impl Install {
    /// Registers the runtime.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let install = self.place.resolve(store)?;
        if !install.runtime.is_file() {
            return Err(format!("install {}: {} is not there", self.place.engine, install.runtime.display()).into());
        }
        report("registered", &self.place.engine, &install.install()?)
    }
}

impl Uninstall {
    /// Undoes what install did.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        report("removed", &self.place.engine, &self.place.resolve(store)?.uninstall()?)
    }
}

impl Place {
    fn resolve(&self, store: &Store) -> Result<install::Install, Failure> {
        let target = match self.engine.split_once('=').unwrap_or((&self.engine, "")) {
            ("docker", "") => Target::Docker { host: install::DOCKER_HOST.to_owned() },
            ("docker", address) => Target::Docker { host: address.to_owned() },
            ("podman", "") => Target::Podman,
            _ => return Err(format!("engine {}: want docker, docker=ADDRESS or podman", self.engine).into()),
        };
        let runtime = self.runtime.clone().map_or_else(|| beside("hone-runtime"), Ok)?;
        let absolute = |path: &Path| std::path::absolute(path).map_err(because(format!("find {}", path.display())));
        Ok(install::Install {
            target,
            root: absolute(store.root())?,
            runtime: absolute(&runtime)?,
            config: self.config.clone(),
        })
    }
}

fn report(what: &str, engine: &str, done: &Done) -> Result<(), Failure> {
    let file = done.config.display();
    let mut text = match done.changed {
        true => format!("{engine}: runtime hone {what} in {file}\n"),
        false => format!("{engine}: nothing to change in {file}\n"),
    };
    if !done.next.is_empty() {
        text.push_str(&format!("{}\n", done.next));
    }
    output::report(&text)
}
