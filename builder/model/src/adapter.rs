//! What a LoRA adapter for a model looks like, and whether given bytes are one.

use std::collections::BTreeMap;

use crate::dtype::Dtype;
use crate::{ModelConfig, ModelError, expect, safetensors};

/// The modules that LoRA can be attached to.
pub const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The name that PEFT gives one half (`A` or `B`) of a LoRA pair.
pub fn tensor_name(layer: u64, target: &str, half: char) -> String {
    let module = if matches!(target, "gate_proj" | "up_proj" | "down_proj") { "mlp" } else { "self_attn" };
    format!("base_model.model.model.layers.{layer}.{module}.{target}.lora_{half}.weight")
}

/// Every tensor of an adapter of this rank on these targets: PEFT's name -> shape.
///
/// # Errors
/// An unknown target, or a rank of 0 or above the model's width.
pub fn adapter_tensors(
    config: &ModelConfig,
    targets: &[String],
    rank: u64,
) -> Result<BTreeMap<String, Vec<u64>>, ModelError> {
    if !(1..=config.hidden).contains(&rank) {
        return Err(ModelError::Rank { got: rank, most: config.hidden });
    }
    if let Some(unknown) = targets.iter().find(|t| !TARGETS.contains(&t.as_str())) {
        return Err(ModelError::Target { got: unknown.clone(), known: TARGETS.join(", ") });
    }
    if targets.is_empty() {
        return Err(ModelError::Target { got: "(none)".to_owned(), known: TARGETS.join(", ") });
    }
    let mut tensors = BTreeMap::new();
    for layer in 0..config.layers {
        for (name, _, [out, input]) in expect::projections(config) {
            if targets.iter().any(|t| t == name) {
                tensors.insert(tensor_name(layer, name, 'A'), vec![rank, input]);
                tensors.insert(tensor_name(layer, name, 'B'), vec![out, rank]);
            }
        }
    }
    Ok(tensors)
}

/// Checks that a header holds exactly the tensors `want`.
///
/// # Errors
/// The first tensor that is missing, extra, or of another shape.
pub fn check_names(
    file: &str,
    header: &safetensors::Header,
    want: &BTreeMap<String, Vec<u64>>,
) -> Result<(), ModelError> {
    for (name, shape) in want {
        let Some(tensor) = header.tensors.get(name) else {
            return Err(ModelError::header(file, format!("tensor {name}"), "nothing", format!("shape {shape:?}")));
        };
        if tensor.shape != *shape {
            return Err(ModelError::Shape {
                file: file.to_owned(),
                tensor: name.clone(),
                got: tensor.shape.clone(),
                want: shape.clone(),
            });
        }
    }
    match header.tensors.keys().find(|name| !want.contains_key(*name)) {
        Some(extra) => {
            Err(ModelError::header(file, "tensors", format!("an extra one, {extra}"), "only those of the adapter"))
        }
        None => Ok(()),
    }
}

/// Checks that every value of every tensor is finite. `bytes` is the whole file that `header` was parsed from.
///
/// # Errors
/// The first value that is not; or a file shorter than the header says.
pub fn check_finite(file: &str, header: &safetensors::Header, bytes: &[u8]) -> Result<(), ModelError> {
    for (name, tensor) in &header.tensors {
        let end = tensor.offset + tensor.len;
        let Some(data) = bytes.get(tensor.offset as usize..end as usize) else {
            return Err(ModelError::truncated(file, format!("tensor {name}"), end, bytes.len() as u64));
        };
        check_tensor_finite(file, name, tensor.dtype, data)?;
    }
    Ok(())
}

/// Checks one tensor's bytes, or whole elements of them.
///
/// # Errors
/// The first value that is not finite.
pub fn check_tensor_finite(file: &str, name: &str, dtype: Dtype, data: &[u8]) -> Result<(), ModelError> {
    let bad = match dtype {
        Dtype::F32 => first(data.as_chunks::<4>().0, |b| f32::from_le_bytes(*b)),
        Dtype::BF16 => first(data.as_chunks::<2>().0, |b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)),
        Dtype::F16 => first(data.as_chunks::<2>().0, |b| f16_class(u16::from_le_bytes(*b))),
        Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q4_1 => {
            return Err(ModelError::unsupported(file, format!("tensor {name}: type"), dtype, Dtype::SAFETENSORS));
        }
    };
    match bad {
        Some((index, value)) => {
            Err(ModelError::NotFinite { file: file.to_owned(), tensor: name.to_owned(), index, value })
        }
        None => Ok(()),
    }
}

fn first<const N: usize>(items: &[[u8; N]], value: impl Fn(&[u8; N]) -> f32) -> Option<(u64, f32)> {
    items.iter().map(value).enumerate().find(|(_, v)| !v.is_finite()).map(|(i, v)| (i as u64, v))
}

/// Infinity, NaN or zero: enough to tell finite from not.
fn f16_class(bits: u16) -> f32 {
    match (bits & 0x7c00 == 0x7c00, bits & 0x03ff) {
        (false, _) => 0.0,
        (true, 0) if bits & 0x8000 == 0 => f32::INFINITY,
        (true, 0) => f32::NEG_INFINITY,
        (true, _) => f32::NAN,
    }
}
