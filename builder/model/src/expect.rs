//! The tensors a model of a given configuration has, by Hugging Face name, and their shapes.

use crate::ModelConfig;

/// The seven projections of a layer: name, module it sits in, shape `[out, in]`.
pub(crate) fn projections(c: &ModelConfig) -> [(&'static str, &'static str, [u64; 2]); 7] {
    [
        ("q_proj", "self_attn", [c.q_rows(), c.hidden]),
        ("k_proj", "self_attn", [c.kv_rows(), c.hidden]),
        ("v_proj", "self_attn", [c.kv_rows(), c.hidden]),
        ("o_proj", "self_attn", [c.hidden, c.q_rows()]),
        ("gate_proj", "mlp", [c.inter, c.hidden]),
        ("up_proj", "mlp", [c.inter, c.hidden]),
        ("down_proj", "mlp", [c.hidden, c.inter]),
    ]
}

/// Every tensor of layer `i`.
pub(crate) fn layer(c: &ModelConfig, i: u64) -> Vec<(String, Vec<u64>)> {
    let mut all = vec![
        (format!("model.layers.{i}.input_layernorm.weight"), vec![c.hidden]),
        (format!("model.layers.{i}.post_attention_layernorm.weight"), vec![c.hidden]),
    ];
    for (name, module, shape) in projections(c) {
        all.push((format!("model.layers.{i}.{module}.{name}.weight"), shape.to_vec()));
        if c.qkv_bias && ["q_proj", "k_proj", "v_proj"].contains(&name) {
            all.push((format!("model.layers.{i}.{module}.{name}.bias"), vec![shape[0]]));
        }
    }
    if c.qk_norm {
        for name in ["q_norm", "k_norm"] {
            all.push((format!("model.layers.{i}.self_attn.{name}.weight"), vec![c.head_dim]));
        }
    }
    all
}

/// The tensors outside the layers.
pub(crate) fn outer(c: &ModelConfig) -> Vec<(String, Vec<u64>)> {
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![c.vocab, c.hidden]),
        ("model.norm.weight".to_owned(), vec![c.hidden]),
    ];
    if !c.tied {
        all.push(("lm_head.weight".to_owned(), vec![c.vocab, c.hidden]));
    }
    all
}
