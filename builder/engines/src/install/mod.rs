//! `hone install` and `hone uninstall`: an engine's configuration learns of the runtime `hone`, and forgets it again.
//!
//! Each change is one atomic replacement of one file, doing it twice is doing it once, and what was there before is
//! kept below Hone's root, so that uninstall gives back exactly that. Nothing is reloaded here: the caller is told how.

mod daemon;
mod docker;
pub(crate) mod files;
mod json;
mod podman;
mod record;
mod toml;

use std::path::{Path, PathBuf};

pub use daemon::{docker_config, docker_host};
use hone_contract::quoted_path;
use record::Record;

use crate::error::Error;

/// Where docker's daemon reads its configuration.
pub const DOCKER_CONFIG: &str = "/etc/docker/daemon.json";
/// The drop-in that tells podman.
pub const PODMAN_CONFIG: &str = "/etc/containers/containers.conf.d/50-hone.conf";
/// Where docker's daemon usually listens.
pub const DOCKER_HOST: &str = "unix:///run/docker.sock";

/// An engine that can be told of Hone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// dockerd, listening at `host` (see [`DOCKER_HOST`]).
    Docker {
        /// Where Hone finds it again to publish a version.
        host: String,
    },
    /// podman.
    Podman {
        /// The one file that it reads in the place of all others, when CONTAINERS_CONF names one.
        alone: Option<PathBuf>,
        /// The file that it reads last, when CONTAINERS_CONF_OVERRIDE names one.
        last: Option<PathBuf>,
    },
}

/// What to install where.
#[derive(Debug, Clone)]
pub struct Install {
    /// The engine.
    pub target: Target,
    /// Hone's root, an absolute path.
    pub root: PathBuf,
    /// The program hone-runtime, an absolute path.
    pub runtime: PathBuf,
    /// The engine's configuration file, when it is not the usual one.
    pub config: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The configuration file.
    pub config: PathBuf,
    /// False when it said so already.
    pub changed: bool,
    /// What the user does next; empty when nothing is to do.
    pub next: String,
}

impl Install {
    /// Where the engine's configuration is.
    pub fn config(&self) -> &Path {
        let usual = match &self.target {
            Target::Docker { .. } => Path::new(DOCKER_CONFIG),
            Target::Podman { alone, .. } => alone.as_deref().unwrap_or(Path::new(PODMAN_CONFIG)),
        };
        self.config.as_deref().unwrap_or(usual)
    }

    /// Registers the runtime `hone`.
    ///
    /// # Errors
    /// When a file cannot be read or written, is not what the engine would accept, or has such a runtime of somebody else:
    /// then nothing was changed.
    pub fn install(&self) -> Result<Done, Error> {
        let changed = match &self.target {
            Target::Docker { host } => docker::install(self, host)?,
            Target::Podman { last, .. } => podman::install(self, last.as_deref())?,
        };
        let lines = [self.reload(changed), self.reads(changed), self.absent()];
        Ok(self.done(changed, lines.into_iter().flatten()))
    }

    /// Takes back what [`Install::install`] did, and no more.
    ///
    /// # Errors
    /// As [`Install::install`]; when the engine would not start without the runtime.
    pub fn uninstall(&self) -> Result<Done, Error> {
        let changed = self.take_back()?;
        Ok(self.done(changed, self.reload(changed).into_iter().chain(self.kept()?)))
    }

    /// The same of every configuration file of this engine that there is a record of below the root, and that names this
    /// very program; else of the one that [`Install::config`] says. One that fails keeps no other from it.
    ///
    /// # Errors
    /// When the record cannot be read; each file's own as [`Install::uninstall`].
    pub fn uninstall_all(&self) -> Result<Vec<Result<Done, Error>>, Error> {
        let engine = match &self.target {
            Target::Docker { .. } => docker::ENGINE,
            Target::Podman { .. } => podman::ENGINE,
        };
        let told = Record::configs(self, engine)?.into_iter().map(|file| Self { config: Some(file), ..self.clone() });
        let mut told: Vec<_> = told.collect();
        if told.is_empty() {
            told.push(self.clone());
        }
        let mut done: Vec<_> = told.iter().cloned().map(Self::uninstall_own).collect();
        // Of podman's launcher, which is of all of them, when all are done.
        if let (Some(install), Some(Ok(last))) = (told.last(), done.last_mut()) {
            let next: Vec<_> = Some(last.next.clone()).filter(|next| !next.is_empty()).into_iter().collect();
            last.next = [next, install.kept()?].concat().join("\n");
        }
        Ok(done)
    }

    /// One of [`Install::uninstall_all`]'s files.
    fn uninstall_own(mut self) -> Result<Done, Error> {
        let named = match &self.target {
            Target::Podman { .. } => podman::registered(&self)?,
            Target::Docker { .. } => docker::registered(&self)?.map(|(program, host)| {
                self.target = Target::Docker { host };
                program
            }),
        };
        let own = files::canonical(&self.runtime);
        if let Some(other) = named.filter(|named| files::canonical(named) != own) {
            let left = format!("left as it is: it names {}, of another installation", quoted_path(&other));
            return Ok(self.done(false, std::iter::once(left)));
        }
        let changed = self.take_back()?;
        Ok(self.done(changed, self.reload(changed).into_iter()))
    }

    fn take_back(&self) -> Result<bool, Error> {
        match &self.target {
            Target::Docker { .. } => docker::uninstall(self),
            Target::Podman { .. } => podman::uninstall(self),
        }
    }

    /// Why podman's launcher is there still.
    fn kept(&self) -> Result<Vec<String>, Error> {
        let kept = match &self.target {
            Target::Docker { .. } => Vec::new(),
            Target::Podman { .. } => podman::named_by(self)?,
        };
        let kept = kept.into_iter().map(|file| {
            let shown = quoted_path(&file);
            let way = match file == self.config() {
                true => "take its line out there".to_owned(),
                false => format!("hone uninstall podman --config {shown}"),
            };
            format!("the launcher stays, because {shown} names it still: {way}")
        });
        Ok(kept.collect())
    }

    fn done(&self, changed: bool, next: impl Iterator<Item = String>) -> Done {
        Done { config: self.config().to_owned(), changed, next: next.collect::<Vec<_>>().join("\n") }
    }

    /// How the engine is told to read its configuration; podman reads it anew each time it starts.
    fn reload(&self, changed: bool) -> Option<String> {
        let Target::Docker { host } = &self.target else { return None };
        let user = if daemon::is_of_user(host) { "--user " } else { "" };
        let way = format!("systemctl {user}reload docker, or kill -HUP the pid of dockerd");
        changed.then(|| format!("docker reads it on reload: {way}"))
    }

    /// When podman reads what it was told.
    fn reads(&self, changed: bool) -> Option<String> {
        let Target::Podman { alone: Some(file), .. } = &self.target else { return None };
        let is_read = changed && self.config.is_none();
        is_read.then(|| format!("podman reads it as long as CONTAINERS_CONF is {}", file.display()))
    }

    /// What a user should know who registered a runtime for a daemon that is not there.
    fn absent(&self) -> Option<String> {
        let Target::Docker { host } = &self.target else { return None };
        let socket = host.strip_prefix("unix://").filter(|socket| !Path::new(socket).exists())?;
        Some(format!("nothing is at {socket} now; where docker listens elsewhere, say docker=unix:///PATH"))
    }
}
