//! GGUF metadata as a model configuration, and GGUF tensor names as Hugging Face names.

use crate::config::{Family, ModelConfig};
use crate::gguf::{Header, Value};
use crate::{ModelError, RowOrder};

/// Metadata of one file, read with errors that name it.
pub(crate) struct Fields<'a> {
    pub(crate) file: &'a str,
    pub(crate) header: &'a Header,
}

impl Fields<'_> {
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.header.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, other, "a string")),
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Result<Option<u64>, ModelError> {
        match self.header.metadata.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(n)) => Ok(Some(*n)),
            Some(Value::Signed(n)) if *n >= 0 => Ok(Some(n.unsigned_abs())),
            Some(other) => Err(self.wrong(key, other, "one non-negative integer")),
        }
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.header.metadata.get(key) {
            None => Ok(None),
            Some(Value::Float(n)) => Ok(Some(*n)),
            Some(other) => Err(self.wrong(key, other, "a float")),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.header.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(other) => Err(self.wrong(key, other, "a boolean")),
        }
    }

    fn need(&self, key: &str) -> Result<u64, ModelError> {
        self.integer(key)?
            .ok_or_else(|| ModelError::header(self.file, format!("metadata {key}"), "nothing", "an integer"))
    }

    pub(crate) fn wrong(&self, key: &str, got: &Value, want: &str) -> ModelError {
        ModelError::header(self.file, format!("metadata {key}"), got.words(), want)
    }
}

/// The configuration that the metadata of `file` gives.
pub(crate) fn config(file: &str, header: &Header) -> Result<ModelConfig, ModelError> {
    let fields = Fields { file, header };
    let arch = fields.text("general.architecture")?.unwrap_or("(none)");
    let Some(family) = Family::from_name(arch) else {
        return Err(ModelError::unsupported(file, "architecture", arch, Family::KNOWN));
    };
    refuse_unsupported(&fields, arch)?;
    let hidden = fields.need(&format!("{arch}.embedding_length"))?;
    let heads = fields.need(&format!("{arch}.attention.head_count"))?;
    let head_dim = match fields.integer(&format!("{arch}.attention.key_length"))? {
        Some(n) => n,
        None => hidden.checked_div(heads).unwrap_or(0),
    };
    let embedding = header.tensors.get("token_embd.weight");
    let vocab = embedding.and_then(|t| t.shape.first().copied());
    ModelConfig {
        family,
        hidden,
        inter: fields.need(&format!("{arch}.feed_forward_length"))?,
        layers: fields.need(&format!("{arch}.block_count"))?,
        heads,
        kv_heads: fields.integer(&format!("{arch}.attention.head_count_kv"))?.unwrap_or(heads),
        head_dim,
        eps: short(fields.float(&format!("{arch}.attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5)),
        theta: fields.float(&format!("{arch}.rope.freq_base"))?.unwrap_or(10_000.0),
        vocab: vocab.ok_or_else(|| missing_embedding(file, family, hidden))?,
        tied: !header.tensors.contains_key("output.weight"),
        qkv_bias: family == Family::Qwen2,
        qk_norm: family == Family::Qwen3,
        max_positions: fields.integer(&format!("{arch}.context_length"))?.unwrap_or(2048),
    }
    .checked(file)
}

/// An f32 such as 1e-5 is 9.99999974e-6 as f64: takes the shortest decimal instead, as config.json would have it.
fn short(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

fn missing_embedding(file: &str, family: Family, hidden: u64) -> ModelError {
    ModelError::Missing {
        file: file.to_owned(),
        tensor: "token_embd.weight".to_owned(),
        family: family.name(),
        want: vec![0, hidden],
    }
}

fn refuse_unsupported(fields: &Fields<'_>, arch: &str) -> Result<(), ModelError> {
    let key = format!("{arch}.rope.scaling.type");
    if let Some(kind) = fields.text(&key)?.filter(|kind| *kind != "none") {
        return Err(ModelError::unsupported(fields.file, format!("{key}: scaled rotary embedding"), kind, "none"));
    }
    if fields.header.tensors.contains_key("rope_freqs.weight") {
        let what = "tensor rope_freqs.weight: scaled rotary embedding";
        return Err(ModelError::unsupported(fields.file, what, "llama3", "none"));
    }
    if let Some(n) = fields.integer(&format!("{arch}.expert_count"))?.filter(|n| *n > 0) {
        return Err(ModelError::unsupported(fields.file, "expert_count", n, "0 (dense models)"));
    }
    let value_length = fields.integer(&format!("{arch}.attention.value_length"))?;
    let key_length = fields.integer(&format!("{arch}.attention.key_length"))?;
    let head_dim = key_length.or(value_length);
    if let Some(length) = value_length.filter(|_| value_length != head_dim) {
        return Err(ModelError::unsupported(fields.file, "attention.value_length", length, "the key length"));
    }
    let rotated = fields.integer(&format!("{arch}.rope.dimension_count"))?;
    let whole = match head_dim {
        Some(n) => Some(n),
        None => fields
            .need(&format!("{arch}.embedding_length"))?
            .checked_div(fields.need(&format!("{arch}.attention.head_count"))?),
    };
    match rotated {
        Some(n) if Some(n) != whole => {
            Err(ModelError::unsupported(fields.file, "rope.dimension_count", n, "the whole head"))
        }
        _ => Ok(()),
    }
}

/// The Hugging Face name of a GGUF tensor, and how its rows lie; none for a tensor that has no such name.
pub(crate) fn canonical(c: &ModelConfig, name: &str) -> Option<(String, RowOrder)> {
    let plain = |name: &str| Some((name.to_owned(), RowOrder::Straight));
    match name {
        "token_embd.weight" => return plain("model.embed_tokens.weight"),
        "output_norm.weight" => return plain("model.norm.weight"),
        "output.weight" => return plain("lm_head.weight"),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u64 = layer.parse().ok()?;
    let (part, kind) = rest.split_once('.')?;
    let module = match part {
        "attn_norm" => "input_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    let rows = match (c.family, part) {
        (Family::Llama, "attn_q") => RowOrder::Interleaved { heads: c.heads },
        (Family::Llama, "attn_k") => RowOrder::Interleaved { heads: c.kv_heads },
        _ => RowOrder::Straight,
    };
    Some((format!("model.layers.{layer}.{module}.{kind}"), rows))
}
