//! Checkpoints: everything that a run needs to go on as if it had not stopped, in one file that is replaced whole.
//!
//! `checkpoint/state.safetensors` holds each matrix of the adapter under its PEFT name, and AdamW's two moments of it
//! under the name with `.mean` and `.square`; the metadata hold the step, the tokens and seconds so far, and the
//! fingerprint of what is being trained. The position in the data follows from the step (see `order.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::adapter::Adapter;
use crate::dequant::dequantize;
use crate::error::{Result, TrainError};
use crate::map::Map;
use crate::optimizer::AdamW;
use crate::tensors::{self, TensorFile};
use crate::weights::safetensors_header;

const FILE: &str = "state.safetensors";
const NEXT: &str = "state.safetensors.new";

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Seconds spent.
    pub seconds: f64,
}

/// The checkpoint directory of an output directory.
pub fn directory(out: &Path) -> PathBuf {
    out.join("checkpoint")
}

/// Writes a checkpoint: durable when this returns, and until then the one before it stands.
///
/// # Errors
/// The disk is full, or another failure of the files.
pub fn save(out: &Path, fingerprint: &str, at: &Position, adapter: &Adapter, optimizer: &AdamW) -> Result<()> {
    let dir = directory(out);
    fs::create_dir_all(&dir).map_err(|source| TrainError::io("create", &dir, source))?;
    let metadata = BTreeMap::from([
        ("fingerprint".to_owned(), fingerprint.to_owned()),
        ("step".to_owned(), at.step.to_string()),
        ("tokens".to_owned(), at.tokens.to_string()),
        ("seconds".to_owned(), at.seconds.to_string()),
    ]);
    let names: Vec<[String; 3]> = adapter.params.iter().map(|p| names(&p.name)).collect();
    let mut rows = Vec::new();
    for (i, param) in adapter.params.iter().enumerate() {
        for (name, values) in names[i].iter().zip([&param.value, &optimizer.means[i], &optimizer.squares[i]]) {
            rows.push(TensorFile { name, shape: &param.shape, values });
        }
    }
    let next = dir.join(NEXT);
    let written = tensors::write(&next, &metadata, &rows).and_then(|()| tensors::rename(&next, &dir.join(FILE)));
    if written.is_err() {
        // Half a file would only take space; that it cannot be removed is no second failure.
        let _ = fs::remove_file(&next);
    }
    written
}

fn names(name: &str) -> [String; 3] {
    [name.to_owned(), format!("{name}.mean"), format!("{name}.square")]
}

/// Restores adapter and optimizer from the checkpoint in `out`, if there is one.
///
/// # Errors
/// It is damaged, or belongs to another job, model or data.
pub fn load(out: &Path, fingerprint: &str, adapter: &mut Adapter, optimizer: &mut AdamW) -> Result<Option<Position>> {
    let path = directory(out).join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let map = Map::open(&path)?;
    let name = path.display().to_string();
    let header = safetensors_header(&name, &map)?;
    if header.metadata.get("fingerprint").map(String::as_str) != Some(fingerprint) {
        let want = "a checkpoint of this job, model, data and first adapter; remove it to begin afresh";
        return Err(TrainError::setting(format!("checkpoint {name}"), "one of another run", want));
    }
    let field = |key: &str| header.metadata.get(key).cloned().unwrap_or_default();
    let wrong = |key: &str| TrainError::setting(format!("checkpoint {name}: {key}"), field(key), "a number");
    let mut want = BTreeMap::new();
    for param in &adapter.params {
        let shape = param.shape.map(|d| d as u64).to_vec();
        want.extend(names(&param.name).map(|name| (name, shape.clone())));
    }
    hone_model::adapter::check_names(&name, &header, &want)?;
    hone_model::adapter::check_finite(&name, &header, map.bytes())?;
    for (i, param) in adapter.params.iter_mut().enumerate() {
        let all = [&mut param.value, &mut optimizer.means[i], &mut optimizer.squares[i]];
        for (name, values) in names(&param.name).iter().zip(all) {
            let tensor = &header.tensors[name];
            let range = tensor.offset as usize..(tensor.offset + tensor.len) as usize;
            dequantize(tensor.dtype, &map.bytes()[range], values);
        }
    }
    optimizer.steps = field("step").parse().map_err(|_| wrong("step"))?;
    Ok(Some(Position {
        step: optimizer.steps,
        tokens: field("tokens").parse().map_err(|_| wrong("tokens"))?,
        seconds: field("seconds").parse().map_err(|_| wrong("seconds"))?,
    }))
}
