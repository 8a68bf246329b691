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
    /// When a file cannot be read or written, or is not what the engine would accept: then nothing was changed.
    pub fn install(&self) -> Result<Done, Error> {
        let changed = match &self.target {
            Target::Docker { host } => docker::install(self, host)?,
            Target::Podman { last, .. } => podman::install(self, last.as_deref())?,
        };
        let mut done = self.done(changed);
        let lines: Vec<String> =
            [done.next].into_iter().chain(self.absent()).filter(|line| !line.is_empty()).collect();
        done.next = lines.join("\n");
        Ok(done)
    }

    /// Takes back what [`Install::install`] did, and no more.
    ///
    /// # Errors
    /// As [`Install::install`].
    pub fn uninstall(&self) -> Result<Done, Error> {
        let changed = match &self.target {
            Target::Docker { .. } => docker::uninstall(self)?,
            Target::Podman { .. } => podman::uninstall(self)?,
        };
        Ok(self.done(changed))
    }

    fn done(&self, changed: bool) -> Done {
        let next = match &self.target {
            Target::Docker { host } if changed && daemon::is_of_user(host) => {
                "docker reads it on reload: systemctl --user reload docker, or kill -HUP the pid of dockerd"
                    .to_owned()
            }
            Target::Docker { .. } if changed => {
                "docker reads it on reload: systemctl reload docker, or kill -HUP the pid of dockerd".to_owned()
            }
            Target::Podman { alone: Some(file), .. } if changed && self.config.is_none() => {
                format!("podman reads it as long as CONTAINERS_CONF is {}", file.display())
            }
            // podman reads its configuration anew each time it starts.
            _ => String::new(),
        };
        Done { config: self.config().to_owned(), changed, next }
    }

    /// What a user should know who registered a runtime for a daemon that is not there.
    fn absent(&self) -> Option<String> {
        let Target::Docker { host } = &self.target else { return None };
        let socket = host.strip_prefix("unix://").filter(|socket| !Path::new(socket).exists())?;
        Some(format!("nothing is at {socket} now; where docker listens elsewhere, say docker=unix:///PATH"))
    }
}
