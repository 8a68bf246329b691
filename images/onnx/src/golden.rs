//! Runs a golden folder: a checkpoint, an adapter, batches, and what PyTorch made of them.
//!
//! The folder holds config.json and safetensors, `adapter_init/`, `batches.safetensors` (input_ids and labels,
//! `[steps, batch, length]`, -100 not scored), `grads_step0.safetensors` and `golden.json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::batch::{Batch, Costs, Sequence};
use crate::engine::{Dial, Engine};
use crate::error::{Result, TrainError};
use crate::optimizer::{AdamW, AdamWConfig};
use crate::runtime::Runtime;
use crate::usage::peak_rss_mb;
use crate::weights::{Weights, read_file};

/// How far a run is from its golden one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Largest difference of a step's loss.
    pub loss_max_abs_dev: f64,
    /// Largest, over tensors, norm of the difference over norm of the reference, of step 0's gradients.
    pub grad_max_rel_err: f64,
    /// Steps run.
    pub steps: u64,
    /// Tokens a second, without the first step when there are more.
    pub tokens_per_s: f64,
    /// Peak resident memory in MB.
    pub peak_rss_mb: f64,
}

#[derive(Deserialize)]
struct Golden {
    steps: u64,
    optimizer: Optimizer,
    losses: Vec<f64>,
}

#[derive(Deserialize)]
struct Optimizer {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

impl Optimizer {
    fn config(&self) -> AdamWConfig {
        let (beta1, beta2) = self.betas;
        AdamWConfig { beta1, beta2, eps: self.eps, weight_decay: self.weight_decay }
    }
}

/// Runs the folder.
///
/// # Errors
/// A file of it is missing or wrong, or training fails.
pub fn run(runtime: &Runtime, dir: &Path, dial: Dial) -> Result<Report> {
    let golden: Golden = json(&dir.join("golden.json"))?;
    let weights = Weights::open(dir, runtime.threads())?;
    let mut adapter = Adapter::load(weights.config(), &dir.join("adapter_init"))?;
    let steps = batches(&dir.join("batches.safetensors"))?;
    let count = golden.steps as usize;
    if steps.len() < count || golden.losses.len() < count {
        return Err(TrainError::setting(dir.display(), format!("{} batches", steps.len()), golden.steps));
    }
    let mut optimizer = AdamW::new(golden.optimizer.config(), &adapter);
    let mut engine = Engine::new(runtime, &weights, &adapter, dial)?;
    let costs = Costs::of(weights.config());
    let (mut deviation, mut error, mut tokens, mut seconds) = (0f64, 0f64, 0, 0.0);
    for (i, (sequences, want)) in steps.iter().zip(&golden.losses).take(count).enumerate() {
        let begin = Instant::now();
        let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), costs);
        adapter.clear_gradients();
        let scored = batch.scored().max(1) as f64;
        let loss = engine.step(&batch, &mut adapter, (1.0 / scored) as f32)? / scored;
        if i == 0 {
            error = gradient_error(&adapter, &dir.join("grads_step0.safetensors"))?;
        }
        optimizer.step(&mut adapter, golden.optimizer.lr);
        deviation = worse(deviation, (loss - want).abs());
        // The first step makes the sessions and reads the weights from the disk.
        if i > 0 || count == 1 {
            (tokens, seconds) = (tokens + batch.tokens, seconds + begin.elapsed().as_secs_f64());
        }
    }
    Ok(Report {
        loss_max_abs_dev: deviation,
        grad_max_rel_err: error,
        steps: golden.steps,
        tokens_per_s: tokens as f64 / seconds.max(1e-9),
        peak_rss_mb: peak_rss_mb(),
    })
}

/// The larger one; what is not a number is worst of all (`max` would pass over it).
fn worse(so_far: f64, now: f64) -> f64 {
    if now.is_nan() { f64::INFINITY } else { so_far.max(now) }
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let source = serde_json::from_slice(&read_file(path)?);
    Ok(source.map_err(|source| hone_model::ModelError::Json { file: path.display().to_string(), source })?)
}

/// Shape and values by name.
type Integers = BTreeMap<String, (Vec<usize>, Vec<i64>)>;

/// A safetensors file with 64-bit integers, which weight files never hold: read here, small and whole.
fn integers(path: &Path) -> Result<Integers> {
    #[derive(Deserialize)]
    struct Row {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: (usize, usize),
    }
    let bytes = read_file(path)?;
    let wrong = || TrainError::setting(path.display(), "something else", "a safetensors file of 64-bit integers");
    let length = bytes.first_chunk::<8>().map(|n| u64::from_le_bytes(*n) as usize).ok_or_else(wrong)?;
    let data = length.checked_add(8).and_then(|start| bytes.get(start..)).ok_or_else(wrong)?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length])
        .map_err(|source| hone_model::ModelError::Json { file: path.display().to_string(), source })?;
    let mut out = BTreeMap::new();
    for (name, row) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let row: Row = serde_json::from_value(row).map_err(|_| wrong())?;
        let raw = data.get(row.data_offsets.0..row.data_offsets.1).ok_or_else(wrong)?;
        let values: Vec<i64> = raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
        if row.dtype != "I64" || row.shape.iter().product::<usize>() != values.len() {
            return Err(wrong());
        }
        out.insert(name, (row.shape, values));
    }
    Ok(out)
}

/// Steps of sequences.
fn batches(path: &Path) -> Result<Vec<Vec<Sequence>>> {
    let file = integers(path)?;
    let wrong =
        || TrainError::setting(path.display(), "something else", "input_ids and labels [steps, batch, length]");
    let (ids, labels) = file.get("input_ids").zip(file.get("labels")).ok_or_else(wrong)?;
    let &[_, batch, length] = &ids.0[..] else { return Err(wrong()) };
    if labels.0 != ids.0 || batch * length == 0 {
        return Err(wrong());
    }
    if ids.1.iter().zip(&labels.1).any(|(id, label)| *label >= 0 && label != id) {
        return Err(TrainError::setting(path.display(), "labels that are other tokens", "the same tokens, or -100"));
    }
    let rows = ids.1.chunks(length).zip(labels.1.chunks(length));
    let rows: Vec<Sequence> = rows.map(|(ids, labels)| sequence(ids, labels)).collect();
    Ok(rows.chunks(batch).map(<[Sequence]>::to_vec).collect())
}

/// One row, without the padding behind the last scored token: no scored token looks at it.
fn sequence(ids: &[i64], labels: &[i64]) -> Sequence {
    let length = labels.iter().rposition(|label| *label >= 0).map_or(1, |last| last + 1);
    Sequence {
        ids: ids[..length].iter().map(|&id| u32::try_from(id).unwrap_or(u32::MAX)).collect(),
        scored: labels[..length].iter().map(|&label| label >= 0).collect(),
    }
}

fn gradient_error(adapter: &Adapter, path: &Path) -> Result<f64> {
    let reference = crate::adapter::read_tensors(adapter, path)?;
    let mut worst = 0f64;
    for (param, want) in adapter.params.iter().zip(&reference) {
        let off: f64 = param.grad.iter().zip(want).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let size: f64 = want.iter().map(|b| f64::from(*b).powi(2)).sum();
        let all = param.grad.len() == want.len();
        worst = worse(worst, if all { off.sqrt() / size.sqrt() } else { f64::NAN });
    }
    Ok(worst)
}
