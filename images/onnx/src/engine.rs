//! Runs a model forward and backward, layer by layer.
//!
//! The host embeds tokens, normalises the last layer's output, and sums the loss; the layers and the vocabulary run
//! in ONNX Runtime. Results stay in ONNX Runtime's memory from one run to the next.

use std::collections::BTreeSet;

use hone_model::ModelConfig;
use ort::session::SessionInputValue;
use ort::value::DynValue;

use crate::adapter::Adapter;
use crate::batch::Batch;
use crate::error::{Result, TrainError};
use crate::graph::{KEPT, Keep, LayerSpec, backward, forward};
use crate::head::Head;
use crate::layers::{Layers, Residence};
use crate::rope::Rope;
use crate::runtime::{self, Program, Runtime, floats, integers};
use crate::weights::Weights;

/// How much memory the engine may trade for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// Expanded weights.
    pub residence: Residence,
    /// Bytes of activations kept from forward to backward. Layers beyond it are computed twice.
    pub activations: u64,
}

/// The spec that an adapter gives the layers' graphs.
pub fn layer_spec(config: &ModelConfig, adapter: Option<&Adapter>) -> LayerSpec {
    LayerSpec {
        config: config.clone(),
        targets: adapter.map_or_else(BTreeSet::new, |a| a.spec.targets.iter().cloned().collect()),
        rank: adapter.map_or(1, |a| a.spec.rank),
        scale: adapter.map_or(1.0, |a| a.spec.scale()),
    }
}

/// The graphs of a layer in both ways of keeping activations; the second pair is made when first needed.
struct Programs {
    spec: LayerSpec,
    runtime: Runtime,
    forward: [Option<Program>; 2],
    backward: [Option<Program>; 2],
}

impl Programs {
    fn forward(&mut self, keep: Keep) -> Result<&mut Program> {
        let slot = &mut self.forward[keep as usize];
        if slot.is_none() {
            *slot = Some(self.runtime.program("forward", &forward(&self.spec, keep))?);
        }
        slot.as_mut().ok_or_else(|| TrainError::setting("graph forward", "nothing", "a session"))
    }

    fn backward(&mut self, keep: Keep) -> Result<&mut Program> {
        let slot = &mut self.backward[keep as usize];
        if slot.is_none() {
            *slot = Some(self.runtime.program("backward", &backward(&self.spec, keep))?);
        }
        slot.as_mut().ok_or_else(|| TrainError::setting("graph backward", "nothing", "a session"))
    }
}

/// What a layer's forward pass left.
struct Left {
    x: DynValue,
    kept: Vec<DynValue>,
}

/// Trains on batches.
pub struct Engine<'w> {
    weights: &'w Weights,
    layers: Layers<'w>,
    programs: Programs,
    head: Head<'w>,
    rope: Rope,
    dial: Dial,
}

impl<'w> Engine<'w> {
    /// Makes the sessions for adapters like `adapter`.
    ///
    /// # Errors
    /// The model's files or ONNX Runtime fail.
    pub fn new(runtime: &Runtime, weights: &'w Weights, adapter: &Adapter, dial: Dial) -> Result<Self> {
        let config = weights.config();
        let programs = Programs {
            spec: layer_spec(config, Some(adapter)),
            runtime: runtime.clone(),
            forward: [None, None],
            backward: [None, None],
        };
        Ok(Self {
            weights,
            layers: Layers::new(weights, dial.residence)?,
            programs,
            head: Head::for_training(runtime, weights)?,
            rope: Rope::new(config),
            dial,
        })
    }

    /// Forward and backward of one batch. Adds to the adapter's gradients those of `weight` times the summed loss of
    /// the scored rows, and returns that summed loss (not weighted).
    ///
    /// # Errors
    /// The model's files or ONNX Runtime fail.
    pub fn step(&mut self, batch: &Batch, adapter: &mut Adapter, weight: f32) -> Result<f64> {
        let shapes = Shapes::new(self.weights.config(), batch.count, batch.length, batch.length);
        self.rope.reach(batch.length);
        let hidden = self.weights.config().hidden as usize;
        let mut x = runtime::tensor(&[batch.rows(), hidden], embed(self.weights, &batch.ids)?)?;
        let saved = self.saved_layers(batch.rows());
        let mut left = Vec::with_capacity(self.layers.len());
        for layer in 0..self.layers.len() {
            let keep = if layer >= self.layers.len() - saved { Keep::Activations } else { Keep::Input };
            self.layers.load(layer)?;
            let common = Common { layers: &self.layers, rope: &self.rope, shapes: &shapes, batch, adapter, layer };
            let program = self.programs.forward(keep)?;
            let mut results = program.run(|name| match name {
                "x" => Ok((&x).into()),
                _ => common.feed(name),
            })?;
            let kept = results.split_off(1);
            let y = results.pop().ok_or_else(|| TrainError::setting("graph forward", "no result", "y"))?;
            left.push(Left { x: std::mem::replace(&mut x, y), kept });
        }
        let (loss, dy) = self.head.loss(runtime::read(&x)?, &batch.targets, weight)?;
        drop(x);
        self.backward(batch, &shapes, adapter, left, runtime::tensor(&[batch.rows(), hidden], dy)?)?;
        Ok(loss)
    }

    fn backward(
        &mut self,
        batch: &Batch,
        shapes: &Shapes,
        adapter: &mut Adapter,
        mut left: Vec<Left>,
        mut dy: DynValue,
    ) -> Result<()> {
        while let Some(Left { x, kept }) = left.pop() {
            let layer = left.len();
            let keep = if kept.is_empty() { Keep::Input } else { Keep::Activations };
            self.layers.load(layer)?;
            let common = Common { layers: &self.layers, rope: &self.rope, shapes, batch, adapter: &*adapter, layer };
            let program = self.programs.backward(keep)?;
            let results = program.run(|name| match name {
                "x" => Ok((&x).into()),
                "dy" => Ok((&dy).into()),
                _ => match KEPT.iter().position(|kept| *kept == name) {
                    Some(i) => Ok((&kept[i]).into()),
                    None => common.feed(name),
                },
            })?;
            for (name, value) in program.outputs().iter().zip(results) {
                match name.as_str() {
                    "dx" => dy = value,
                    pair => adapter.accumulate(layer, pair, runtime::read(&value)?),
                }
            }
        }
        Ok(())
    }

    /// How many layers may keep their activations for this many rows.
    fn saved_layers(&self, rows: usize) -> usize {
        let c = self.weights.config();
        let floats = 2 * c.q_rows() + 2 * c.kv_rows() + c.hidden + 2 * c.inter;
        let each = floats * 4 * rows as u64;
        usize::try_from(self.dial.activations / each.max(1)).unwrap_or(usize::MAX).min(self.layers.len())
    }
}

/// The embedding's rows for these tokens.
///
/// # Errors
/// A token is outside the vocabulary.
pub(crate) fn embed(weights: &Weights, ids: &[u32]) -> Result<Vec<f32>> {
    let config = weights.config();
    let mut x = Vec::with_capacity(ids.len() * config.hidden as usize);
    for &id in ids {
        if u64::from(id) >= config.vocab {
            return Err(TrainError::setting("token", id, format!("one of the model's {}", config.vocab)));
        }
        x.extend_from_slice(&weights.embedding(id)?);
    }
    Ok(x)
}

/// The shapes that vary from batch to batch, by their names in the graphs.
pub(crate) struct Shapes([(&'static str, [i64; 4]); 5]);

impl Shapes {
    /// `count` sequences of `length` new positions, which look at `seen` positions.
    pub(crate) fn new(c: &ModelConfig, count: usize, length: usize, seen: usize) -> Self {
        let [count, length, seen] = [count as i64, length as i64, seen as i64];
        let (heads, kv, head) = (c.heads as i64, c.kv_heads as i64, c.head_dim as i64);
        Self([
            ("shape.bthd", [count, length, heads, head]),
            ("shape.btkd", [count, length, kv, head]),
            ("shape.bhtd", [count, heads, length, head]),
            ("shape.scores", [count, heads, length, seen]),
            ("shape.grouped", [count, kv, heads / kv * length, seen]),
        ])
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[i64]> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, shape)| &shape[..])
    }
}

/// The inputs that forward and backward share.
struct Common<'a> {
    layers: &'a Layers<'a>,
    rope: &'a Rope,
    shapes: &'a Shapes,
    batch: &'a Batch,
    adapter: &'a Adapter,
    layer: usize,
}

impl<'a> Common<'a> {
    fn feed(&self, name: &str) -> Result<SessionInputValue<'a>> {
        let batch = self.batch;
        match name {
            "positions" => return integers(&[batch.count, batch.length], &batch.positions),
            "mask" => return floats(&[batch.length, batch.length], &batch.mask),
            _ => {}
        }
        if let Some(shape) = self.shapes.get(name) {
            return integers(&[4], shape);
        }
        weight_input(self.layers, self.rope, Some(self.adapter), self.layer, name)
    }
}

/// An input that does not depend on the batch: a weight, a rotary table, or a matrix of the adapter.
pub(crate) fn weight_input<'a>(
    layers: &'a Layers<'_>,
    rope: &'a Rope,
    adapter: Option<&'a Adapter>,
    layer: usize,
    name: &str,
) -> Result<SessionInputValue<'a>> {
    if let Some((rows, table)) = rope.table(name) {
        return floats(&[rows, table.len() / rows.max(1)], table);
    }
    if let Some(param) = adapter.and_then(|adapter| adapter.get(layer, name)) {
        return floats(&param.shape, &param.value);
    }
    match layers.get(layer, name)? {
        Some(data) => floats(&layers.dims(name, data.len()), data),
        None => Err(TrainError::setting("graph input", name, "one the engine knows")),
    }
}
