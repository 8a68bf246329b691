//! `hone-train golden`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use hone_train::Result;

use super::{Machine, io};

/// Runs a golden folder.
#[derive(Debug, Args)]
pub struct GoldenArgs {
    /// The folder: config.json, *.safetensors, adapter_init/, batches.safetensors, grads_step0.safetensors, golden.json.
    dir: PathBuf,
    #[command(flatten)]
    machine: Machine,
}

/// Runs it; gives the exit code.
pub fn run(args: &GoldenArgs) -> Result<u8> {
    let runtime = args.machine.runtime(None)?;
    let report = hone_train::golden::run(&runtime, &args.dir, args.machine.dial(None))?;
    let line = serde_json::to_string(&report).unwrap_or_default();
    let written = writeln!(std::io::stdout().lock(), "{line}");
    written.map_err(|source| io("write", Path::new("/dev/stdout"), source))?;
    Ok(0)
}
