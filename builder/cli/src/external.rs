//! Verbs of other programs: `hone run` executes `hone-run`, which lies beside this program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Failure, because};

/// A verb nobody has.
#[derive(Debug, thiserror::Error)]
#[error("{verb}: no such verb, and no program {}; `hone --help` lists the verbs", path.display())]
pub struct NoVerb {
    verb: String,
    path: PathBuf,
}

/// Becomes the program `hone-<verb>`; comes back only when that fails.
pub fn exec(args: &[OsString], root: Option<PathBuf>) -> Result<std::convert::Infallible, Failure> {
    let (verb, rest) = args.split_first().ok_or("no verb given")?;
    let verb = verb.to_string_lossy().into_owned();
    let path = beside(&format!("hone-{verb}"))?;
    let plain = verb.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if !plain || !path.is_file() {
        return Err(NoVerb { verb, path }.into());
    }
    let mut command = Command::new(&path);
    command.args(rest);
    log::debug!("exec {}", path.display());
    if let Some(root) = root {
        command.env("HONE_ROOT", root);
    }
    Err(because(format!("run {}", path.display()))(command.exec()))
}

/// A file in the directory of this program.
pub fn beside(name: &str) -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe().map_err(because("find this program"))?;
    Ok(exe.with_file_name(name))
}
