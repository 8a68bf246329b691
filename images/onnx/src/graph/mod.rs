//! Hone's own ONNX graphs: forward and backward of one transformer layer, and of the vocabulary head.
//!
//! Weights, adapters, shapes and tables are inputs, so one session serves every layer and every batch. The
//! formulas are in `forward.rs`, `backward.rs` and `vocabulary.rs`; nothing here runs anything.

mod backward;
mod builder;
mod forward;
mod onnx;
mod vocabulary;

use std::collections::BTreeSet;

pub use backward::backward;
pub use builder::Built;
pub use forward::{forward, forward_cached};
pub use vocabulary::{head_logits, head_loss};

use hone_model::ModelConfig;

/// What shapes the graphs of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// The model.
    pub config: ModelConfig,
    /// Projections that carry LoRA pairs.
    pub targets: BTreeSet<String>,
    /// LoRA rank.
    pub rank: u64,
    /// alpha / rank.
    pub scale: f32,
}

impl LayerSpec {
    /// `[out, in]` of a projection.
    pub fn shape(&self, projection: &str) -> [u64; 2] {
        let c = &self.config;
        match projection {
            "q_proj" => [c.q_rows(), c.hidden],
            "o_proj" => [c.hidden, c.q_rows()],
            "gate_proj" | "up_proj" => [c.inter, c.hidden],
            "down_proj" => [c.hidden, c.inter],
            _ => [c.kv_rows(), c.hidden],
        }
    }
}

/// What the forward pass of a layer leaves for its backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Only its input: the backward graph computes the layer again. Least memory.
    Input,
    /// Also queries, keys, values, attention output and the feed-forward inputs: one matrix product in three less.
    Activations,
}

/// The tensors that [`Keep::Activations`] keeps, as outputs of forward and inputs of backward.
pub const KEPT: [&str; 7] = ["keep.q", "keep.k", "keep.v", "keep.o", "keep.x1", "keep.g", "keep.u"];
