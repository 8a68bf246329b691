//! `hone-train logits`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use hone_train::adapter::Adapter;
use hone_train::generate::Reader;
use hone_train::tensors::{self, TensorFile};
use hone_train::weights::Weights;
use hone_train::{Result, TrainError};

use super::{Machine, io};

/// Logits of each token, `[tokens, vocabulary]`.
#[derive(Debug, Args)]
pub struct LogitsArgs {
    /// Base model.
    #[arg(long)]
    model: PathBuf,
    /// Adapter, a PEFT directory.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Token ids, comma separated.
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// Write a safetensors file with the tensor `logits`, instead of JSON to standard output.
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    machine: Machine,
}

/// Runs it; gives the exit code.
pub fn run(args: &LogitsArgs) -> Result<u8> {
    let runtime = args.machine.runtime(None)?;
    let weights = Weights::open(&args.model, runtime.threads())?;
    let adapter = args.adapter.as_deref().map(|dir| Adapter::load(weights.config(), dir)).transpose()?;
    let logits = Reader::new(&runtime, &weights, adapter.as_ref(), args.machine.weights)?.logits(&args.tokens)?;
    let vocab = weights.config().vocab as usize;
    if let Some(path) = &args.output {
        let tensor = TensorFile { name: "logits", shape: &[args.tokens.len(), vocab], values: &logits };
        tensors::write(path, &BTreeMap::new(), &[tensor])?;
        return Ok(0);
    }
    let rows: Vec<&[f32]> = logits.chunks(vocab).collect();
    let text = serde_json::to_string(&rows).map_err(|e| TrainError::Setting {
        what: "logits".to_owned(),
        got: e.to_string(),
        want: "finite numbers".to_owned(),
    })?;
    let written = writeln!(std::io::stdout().lock(), "{text}");
    written.map_err(|source| io("write", Path::new("/dev/stdout"), source))?;
    Ok(0)
}
