//! What a LoRA adapter for a model looks like, and whether given bytes are one.

use std::collections::BTreeMap;

use hone_contract::lora::pairs;
use hone_contract::quoted;

pub use hone_contract::lora::TARGETS;

use crate::dtype::Dtype;
use crate::{ModelConfig, ModelError, expect, safetensors};

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
            let what = format!("tensor {}", quoted(name));
            return Err(ModelError::header(file, what, "nothing", format!("shape {shape:?}")));
        };
        if tensor.shape != *shape {
            return Err(ModelError::Shape {
                file: file.to_owned(),
                tensor: name.clone(),
                // A file may claim any number of dimensions; the first show what is wrong.
                got: tensor.shape.iter().copied().take(8).collect(),
                want: shape.clone(),
            });
        }
    }
    match header.tensors.keys().find(|name| !want.contains_key(*name)) {
        Some(extra) => {
            let got = format!("an extra one, {}", quoted(extra));
            Err(ModelError::header(file, "tensors", got, "only those of the adapter"))
        }
        None => Ok(()),
    }
}

/// Checks an adapter of a model that is not understood: LoRA pairs, as [`pairs`] says.
///
/// # Errors
/// The first tensor that is no half of such a pair.
pub fn check_pairs(
    file: &str,
    header: &safetensors::Header,
    rank: u64,
    targets: &[String],
) -> Result<(), ModelError> {
    let shapes = header.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice())).collect();
    pairs(&shapes, rank, targets).map_err(|why| ModelError::Peft { file: file.to_owned(), why })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::{Header, Tensor};

    fn header(tensors: &[(String, [u64; 2])]) -> Header {
        let of = |shape: &[u64; 2]| Tensor { dtype: Dtype::F32, shape: shape.to_vec(), offset: 0, len: 0 };
        let tensors = tensors.iter().map(|(name, shape)| (name.clone(), of(shape))).collect();
        Header { tensors, metadata: BTreeMap::new(), data_start: 8 }
    }

    fn pair(stem: &str) -> [(String, [u64; 2]); 2] {
        [(format!("{stem}.lora_A.weight"), [4, 64]), (format!("{stem}.lora_B.weight"), [64, 4])]
    }

    fn check(tensors: &[(String, [u64; 2])]) -> Result<(), String> {
        let targets = ["q_proj".to_owned(), "down_proj".to_owned()];
        check_pairs("a", &header(tensors), 4, &targets).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_empty_tensors_carry_nothing() {
        // 10,000 pairs of nothing, whose names are what somebody wanted to take along.
        let names = |n: usize| format!("base_model.{}{n}.q_proj", "diary".repeat(40));
        let empty: Vec<_> = (0..10_000).flat_map(|n| pair(&names(n))).map(|(name, _)| (name, [4, 0])).collect();
        assert_eq!(check(&empty), Err("a: 20000 tensors, want 1 to 8192".to_owned()));
        let said =
            check(&[("x.q_proj.lora_A.weight".to_owned(), [4, 0]), ("x.q_proj.lora_B.weight".to_owned(), [0, 4])]);
        assert_eq!(
            said,
            Err("a: tensor x.q_proj.lora_A.weight: got shape [4, 0], want two dimensions with rank 4".to_owned())
        );
        let long = check(&pair(&format!("{}.q_proj", "a".repeat(500)))).expect_err("a long name");
        assert!(long.contains("is no half of a LoRA pair") && long.len() < 400, "{long}");
        assert!(check(&pair("\u{1b}[2J.q_proj")).is_err_and(|said| !said.contains('\u{1b}')));
        // Words in the place of names.
        let word = |n: usize| format!("{}.q_proj", char::from(b'a' + (n % 26) as u8).to_string().repeat(1 + n / 26));
        let words: Vec<_> = (0..300).flat_map(|n| pair(&word(n))).collect();
        assert_eq!(check(&words), Err("a: tensors of 300 kinds of modules, want at most 256".to_owned()));
        let said = check(&pair("model.layers.0.diary")).expect_err("not a target");
        assert!(said.ends_with("is of none of the target_modules"), "{said}");
        assert!(check(&pair("model.layers.0.notq_proj")).is_err() && check(&[]).is_err());
    }

    #[test]
    fn numbers_in_names_carry_nothing() {
        let want = "numbers in its name: want at most 6, each of at most 5 digits, without leading zeros";
        let long = |n: usize| format!("model.layers.{n}{}.q_proj", "0123456789".repeat(20));
        let many: Vec<_> = (1..4000).flat_map(|n| pair(&long(n))).collect();
        assert!(check(&many).is_err_and(|said| said.ends_with(want)));
        for number in ["123456", "00", "01", "18446744073709551616", "1.2.3.4.5.6.7", "x1y2z3a4b5c6d7"] {
            let said = check(&pair(&format!("model.layers.{number}.q_proj"))).expect_err(number);
            assert!(said.ends_with(want), "{said}");
        }
        for number in ["0", "99999", "10", "0.1.2.3.4.5"] {
            assert_eq!(check(&pair(&format!("model.layers.{number}.q_proj"))), Ok(()));
        }
    }

    #[test]
    fn adapters_of_models_that_are_not_known_pass() {
        let layer = |n: usize| format!("base_model.model.model.layers.{n}.self_attn.q_proj");
        let dense: Vec<_> = (0..200).flat_map(|n| pair(&layer(n))).collect();
        assert_eq!(check(&dense), Ok(()));
        let expert = |n: usize| format!("base_model.model.layers.{}.mlp.experts.{}.down_proj", n / 64, n % 64);
        let experts: Vec<_> = (0..64 * 48).flat_map(|n| pair(&expert(n))).collect();
        assert_eq!(check(&experts), Ok(()));
        assert_eq!(check(&pair("q_proj")), Ok(()));
    }
}
