//! One verb a file: what the command line asks for, done.

pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod freeze;
pub mod host_hooks;
pub mod kill;
pub mod list;
pub mod man;
pub mod ps;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

use std::path::PathBuf;

use crate::cli::Global;
use crate::error::{Result, RuntimeError};
use crate::log::Logger;
use crate::training::HoneOptions;

/// What every verb needs.
pub struct Context {
    /// Where containers' state lies.
    pub root: PathBuf,
    /// The log.
    pub log: Logger,
    /// `--systemd-cgroup`.
    pub systemd: bool,
    /// Hone's own options.
    pub hone: HoneOptions,
}

impl Context {
    /// From the options before the command.
    ///
    /// # Errors
    /// When a relative path cannot be made absolute.
    pub fn new(global: &Global) -> Result<Self> {
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(RuntimeError::io("find", path));
        let format = match global.log_format {
            crate::cli::LogFormat::Text => hone_keeper::report::Format::Text,
            crate::cli::LogFormat::Json => hone_keeper::report::Format::Json,
        };
        let log = global.log.as_ref().map(absolute).transpose()?;
        Ok(Self {
            root: absolute(&global.root)?,
            log: Logger::new(log, format, global.debug),
            systemd: global.systemd_cgroup,
            hone: HoneOptions {
                root: absolute(&global.hone_root)?,
                engine: global.hone_engine.clone(),
                image: global.hone_image.clone(),
                staging: global.hone_staging.clone(),
            },
        })
    }
}
