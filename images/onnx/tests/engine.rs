//! Different ways to the same numbers: packed or padded, at once or token by token, one file or several, GGUF or
//! safetensors.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hone_train::adapter::Adapter;
use hone_train::batch::{Batch, Costs, Sequence};
use hone_train::engine::{Dial, Engine};
use hone_train::generate::Reader;
use hone_train::layers::Residence;
use hone_train::tensors::{TensorFile, write};
use hone_train::weights::Weights;

const DIAL: Dial = Dial { residence: Residence::Stream, activations: u64::MAX };
const TOKENS: [u32; 9] = [5, 9, 200, 31, 7, 7, 100, 319, 3];

fn golden(family: &str) -> PathBuf {
    common::fixture(&format!("golden/{family}"))
}

fn logits(model: &Path, residence: Residence, parts: &[&[u32]]) -> Vec<f32> {
    let weights = Weights::open(model, 2).unwrap();
    let mut reader = Reader::new(&common::runtime(), &weights, None, residence).unwrap();
    parts.iter().flat_map(|part| reader.logits(part).unwrap()).collect()
}

fn near(a: &[f32], b: &[f32], most: f32) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= most, "{worst}");
}

#[test]
fn packed_and_padded_batches_have_the_same_gradients() {
    for family in ["llama", "qwen2", "qwen3"] {
        let weights = Weights::open(&golden(family), 2).unwrap();
        let adapter = Adapter::load(weights.config(), &golden(family).join("adapter_init")).unwrap();
        // They begin alike for ten tokens, of which the packed batch computes some once.
        let sequence = |n: usize, step: u32| Sequence {
            ids: (0..n as u32).map(|i| (i + if i < 10 { 3 } else { step }) * 7 % 300).collect(),
            scored: (0..n).map(|i| i > 11).collect(),
        };
        let sequences = [sequence(20, 5), sequence(30, 9), sequence(30, 14)];
        let all: Vec<&Sequence> = sequences.iter().collect();
        let run = |pair: f64| {
            let batch = Batch::new(&all, Costs { row: 1.0, pair });
            let mut adapter = adapter.clone();
            let mut engine = Engine::new(&common::runtime(), &weights, &adapter, DIAL).unwrap();
            let loss = engine.step(&batch, &mut adapter, 0.1).unwrap();
            ((batch.count, batch.length), loss, adapter.params.into_iter().flat_map(|p| p.grad).collect::<Vec<f32>>())
        };
        let (packed, padded) = (run(0.0), run(1e9));
        assert_eq!((packed.0, padded.0), ((1, 64), (3, 32)));
        assert!((packed.1 - padded.1).abs() < 1e-4, "{} {}", packed.1, padded.1);
        near(&packed.2, &padded.2, 1e-4);
    }
}

#[test]
fn a_cache_changes_nothing() {
    for family in ["llama", "qwen2", "qwen3"] {
        let whole = logits(&golden(family), Residence::Stream, &[&TOKENS]);
        let parts = logits(&golden(family), Residence::Stream, &[&TOKENS[..4], &TOKENS[4..5], &TOKENS[5..]]);
        near(&whole, &parts, 2e-5);
    }
}

/// All tensors of a golden checkpoint.
fn tensors(family: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(golden(family).join("model.safetensors")).unwrap();
    let hone_model::Progress::Done(header) =
        hone_model::safetensors::parse("model", &bytes, bytes.len() as u64).unwrap()
    else {
        panic!("the whole file was given");
    };
    let read = |tensor: &hone_model::safetensors::Tensor| {
        let data = &bytes[tensor.offset as usize..(tensor.offset + tensor.len) as usize];
        let values = data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (tensor.shape.iter().map(|&d| d as usize).collect(), values)
    };
    header.tensors.iter().map(|(name, tensor)| (name.clone(), read(tensor))).collect()
}

#[test]
fn shards_are_one_model() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden("qwen2").join("config.json"), dir.path().join("config.json")).unwrap();
    let tensors = tensors("qwen2");
    let mut map = BTreeMap::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let part: Vec<_> = tensors.iter().enumerate().filter(|(i, _)| i % 2 == shard).map(|(_, t)| t).collect();
        let rows: Vec<_> = part.iter().map(|(n, (shape, values))| TensorFile { name: n, shape, values }).collect();
        write(&dir.path().join(&name), &BTreeMap::new(), &rows).unwrap();
        part.iter().for_each(|(tensor, _)| drop(map.insert(tensor.to_string(), name.clone())));
    }
    let index = dir.path().join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    let whole = logits(&golden("qwen2"), Residence::Stream, &[&TOKENS]);
    assert_eq!(whole, logits(dir.path(), Residence::Stream, &[&TOKENS]));
}

/// A GGUF metadata row.
fn row(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat()
}

fn metadata(family: &str, config: &serde_json::Value) -> Vec<Vec<u8>> {
    let mut rows = vec![row("general.architecture", 8, &text(family))];
    for (key, from) in [
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("block_count", "num_hidden_layers"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
    ] {
        let number = config[from].as_u64().unwrap_or(16) as u32;
        rows.push(row(&format!("{family}.{key}"), 4, &number.to_le_bytes()));
    }
    for (key, number) in [
        ("attention.layer_norm_rms_epsilon", &config["rms_norm_eps"]),
        ("rope.freq_base", &config["rope_parameters"]["rope_theta"]),
    ] {
        rows.push(row(&format!("{family}.{key}"), 6, &(number.as_f64().unwrap() as f32).to_le_bytes()));
    }
    rows
}

/// Writes a GGUF as llama.cpp would: its names, its row order of q and k, `encode` for matrices.
fn write_gguf(path: &Path, family: &str, kind: u32, encode: &dyn Fn(&[f32]) -> Vec<u8>) {
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(golden(family).join("config.json")).unwrap()).unwrap();
    let values = metadata(family, &config);
    let (mut table, mut data) = (Vec::new(), Vec::new());
    let tensors = tensors(family);
    for (name, (shape, numbers)) in &tensors {
        let (name, heads) = gguf_name(name, family, &config);
        let numbers = heads.map_or(numbers.clone(), |heads| interleave(numbers, shape[0], heads));
        table.extend(text(&name));
        table.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|&d| table.extend((d as u64).to_le_bytes()));
        table.extend(if shape.len() == 2 { kind } else { 0 }.to_le_bytes());
        table.extend((data.len() as u64).to_le_bytes());
        let plain = || numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        data.extend(if shape.len() == 2 { encode(&numbers) } else { plain() });
        data.resize(data.len().next_multiple_of(32), 0);
    }
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((values.len() as u64).to_le_bytes());
    file.extend(values.concat());
    file.extend(table);
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    fs::write(path, file).unwrap();
}

fn gguf_name(name: &str, family: &str, config: &serde_json::Value) -> (String, Option<usize>) {
    let heads = |key: &str| (family == "llama").then(|| config[key].as_u64().unwrap() as usize);
    let mut rows = None;
    let parts: Vec<&str> = name.split('.').collect();
    let part = match parts[..] {
        ["model", "embed_tokens", _] => return ("token_embd.weight".to_owned(), None),
        ["model", "norm", _] => return ("output_norm.weight".to_owned(), None),
        ["lm_head", _] => return ("output.weight".to_owned(), None),
        [.., "input_layernorm", _] => "attn_norm",
        [.., "post_attention_layernorm", _] => "ffn_norm",
        [.., "q_proj", _] => {
            rows = heads("num_attention_heads");
            "attn_q"
        }
        [.., "k_proj", _] => {
            rows = heads("num_key_value_heads");
            "attn_k"
        }
        [.., "v_proj", _] => "attn_v",
        [.., "o_proj", _] => "attn_output",
        [.., "q_norm", _] => "attn_q_norm",
        [.., "k_norm", _] => "attn_k_norm",
        [.., "gate_proj", _] => "ffn_gate",
        [.., "up_proj", _] => "ffn_up",
        [.., "down_proj", _] => "ffn_down",
        _ => panic!("{name}"),
    };
    (format!("blk.{}.{part}.{}", parts[2], parts[parts.len() - 1]), rows)
}

/// llama.cpp's order: reshape(heads, 2, half, in), swap the middle two.
fn interleave(numbers: &[f32], rows: usize, heads: usize) -> Vec<f32> {
    let (width, half) = (numbers.len() / rows, rows / heads / 2);
    let row = |i: usize| &numbers[i * width..][..width];
    let order = (0..heads).flat_map(|h| (0..half).flat_map(move |j| [0, 1].map(|s| h * 2 * half + s * half + j)));
    order.flat_map(|i| row(i).to_vec()).collect()
}

#[test]
fn ggufs_are_the_same_models() {
    let dir = tempfile::tempdir().unwrap();
    for family in ["llama", "qwen2", "qwen3"] {
        let path = dir.path().join(format!("{family}.gguf"));
        write_gguf(&path, family, 0, &|numbers| numbers.iter().flat_map(|n| n.to_le_bytes()).collect());
        let reference = logits(&golden(family), Residence::Stream, &[&TOKENS]);
        assert_eq!(logits(&path, Residence::Stream, &[&TOKENS]), reference, "{family}");
        assert_eq!(logits(&path, Residence::Resident, &[&TOKENS]), reference, "{family}");
    }
}

#[test]
fn sixteen_and_eight_bits_are_near() {
    let dir = tempfile::tempdir().unwrap();
    let reference = logits(&golden("llama"), Residence::Stream, &[&TOKENS]);
    let path = dir.path().join("llama.gguf");
    write_gguf(&path, "llama", 1, &|n| n.iter().flat_map(|n| half::f16::from_f32(*n).to_le_bytes()).collect());
    near(&logits(&path, Residence::Stream, &[&TOKENS]), &reference, 0.01);
    write_gguf(&path, "llama", 30, &|n| n.iter().flat_map(|n| half::bf16::from_f32(*n).to_le_bytes()).collect());
    near(&logits(&path, Residence::Stream, &[&TOKENS]), &reference, 0.1);
    write_gguf(&path, "llama", 8, &q8_0);
    near(&logits(&path, Residence::Stream, &[&TOKENS]), &reference, 0.2);
}

fn q8_0(numbers: &[f32]) -> Vec<u8> {
    let block = |block: &[f32]| {
        let scale = half::f16::from_f32(block.iter().fold(0f32, |m, n| m.max(n.abs())) / 127.0);
        let quant = |n: &f32| (n / scale.to_f32()).round() as i8 as u8;
        scale.to_le_bytes().into_iter().chain(block.iter().map(quant)).collect::<Vec<u8>>()
    };
    numbers.chunks(32).flat_map(block).collect()
}
