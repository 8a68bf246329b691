//! The configuration of a model: as config.json writes it -> checked.
//!
//! Only what changes the computation is read. What the trainer does not compute (scaled rotary embeddings, other
//! activations, sliding windows, biases outside Qwen2's, quantized safetensors) is refused by name rather than
//! ignored: a model that is almost right trains to something almost wrong.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::{MAX_JSON, ModelError};

/// The architectures that the trainer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama and its like (SmolLM2, TinyLlama, Llama 2).
    Llama,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: normalised q and k heads.
    Qwen3,
}

impl Family {
    /// The names, for errors.
    pub const KNOWN: &str = "llama, qwen2, qwen3";

    /// From `model_type` of config.json or `general.architecture` of a GGUF.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "llama" => Self::Llama,
            "qwen2" => Self::Qwen2,
            "qwen3" => Self::Qwen3,
            _ => return None,
        })
    }

    /// The name, as `model_type` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a model computes, checked: every size is at least 1 and at most 2^24, and heads divide as they must.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The architecture.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Width of the feed-forward layer.
    pub inter: u64,
    /// Number of layers.
    pub layers: u64,
    /// Number of query heads.
    pub heads: u64,
    /// Number of key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Added to the mean square in RMS normalisation.
    pub eps: f64,
    /// Base of the rotary embedding's frequencies.
    pub theta: f64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// The output projection is the embedding.
    pub tied: bool,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// q and k heads are normalised.
    pub qk_norm: bool,
    /// Positions the model was made for.
    pub max_positions: u64,
}

/// Sizes above this are refused: they keep every product of three of them, times four bytes, below 2^64.
const MOST: u64 = 1 << 20;

#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    hidden_size: Option<u64>,
    intermediate_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    partial_rotary_factor: Option<f64>,
    vocab_size: Option<u64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
    max_position_embeddings: Option<u64>,
}

impl ModelConfig {
    /// From the bytes of a config.json, called `file` in errors.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn from_json(file: &str, bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() > MAX_JSON {
            return Err(ModelError::header(file, "size", bytes.len(), format!("at most {MAX_JSON} bytes")));
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|source| ModelError::json(file, source))?;
        let name = raw.model_type.clone().unwrap_or_else(|| "(none)".to_owned());
        let Some(family) = Family::from_name(&name) else {
            return Err(ModelError::unsupported(file, "architecture (model_type)", name, Family::KNOWN));
        };
        refuse_unsupported(file, &raw)?;
        let need = |key: &str, value: Option<u64>| {
            value.ok_or_else(|| ModelError::header(file, key, "nothing", "a positive integer"))
        };
        let hidden = need("hidden_size", raw.hidden_size)?;
        let heads = need("num_attention_heads", raw.num_attention_heads)?;
        Self {
            family,
            hidden,
            inter: need("intermediate_size", raw.intermediate_size)?,
            layers: need("num_hidden_layers", raw.num_hidden_layers)?,
            heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(heads),
            head_dim: raw.head_dim.unwrap_or_else(|| default_head_dim(family, hidden, heads)),
            eps: raw.rms_norm_eps.unwrap_or(1e-6),
            theta: theta(file, &raw)?,
            vocab: need("vocab_size", raw.vocab_size)?,
            tied: raw.tie_word_embeddings.unwrap_or(false),
            qkv_bias: family == Family::Qwen2,
            qk_norm: family == Family::Qwen3,
            max_positions: raw.max_position_embeddings.unwrap_or(2048),
        }
        .checked(file)
    }

    /// Checks the numbers against each other.
    pub(crate) fn checked(self, file: &str) -> Result<Self, ModelError> {
        let sizes = [
            ("hidden size", self.hidden),
            ("feed-forward size", self.inter),
            ("layers", self.layers),
            ("heads", self.heads),
            ("key-value heads", self.kv_heads),
            ("head size", self.head_dim),
            ("vocabulary", self.vocab),
        ];
        for (what, size) in sizes {
            if !(1..=MOST).contains(&size) {
                return Err(ModelError::header(file, what, size, format!("1 to {MOST}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let want = format!("a divisor of the {} heads", self.heads);
            return Err(ModelError::header(file, "key-value heads", self.kv_heads, want));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ModelError::header(file, "head size", self.head_dim, "an even number"));
        }
        for (what, value) in [("RMS epsilon", self.eps), ("rope theta", self.theta)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(ModelError::header(file, what, value, "a positive number"));
            }
        }
        Ok(self)
    }

    /// Rows of q_proj.
    pub fn q_rows(&self) -> u64 {
        self.heads * self.head_dim
    }

    /// Rows of k_proj and v_proj.
    pub fn kv_rows(&self) -> u64 {
        self.kv_heads * self.head_dim
    }
}

/// What the architectures take when `head_dim` is absent.
fn default_head_dim(family: Family, hidden: u64, heads: u64) -> u64 {
    match family {
        Family::Qwen3 => 128,
        Family::Llama | Family::Qwen2 => hidden.checked_div(heads).unwrap_or(0),
    }
}

fn refuse_unsupported(file: &str, raw: &Raw) -> Result<(), ModelError> {
    if let Some(act) = raw.hidden_act.as_deref().filter(|act| *act != "silu") {
        return Err(ModelError::unsupported(file, "hidden_act", act, "silu"));
    }
    let switches = [
        ("attention_bias", raw.attention_bias),
        ("mlp_bias", raw.mlp_bias),
        ("use_sliding_window", raw.use_sliding_window),
    ];
    for (key, value) in switches {
        if value == Some(true) {
            return Err(ModelError::unsupported(file, key, true, "false"));
        }
    }
    if raw.quantization_config.as_ref().is_some_and(|v| !v.is_null()) {
        return Err(ModelError::unsupported(
            file,
            "quantization_config",
            "given",
            "unquantized safetensors, or a GGUF file",
        ));
    }
    if let Some(factor) = raw.partial_rotary_factor.filter(|f| *f != 1.0) {
        return Err(ModelError::unsupported(file, "partial_rotary_factor", factor, "1"));
    }
    for (key, value) in [("rope_scaling", &raw.rope_scaling), ("rope_parameters", &raw.rope_parameters)] {
        let Some(Value::Object(fields)) = value else {
            continue;
        };
        let kind = fields.get("rope_type").or_else(|| fields.get("type"));
        if let Some(kind) = kind.filter(|kind| kind.as_str() != Some("default")) {
            return Err(ModelError::unsupported(file, format!("{key}: scaled rotary embedding"), kind, "default"));
        }
        if let Some(factor) = fields.get("partial_rotary_factor").filter(|f| f.as_f64() != Some(1.0)) {
            return Err(ModelError::unsupported(file, format!("{key}.partial_rotary_factor"), factor, "1"));
        }
    }
    Ok(())
}

/// New files have it in `rope_parameters`, older ones at the top.
fn theta(file: &str, raw: &Raw) -> Result<f64, ModelError> {
    let nested = raw.rope_parameters.as_ref().and_then(|v| v.get("rope_theta"));
    match nested {
        None => Ok(raw.rope_theta.unwrap_or(10_000.0)),
        Some(value) => {
            value.as_f64().ok_or_else(|| ModelError::header(file, "rope_parameters.rope_theta", value, "a number"))
        }
    }
}
