//! The base model layer by layer, ready as inputs of the graphs.

use std::collections::BTreeMap;

use hone_model::TARGETS;

use crate::error::Result;
use crate::weights::Weights;

/// Where expanded weights are kept; see the memory dial in README.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Residence {
    /// Expanded when used, one layer at a time: least memory.
    #[default]
    Stream,
    /// Expanded once, all layers: four bytes a weight, no work at each use.
    Resident,
}

/// Expanded tensors of one layer, by projection. What can be used in place is not here.
type Expanded = BTreeMap<&'static str, Vec<f32>>;

/// Gives each layer's tensors by the names that the graphs use.
#[derive(Debug)]
pub struct Layers<'w> {
    weights: &'w Weights,
    /// Norms and biases of every layer.
    small: Vec<BTreeMap<&'static str, Vec<f32>>>,
    /// One layer's buffers, or with [`Residence::Resident`] every layer's.
    buffers: Vec<Expanded>,
    residence: Residence,
    /// What the first of `buffers` holds when streaming.
    loaded: Option<usize>,
}

/// The tensor behind an input of a layer's graph.
pub fn tensor_name(layer: usize, input: &str) -> String {
    match input {
        "input_layernorm" | "post_attention_layernorm" => format!("model.layers.{layer}.{input}.weight"),
        "gate_proj" | "up_proj" | "down_proj" => format!("model.layers.{layer}.mlp.{input}.weight"),
        _ if input.ends_with(".bias") => format!("model.layers.{layer}.self_attn.{input}"),
        _ => format!("model.layers.{layer}.self_attn.{input}.weight"),
    }
}

impl<'w> Layers<'w> {
    /// Reads the small tensors; the large ones come with [`Self::load`].
    ///
    /// # Errors
    /// A file was cut since it was opened.
    pub fn new(weights: &'w Weights, residence: Residence) -> Result<Self> {
        let config = weights.config();
        let mut names = vec!["input_layernorm", "post_attention_layernorm"];
        if config.qkv_bias {
            names.extend(["q_proj.bias", "k_proj.bias", "v_proj.bias"]);
        }
        if config.qk_norm {
            names.extend(["q_norm", "k_norm"]);
        }
        let mut small = Vec::new();
        for layer in 0..config.layers as usize {
            let tensors = names.iter().map(|&name| Ok((name, weights.vector(&tensor_name(layer, name))?)));
            small.push(tensors.collect::<Result<_>>()?);
        }
        Ok(Self { weights, small, buffers: Vec::new(), residence, loaded: None })
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.small.len()
    }

    /// A model without layers, which does not exist.
    pub fn is_empty(&self) -> bool {
        self.small.is_empty()
    }

    /// The shape of the tensor behind an input, which has `len` elements.
    pub fn dims(&self, name: &str, len: usize) -> Vec<usize> {
        match TARGETS.contains(&name) {
            true => {
                let rows = self.weights.rows(&tensor_name(0, name)).map_or(1, |rows| rows as usize);
                vec![rows, len / rows.max(1)]
            }
            false => vec![len],
        }
    }

    /// Makes the large tensors of `layer` ready.
    ///
    /// # Errors
    /// A file was cut since it was opened.
    pub fn load(&mut self, layer: usize) -> Result<()> {
        match self.residence {
            Residence::Stream if self.loaded == Some(layer) => Ok(()),
            Residence::Stream => {
                let buffers = self.buffers.pop().unwrap_or_default();
                self.buffers.push(expand(self.weights, layer, buffers)?);
                self.loaded = Some(layer);
                Ok(())
            }
            Residence::Resident => {
                while self.buffers.len() <= layer {
                    self.buffers.push(expand(self.weights, self.buffers.len(), Expanded::new())?);
                }
                Ok(())
            }
        }
    }

    /// The tensor for the input `name` of a loaded layer; none when it is no tensor of the base model.
    ///
    /// # Errors
    /// A file was cut since it was opened.
    pub fn get(&self, layer: usize, name: &str) -> Result<Option<&[f32]>> {
        if let Some(small) = self.small[layer].get(name) {
            return Ok(Some(small));
        }
        if !TARGETS.contains(&name) {
            return Ok(None);
        }
        let slot = if self.residence == Residence::Stream { 0 } else { layer };
        match self.buffers.get(slot).and_then(|buffers| buffers.get(name)) {
            Some(expanded) => Ok(Some(expanded)),
            None => self.weights.in_place(&tensor_name(layer, name)),
        }
    }
}

fn expand(weights: &Weights, layer: usize, mut buffers: Expanded) -> Result<Expanded> {
    for name in TARGETS {
        let tensor = tensor_name(layer, name);
        if weights.in_place(&tensor)?.is_none() {
            buffers.entry(name).or_default().resize(weights.elements(&tensor)?, 0.0);
        } else {
            buffers.remove(name);
        }
    }
    let mut tasks = Vec::new();
    for (name, buffer) in &mut buffers {
        let tensor = tensor_name(layer, name);
        let rows = weights.rows(&tensor)?;
        tasks.push((tensor, 0..rows, buffer.as_mut_slice()));
    }
    weights.expand(tasks)?;
    Ok(buffers)
}
