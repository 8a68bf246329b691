//! `hone install` and `hone uninstall`: an engine learns of Hone's runtime, and forgets it again.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use hone_engines::install::{self, Done, Target};
use hone_image::transport::EngineName;
use hone_store::Store;
use serde_json::{Value, json};

use crate::answer::Form;
use crate::external::beside;
use crate::failure::{Failure, because, chain};
use crate::layout::outside_of_stores;

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
    /// Every configuration file that was told of this program hone-runtime, whichever it is
    #[arg(long, conflicts_with = "config")]
    all: bool,
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
    #[command(flatten)]
    form: Form,
}

impl Install {
    /// Registers the runtime.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let install = self.place.resolve(store, true)?;
        if !install.runtime.is_file() {
            return Err(format!("install {}: {} is not there", self.place.engine, install.runtime.display()).into());
        }
        report("registered", &self.place, &install.install()?)
    }
}

impl Uninstall {
    /// Undoes what install did.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let install = self.place.resolve(store, false)?;
        if !self.all {
            return report("removed", &self.place, &install.uninstall()?);
        }
        let (done, failed): (Vec<_>, Vec<_>) = install.uninstall_all()?.into_iter().partition(Result::is_ok);
        let done: Vec<_> = done.into_iter().flatten().collect();
        let answers: Vec<_> = done.iter().map(|done| answer(&self.place, done)).collect();
        self.place.form.report(&answers, |_| done.iter().map(|done| text("removed", &self.place, done)).collect())?;
        let failed: Vec<_> = failed.iter().filter_map(|done| done.as_ref().err()).map(|e| chain(e)).collect();
        match failed.is_empty() {
            true => Ok(()),
            false => Err(format!("uninstall {}: {}", self.place.engine, failed.join("; ")).into()),
        }
    }
}

impl Place {
    /// `strict` refuses a daemon that Hone cannot serve; what was registered can be taken back wherever docker goes now.
    fn resolve(&self, store: &Store, strict: bool) -> Result<install::Install, Failure> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(because(format!("find {}", path.display())));
        let config = self.config.as_deref().map(absolute).transpose()?;
        config.as_deref().map_or(Ok(()), |config| outside_of_stores(config, store))?;
        let (target, usual) = self.target(strict)?;
        let runtime = self.runtime.clone().map_or_else(|| beside("hone-runtime"), Ok)?;
        let (root, runtime) = (absolute(store.root())?, absolute(&runtime)?);
        Ok(install::Install { target, root, runtime, config: config.or(usual) })
    }

    /// The engine, and its configuration file where that depends on which one it is.
    fn target(&self, strict: bool) -> Result<(Target, Option<PathBuf>), Failure> {
        let env = |name: &str| env::var_os(name);
        match self.engine.parse() {
            Ok(EngineName::Docker(address)) => {
                let host = match install::docker_host(address.as_deref(), &env) {
                    Err(error) if strict => return Err(because(format!("install {}", self.engine))(error)),
                    host => host.unwrap_or_else(|_| install::DOCKER_HOST.to_owned()),
                };
                let usual = install::docker_config(&host, &env);
                Ok((Target::Docker { host }, Some(usual)))
            }
            Ok(EngineName::Podman) => {
                let file = |name| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
                let (alone, last) = (file("CONTAINERS_CONF"), file("CONTAINERS_CONF_OVERRIDE"));
                Ok((Target::Podman { alone, last }, None))
            }
            _ => Err(format!("engine {}: want docker, docker=ADDRESS or podman", self.engine).into()),
        }
    }
}

fn report(what: &str, place: &Place, done: &Done) -> Result<(), Failure> {
    place.form.report(&answer(place, done), |_| text(what, place, done))
}

fn answer(place: &Place, done: &Done) -> Value {
    json!({"engine": place.engine, "config": done.config, "changed": done.changed, "next": done.next})
}

fn text(what: &str, place: &Place, done: &Done) -> String {
    let (engine, file) = (&place.engine, done.config.display());
    let mut text = match done.changed {
        true => format!("{engine}: runtime hone {what} in {file}\n"),
        false => format!("{engine}: nothing to change in {file}\n"),
    };
    if !done.next.is_empty() {
        text.push_str(&format!("{}\n", done.next));
    }
    text
}
