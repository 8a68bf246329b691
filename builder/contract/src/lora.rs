//! What a LoRA adapter is made of, whatever the model: the modules it may be of, and the names and shapes of its pairs.

use std::collections::{BTreeMap, BTreeSet};

use crate::quote::quoted;

/// The modules that LoRA can be attached to.
pub const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Modules in one adapter.
pub const MAX_TARGETS: usize = 256;
/// Bytes of a module's name.
pub const MAX_TARGET: usize = 128;

/// Tensors in an adapter of a model that is not understood: experts have many modules.
const MAX_TENSORS: usize = 8192;
/// Bytes of one's name.
const MAX_NAME: usize = 256;
/// Different names once the numbers in them are left out. A model's layers differ in nothing else.
const MAX_KINDS: usize = 256;
/// The halves of a LoRA pair.
const HALVES: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// Digits of a number in a name: a layer, an expert.
const MAX_DIGITS: usize = 5;
/// Numbers in a name; `down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0` has five.
const MAX_NUMBERS: usize = 6;

/// Checks that shapes by name are LoRA pairs, A `[rank, in]` and B `[out, rank]`, of modules that are `targets`. Names carry
/// nothing of their own: they are as many, as long and as different as a model's are.
///
/// # Errors
/// Why the first that is no half of such a pair is none.
pub fn pairs(shapes: &BTreeMap<&str, &[u64]>, rank: u64, targets: &[String]) -> Result<(), String> {
    if shapes.is_empty() || shapes.len() > MAX_TENSORS {
        return Err(format!("{} tensors, want 1 to {MAX_TENSORS}", shapes.len()));
    }
    let mut kinds = BTreeSet::new();
    for (name, shape) in shapes {
        let shown = quoted(name).at_most(200);
        let Some((half, stem)) = half(name) else {
            let want = "no half of a LoRA pair (….lora_A.weight, ….lora_B.weight)";
            return Err(format!("tensor \"{shown}\" is {want}"));
        };
        let other = format!("{stem}{}", HALVES[1 - half]);
        if !shapes.contains_key(other.as_str()) {
            return Err(format!("tensor {shown}: its other half {other} is missing"));
        }
        let of =
            |target: &String| stem.strip_suffix(target.as_str()).is_some_and(|p| p.is_empty() || p.ends_with('.'));
        if !targets.iter().any(of) {
            return Err(format!("tensor {shown} is of none of the target_modules"));
        }
        if !counts(stem) {
            let want =
                format!("want at most {MAX_NUMBERS}, each of at most {MAX_DIGITS} digits, without leading zeros");
            return Err(format!("tensor {shown}: numbers in its name: {want}"));
        }
        let ranked = shape.len() == 2 && shape[half] == rank && !shape.contains(&0);
        if !ranked {
            let shape = &shape[..shape.len().min(8)];
            return Err(format!("tensor {shown}: got shape {shape:?}, want two dimensions with rank {rank}"));
        }
        kinds.insert(stem.replace(|c: char| c.is_ascii_digit(), ""));
    }
    match kinds.len() {
        0..=MAX_KINDS => Ok(()),
        more => Err(format!("tensors of {more} kinds of modules, want at most {MAX_KINDS}")),
    }
}

/// Which half of a pair a name is of, and what comes before.
fn half(name: &str) -> Option<(usize, &str)> {
    let plain = name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let half = HALVES.iter().position(|half| plain && name.ends_with(half))?;
    Some((half, name.strip_suffix(HALVES[half])?))
}

/// Whether the numbers in a name are those of layers and experts: what is longer, or written in another way than numbers
/// are, could be anything.
fn counts(stem: &str) -> bool {
    let numbers = || stem.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    let plain = |number: &str| number.len() <= MAX_DIGITS && (number == "0" || !number.starts_with('0'));
    numbers().count() <= MAX_NUMBERS && numbers().all(plain)
}
