//! Headers that are right, and headers that lie. Each hostile case has a harmless twin that passes.

use std::collections::BTreeMap;

use hone_model::{
    Dtype, Family, GgufTokenizer, Model, ModelConfig, ModelError, Progress, RowOrder, dtype, gguf, safetensors,
};

const LLAMA: &str = r#"{"model_type":"llama","hidden_size":64,"intermediate_size":96,"num_hidden_layers":1,
 "num_attention_heads":4,"num_key_value_heads":2,"rms_norm_eps":1e-5,"vocab_size":50,"tie_word_embeddings":true,
 "rope_theta":10000.0,"hidden_act":"silu"}"#;

/// A GGUF writer that believes whatever it is told.
#[derive(Default, Clone)]
struct Gguf {
    values: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    tensor_count: Option<u64>,
}

fn text(s: &str) -> Vec<u8> {
    [(s.len() as u64).to_le_bytes().as_slice(), s.as_bytes()].concat()
}

impl Gguf {
    fn u32(&mut self, key: &str, n: u32) {
        self.raw(key, 4, &n.to_le_bytes());
    }
    fn raw(&mut self, key: &str, kind: u32, bytes: &[u8]) {
        self.values.push((key.to_owned(), [kind.to_le_bytes().as_slice(), bytes].concat()));
    }
    fn texts(&mut self, key: &str, items: &[&str]) {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((items.len() as u64).to_le_bytes());
        items.iter().for_each(|s| bytes.extend(text(s)));
        self.raw(key, 9, &bytes);
    }
    fn bytes(&self, data: usize) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend((self.values.len() as u64).to_le_bytes());
        for (key, value) in &self.values {
            out.extend(text(key));
            out.extend(value);
        }
        for (name, shape, kind, offset) in &self.tensors {
            out.extend(text(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32) + data, 0);
        out
    }
}

fn llama_gguf(kind: u32) -> (Gguf, usize) {
    let mut file = Gguf::default();
    file.raw("general.architecture", 8, &text("llama"));
    for (key, n) in [
        ("embedding_length", 64),
        ("feed_forward_length", 96),
        ("block_count", 1),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("context_length", 512),
    ] {
        file.u32(&format!("llama.{key}"), n);
    }
    file.raw("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    let mut at = 0u64;
    let mut add = |name: &str, shape: &[u64], kind: u32| {
        let len = dtype::ggml_bytes(kind, shape).flatten().unwrap_or(0);
        file.tensors.push((name.to_owned(), shape.to_vec(), kind, at));
        at = (at + len).next_multiple_of(32);
    };
    add("token_embd.weight", &[50, 64], 8);
    add("output_norm.weight", &[64], 0);
    add("blk.0.attn_norm.weight", &[64], 0);
    add("blk.0.ffn_norm.weight", &[64], 0);
    add("blk.0.attn_q.weight", &[64, 64], kind);
    add("blk.0.attn_k.weight", &[32, 64], kind);
    add("blk.0.attn_v.weight", &[32, 64], kind);
    add("blk.0.attn_output.weight", &[64, 64], kind);
    add("blk.0.ffn_gate.weight", &[96, 64], kind);
    add("blk.0.ffn_up.weight", &[96, 64], kind);
    add("blk.0.ffn_down.weight", &[64, 96], kind);
    (file, at as usize)
}

fn parse_gguf(bytes: &[u8]) -> Result<gguf::Header, ModelError> {
    match gguf::parse("m.gguf", bytes, bytes.len() as u64)? {
        Progress::Done(header) => Ok(header),
        Progress::NeedMore(n) => panic!("asked for {n} of {} bytes", bytes.len()),
    }
}

fn load_gguf(file: &Gguf, data: usize) -> Result<Model, ModelError> {
    Model::from_gguf("m.gguf", &parse_gguf(&file.bytes(data))?)
}

fn refused<T: std::fmt::Debug>(result: Result<T, ModelError>, words: &[&str]) {
    let text = result.expect_err("must be refused").to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
}

#[test]
fn a_gguf_llama_is_understood() {
    let (file, data) = llama_gguf(3);
    let model = load_gguf(&file, data).unwrap();
    assert_eq!((model.config.family, model.config.head_dim, model.config.vocab), (Family::Llama, 16, 50));
    assert_eq!(model.config.eps, 1e-5);
    assert!(model.config.tied);
    let q = &model.tensors["model.layers.0.self_attn.q_proj.weight"];
    assert_eq!((q.dtype, q.rows), (Dtype::Q4_1, RowOrder::Interleaved { heads: 4 }));
    assert_eq!(model.tensors.len(), 11);
}

#[test]
fn interleaved_rows_are_llama_cpps() {
    // One head of 6 rows: llama.cpp writes reshape(2, 3).swapaxes, that is HF rows 0 3 1 4 2 5.
    let order = RowOrder::Interleaved { heads: 1 };
    let file: Vec<u64> = (0..6).map(|row| order.source_row(row, 6)).collect();
    assert_eq!(file, [0, 2, 4, 1, 3, 5]);
}

#[test]
fn every_cut_of_a_gguf_asks_for_more_or_says_truncated() {
    let (file, data) = llama_gguf(3);
    let whole = file.bytes(data);
    for cut in 0..whole.len() {
        match gguf::parse("m.gguf", &whole[..cut], whole.len() as u64) {
            Ok(Progress::NeedMore(n)) => assert!(n > cut as u64 && n <= whole.len() as u64),
            Ok(Progress::Done(_)) => assert!(cut >= whole.len() - data - 32),
            Err(error) => panic!("{error}"),
        }
        assert!(gguf::parse("m.gguf", &whole[..cut], cut as u64).is_err());
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let (file, data) = llama_gguf(8);
    let whole = file.bytes(data);
    for at in 0..whole.len() - data {
        for value in [0x00, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Ok(Progress::Done(header)) = gguf::parse("m.gguf", &bytes, bytes.len() as u64) {
                let _ = Model::from_gguf("m.gguf", &header);
                let _ = GgufTokenizer::from_header("m.gguf", &header);
            }
        }
    }
}

#[test]
fn hostile_ggufs_are_refused() {
    let (good, data) = llama_gguf(3);
    let mut file = good.clone();
    file.tensor_count = Some(u64::MAX);
    refused(parse_gguf(&file.bytes(0)), &["m.gguf"]);
    let mut file = good.clone();
    file.tensors[4].3 = u64::MAX - 31;
    refused(parse_gguf(&file.bytes(data)), &["truncated", "attn_q"]);
    let mut file = good.clone();
    file.tensors[4].1 = vec![u64::MAX, 32];
    refused(parse_gguf(&file.bytes(data)), &["attn_q", "2^64"]);
    let mut file = good.clone();
    file.tensors[5].3 = file.tensors[4].3;
    refused(parse_gguf(&file.bytes(data)), &["overlap"]);
    let mut file = good.clone();
    file.tensors[5].3 += 1;
    refused(parse_gguf(&file.bytes(data)), &["multiple of 32"]);
    let mut file = good.clone();
    let first = file.tensors[0].clone();
    file.tensors.push(first);
    refused(parse_gguf(&file.bytes(data)), &["twice"]);
    let mut file = good.clone();
    file.raw("deep", 9, &[9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat());
    refused(parse_gguf(&file.bytes(data)), &["nested"]);
    let mut file = good.clone();
    file.raw("long", 9, &[8u32.to_le_bytes().as_slice(), &u64::MAX.to_le_bytes()].concat());
    refused(parse_gguf(&file.bytes(data)), &["m.gguf"]);
    assert!(load_gguf(&good, data).is_ok());
}

#[test]
fn ggufs_of_another_kind_are_named() {
    let (good, data) = llama_gguf(3);
    let (five, room) = llama_gguf(6);
    refused(load_gguf(&five, room), &["quantization", "Q5_0", "Q4_1"]);
    let mut file = good.clone();
    file.values[0].1 = [8u32.to_le_bytes().as_slice(), &text("mamba")].concat();
    refused(load_gguf(&file, data), &["architecture", "mamba", "llama, qwen2, qwen3"]);
    let mut file = good.clone();
    file.tensors.remove(4);
    refused(load_gguf(&file, data), &["self_attn.q_proj.weight is missing"]);
    let mut file = good.clone();
    file.tensors[3].1 = vec![32];
    refused(load_gguf(&file, data), &["got shape [32], want [64]"]);
    let mut file = good.clone();
    file.raw("llama.rope.scaling.type", 8, &text("yarn"));
    refused(load_gguf(&file, data), &["rope.scaling.type", "yarn"]);
    refused(parse_gguf(b"GGUF\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), &["version 1"]);
    refused(parse_gguf(b"PK\x03\x04 this is a pickle in a zip"), &["magic"]);
}

#[test]
fn a_gguf_tokenizer_is_read_and_its_lies_refused() {
    let (mut file, data) = llama_gguf(3);
    file.raw("tokenizer.ggml.model", 8, &text("gpt2"));
    file.texts("tokenizer.ggml.tokens", &["<|end|>", "a", "b", "ab"]);
    file.texts("tokenizer.ggml.merges", &["a b"]);
    let kinds: Vec<u8> = [3i32, 1, 1, 1].iter().flat_map(|k| k.to_le_bytes()).collect();
    file.raw("tokenizer.ggml.token_type", 9, &[&5u32.to_le_bytes()[..], &4u64.to_le_bytes(), &kinds].concat());
    file.u32("tokenizer.ggml.eos_token_id", 0);
    let header = parse_gguf(&file.bytes(data)).unwrap();
    let tokenizer = GgufTokenizer::from_header("m.gguf", &header).unwrap();
    assert_eq!((tokenizer.tokens.len(), tokenizer.kinds[0], tokenizer.eos), (4, 3, Some(0)));
    file.u32("tokenizer.ggml.bos_token_id", 4);
    let header = parse_gguf(&file.bytes(data)).unwrap();
    refused(GgufTokenizer::from_header("m.gguf", &header), &["bos_token_id", "below 4"]);
}

/// What the trainer would refuse on the device, whoever asks.
#[test]
fn a_gguf_tokenizer_that_the_trainer_cannot_compute_is_refused() {
    let good = hone_test_support::gguf_tokenizer();
    good.check("m.gguf").expect("a tokenizer");
    for pre in hone_model::PRE_TOKENIZERS {
        GgufTokenizer { pre: Some(pre.to_owned()), ..good.clone() }.check("m.gguf").expect(pre);
    }
    GgufTokenizer { merges: vec![], ..good.clone() }.check("m.gguf").expect("bytes alone");
    let said = |bad: GgufTokenizer, want: &[&str]| {
        let error = bad.check("m.gguf").expect_err("must be refused");
        let said = error.to_string();
        assert!(said.len() < 3000 && !said.contains('\u{1b}'), "{} bytes: {said:.200}", said.len());
        refused::<()>(Err(error), want);
    };
    let of = |kind: &str| GgufTokenizer { model: kind.to_owned(), ..good.clone() };
    said(of("llama"), &["tokenizer kind llama", "gpt2", "tokenizer.json"]);
    said(of(&"\u{1b}k".repeat(1 << 20)), &["tokenizer kind"]);
    said(GgufTokenizer { pre: None, ..good.clone() }, &["pre-tokenizer default", "smollm"]);
    said(GgufTokenizer { pre: Some("x".repeat(1 << 20)), ..good.clone() }, &["pre-tokenizer xxx"]);
    let long = "\u{1b}t".repeat(1 << 20);
    for token in ["a", &long] {
        let twice = [good.tokens.clone(), vec![token.to_owned(); 2]].concat();
        let kinds = vec![1; twice.len()];
        said(GgufTokenizer { tokens: twice, kinds, ..good.clone() }, &["token ", "there twice"]);
    }
    for merge in ["ab", "", &long] {
        said(GgufTokenizer { merges: vec![merge.to_owned()], ..good.clone() }, &["merge 0", "not two tokens"]);
    }
    for merge in ["b a", "x y", "a ", &format!("a {long}")] {
        let merges = vec!["a b".to_owned(), merge.to_owned()];
        said(GgufTokenizer { merges, ..good.clone() }, &["merge 1", "does not fit its vocabulary"]);
    }
}

fn st(json: &str, data: usize) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat()
}

fn parse_st(bytes: &[u8]) -> Result<safetensors::Header, ModelError> {
    match safetensors::parse("m.safetensors", bytes, bytes.len() as u64)? {
        Progress::Done(header) => Ok(header),
        Progress::NeedMore(n) => panic!("asked for {n}"),
    }
}

#[test]
fn safetensors_that_lie_are_refused() {
    let good = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]}}"#;
    assert_eq!(parse_st(&st(good, 12)).unwrap().tensors["b"].dtype, Dtype::BF16);
    refused(parse_st(&st(good, 11)), &["truncated: tensor b", "file has"]);
    refused(parse_st(&st(good, 13)), &["the file's end"]);
    refused(parse_st(&st(&good.replace("[8,12]", "[4,8]"), 8)), &["overlap"]);
    refused(parse_st(&st(&good.replace("[8,12]", "[12,16]"), 16)), &["gap"]);
    refused(parse_st(&st(&good.replace("[8,12]", "[12,8]"), 12)), &["in order"]);
    refused(parse_st(&st(&good.replace("[2,1]", "[2,2]"), 12)), &["4 bytes", "8 bytes"]);
    refused(parse_st(&st(&good.replace("[2,1]", "[18446744073709551615,9]"), 12)), &["2^64"]);
    refused(parse_st(&st(&good.replace("\"b\"", "\"a\""), 12)), &["twice"]);
    let eight = good.replace("BF16", "F8_E4M3").replace("[2,1]", "[4,1]");
    refused(parse_st(&st(&eight, 12)), &["F8_E4M3", "F32, F16, BF16"]);
    refused(parse_st(&u64::MAX.to_le_bytes()), &["truncated"]);
    refused(parse_st(b"\x80\x02}q\0"), &["truncated"]);
    assert_eq!(safetensors::parse("m", &[9, 0, 0, 0, 0, 0, 0, 0], 99).unwrap(), Progress::NeedMore(17));
    assert_eq!(safetensors::parse("m", &[], 99).unwrap(), Progress::NeedMore(8));
}

/// A type that is not computed here is no way around the checks: `Unsupported` is said of honest files only.
#[test]
fn a_tensor_of_another_type_excuses_nothing() {
    let kinds = [
        ("F8_E4M3", "[4]", 4),
        ("F8_E5M2", "[2,2]", 4),
        ("F8_E8M0", "[1]", 1),
        ("F4", "[8]", 4),
        ("F6_E2M3", "[4]", 3),
        ("BOOL", "[3]", 3),
        ("U16", "[2]", 4),
        ("I64", "[1]", 8),
        ("C64", "[1]", 8),
        ("U64", "[0]", 0),
    ];
    for (dtype, shape, len) in kinds {
        let good = other(dtype, shape, 8 + len);
        let honest = parse_st(&st(&good, 8 + len as usize)).expect_err("not computed");
        assert!(matches!(honest, ModelError::Unsupported { .. }), "{dtype}: {honest}");
        let lies = [
            (good.clone(), 8 + len as usize + 5, "the file's end"),
            (good.replace("\"shape\":[2]", "\"shape\":[1000]"), 8 + len as usize, "want 4000 bytes"),
            (other(dtype, shape, 8 + len + 1), 9 + len as usize, "bytes for"),
            (
                good.replace("[0,8]", "[0,1099511627776]").replace("\"shape\":[2]", "\"shape\":[274877906944]"),
                8,
                "truncated",
            ),
        ];
        for (json, data, words) in lies {
            let lie = parse_st(&st(&json, data)).expect_err(words);
            assert!(!matches!(lie, ModelError::Unsupported { .. }), "{dtype}: {lie}");
            assert!(lie.to_string().contains(words), "{dtype}: {lie}");
        }
    }
}

/// The header of two tensors, the second of another type.
fn other(dtype: &str, shape: &str, end: u64) -> String {
    format!(
        r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[8,{end}]}}}}"#
    )
}

#[test]
fn types_that_safetensors_has_are_checked_and_others_refused() {
    // Two of them in one place, and one that nobody has described.
    let twice = other("F8_E4M3", "[8]", 16).replace("[8,16]", "[0,8]");
    refused(parse_st(&st(&twice, 8)), &["overlap"]);
    refused(parse_st(&st(&other("F8_E9M9", "[8]", 16), 16)), &["type: got F8_E9M9", "a type that safetensors has"]);
    refused(parse_st(&st(&other("F4", "[7]", 12), 12)), &["whole bytes"]);
}

/// The same of GGUF, whose quantizations are many.
#[test]
fn a_gguf_tensor_of_another_type_excuses_nothing() {
    let file = |tensors: &[(&str, &[u64], u32, u64)]| {
        let rows = tensors.iter().map(|(name, shape, kind, at)| ((*name).to_owned(), shape.to_vec(), *kind, *at));
        Gguf { tensors: rows.collect(), ..Gguf::default() }
    };
    let q4_k = 144;
    assert!(parse_gguf(&file(&[("a", &[2, 256], 12, 0), ("b", &[8], 0, 2 * q4_k)]).bytes(400)).is_ok());
    refused(
        parse_gguf(&file(&[("a", &[2, 256], 12, 0), ("b", &[8], 0, 32)]).bytes(400)),
        &["tensor b", "overlaps tensor a"],
    );
    refused(parse_gguf(&file(&[("a", &[1 << 40, 256], 12, 0)]).bytes(400)), &["truncated: tensor a"]);
    refused(
        parse_gguf(&file(&[("a", &[2, 64], 12, 0)]).bytes(400)),
        &["tensor a", "[2, 64] in Q4_K", "whole blocks"],
    );
    // Of one that nobody has described the place is known, and belongs to it.
    assert!(parse_gguf(&file(&[("a", &[9], 99, 0), ("b", &[8], 0, 32)]).bytes(64)).is_ok());
    refused(parse_gguf(&file(&[("a", &[9], 99, 0), ("b", &[8], 0, 0)]).bytes(64)), &["overlap"]);
    refused(parse_gguf(&file(&[("a", &[9], 99, 1 << 40)]).bytes(64)), &["truncated: tensor a"]);
}

/// What a header says is a stranger's, of any length, and a terminal would obey it.
#[test]
fn strangers_words_are_shown_escaped_and_cut() {
    let name = format!("\u{1b}[2J{}", "n".repeat(1 << 20));
    let json = |name: &str| serde_json::to_string(name).unwrap();
    let (mut key, mut wrong, mut arch) = (llama_gguf(3).0, llama_gguf(3).0, llama_gguf(3).0);
    key.raw(&name, 77, &[]);
    wrong.raw("llama.rope.scaling.type", 8, &text(&name));
    arch.values[0].1 = [8u32.to_le_bytes().as_slice(), &text(&name)].concat();
    let mut twice = llama_gguf(3).0;
    twice.tensors[0].0 = name.clone();
    twice.tensors[1].0 = name.clone();
    let config = |key: &str, value: &str| LLAMA.replacen('{', &format!("{{{key}:{value},"), 1);
    let errors = [
        parse_gguf(&key.bytes(9)).map(drop),
        load_gguf(&wrong, llama_gguf(3).1).map(drop),
        load_gguf(&arch, llama_gguf(3).1).map(drop),
        parse_gguf(&twice.bytes(llama_gguf(3).1)).map(drop),
        parse_st(&st(&format!(r#"{{{}:{{"dtype":"F32","shape":[1],"data_offsets":[9,4]}}}}"#, json(&name)), 4))
            .map(drop),
        parse_st(&st(&format!(r#"{{"a":{{"dtype":{},"shape":[1],"data_offsets":[0,4]}}}}"#, json(&name)), 4))
            .map(drop),
        parse_st(&st(&format!(r#"{{"a":{{{}:1}}}}"#, json(&name)), 4)).map(drop),
        parse_st(&st(
            &format!(r#"{{"a":{{"dtype":"F32","shape":[{}1],"data_offsets":[0,8]}}}}"#, "1,".repeat(99_999)),
            8,
        ))
        .map(drop),
        ModelConfig::from_json("c", LLAMA.replace("\"silu\"", &json(&name)).as_bytes()).map(drop),
        ModelConfig::from_json("c", LLAMA.replace("\"llama\"", &json(&name)).as_bytes()).map(drop),
        ModelConfig::from_json("c", config("\"rope_scaling\"", &format!(r#"{{"type":{}}}"#, json(&name))).as_bytes())
            .map(drop),
        ModelConfig::from_json(
            "c",
            LLAMA.replace("\"hidden_size\":64", &format!("\"hidden_size\":{}", json(&name))).as_bytes(),
        )
        .map(drop),
        hone_model::shards_of_index("i", format!(r#"{{"weight_map":{{"a":{}}}}}"#, json(&name)).as_bytes()).map(drop),
    ];
    errors.into_iter().for_each(assert_plain);
}

/// An error whose text, and its cause's, may be shown as they are.
fn assert_plain(result: Result<(), ModelError>) {
    let error = result.expect_err("must be refused");
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    for said in [error.to_string(), cause] {
        assert!(!said.contains(char::is_control) && said.len() < 1500, "{} bytes: {said:.300}", said.len());
    }
}

#[test]
fn a_value_of_another_kind_is_told_in_words() {
    let (good, data) = llama_gguf(3);
    let said = |kind: u32, bytes: &[u8]| {
        let mut file = good.clone();
        file.values.retain(|(key, _)| key != "llama.attention.head_count_kv");
        file.raw("llama.attention.head_count_kv", kind, bytes);
        load_gguf(&file, data).expect_err("no count").to_string()
    };
    let array = [&5u32.to_le_bytes()[..], &3u64.to_le_bytes(), &[2, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0]].concat();
    let want =
        "m.gguf: metadata llama.attention.head_count_kv: got an array of 3 numbers, want one non-negative integer";
    assert_eq!(said(9, &array), want);
    assert!(said(8, &text("two")).contains("got the text `two`, want"));
    assert!(said(6, &2.5f32.to_le_bytes()).contains("got the float 2.5, want"));
    let mut file = good.clone();
    file.raw("llama.attention.value_length", 4, &7u32.to_le_bytes());
    file.u32("llama.attention.key_length", 16);
    refused(load_gguf(&file, data), &["attention.value_length 7 is not supported"]);
}

#[test]
fn configurations_are_checked() {
    let parse = |text: &str| ModelConfig::from_json("config.json", text.as_bytes());
    let config = parse(LLAMA).unwrap();
    assert_eq!((config.head_dim, config.theta, config.kv_rows()), (16, 10_000.0, 32));
    let nested =
        LLAMA.replace("\"rope_theta\":10000.0", r#""rope_parameters":{"rope_theta":5e5,"rope_type":"default"}"#);
    assert_eq!(parse(&nested).unwrap().theta, 5e5);
    refused(parse(&nested.replace("default", "llama3")), &["rope_parameters", "llama3"]);
    let scaled = LLAMA.replace("\"hidden_act\"", r#""rope_scaling":{"type":"linear","factor":2},"hidden_act""#);
    refused(parse(&scaled), &["rope_scaling", "linear"]);
    refused(parse(&LLAMA.replace("\"llama\"", "\"gpt_bigcode\"")), &["architecture", "gpt_bigcode"]);
    refused(parse(&LLAMA.replace("silu", "gelu")), &["hidden_act", "gelu"]);
    refused(parse(&LLAMA.replace("\"num_key_value_heads\":2", "\"num_key_value_heads\":3")), &["divisor"]);
    refused(parse(&LLAMA.replace("\"vocab_size\":50", "\"vocab_size\":0")), &["vocabulary"]);
    refused(parse(&LLAMA.replace("\"hidden_size\":64", "\"hidden_size\":18446744073709551615")), &["hidden size"]);
    refused(parse(&LLAMA.replace("\"hidden_act\"", "\"attention_bias\":true,\"hidden_act\"")), &["attention_bias"]);
    refused(parse("[1,2"), &["config.json"]);
    refused(parse("{}"), &["(none)"]);
    let huge = LLAMA.replace("\"num_hidden_layers\":1", "\"num_hidden_layers\":1000000");
    refused(Model::from_safetensors(parse(&huge).unwrap(), &BTreeMap::new()), &["embed_tokens.weight is missing"]);
}

#[test]
fn golden_checkpoints_are_whole_and_their_adapters_fit() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden");
    for family in ["llama", "qwen2", "qwen3"] {
        let read = |name: &str| std::fs::read(format!("{root}/{family}/{name}")).unwrap();
        let config = ModelConfig::from_json("config.json", &read("config.json")).unwrap();
        let header = parse_st(&read("model.safetensors")).unwrap();
        let model = Model::from_safetensors(config, &[("model.safetensors".to_owned(), header)].into()).unwrap();
        assert_eq!(model.config.family.name(), family);
        let targets = hone_model::TARGETS.map(str::to_owned);
        let want = hone_model::adapter_tensors(&model.config, &targets, 4).unwrap();
        let bytes = read("adapter_init/adapter_model.safetensors");
        let header = parse_st(&bytes).unwrap();
        hone_model::adapter::check_names("adapter", &header, &want).unwrap();
        hone_model::adapter::check_finite("adapter", &header, &bytes).unwrap();
        let mut bad = bytes.clone();
        let at = bad.len() - 4;
        bad[at..].copy_from_slice(&f32::NAN.to_le_bytes());
        refused(hone_model::adapter::check_finite("adapter", &header, &bad), &["NaN", "element"]);
        let fewer = hone_model::adapter_tensors(&model.config, &targets[1..], 4).unwrap();
        refused(hone_model::adapter::check_names("adapter", &header, &fewer), &["an extra one"]);
    }
}

#[test]
fn targets_and_ranks_are_checked() {
    let config = ModelConfig::from_json("config.json", LLAMA.as_bytes()).unwrap();
    let attn = ["q_proj".to_owned(), "v_proj".to_owned()];
    let tensors = hone_model::adapter_tensors(&config, &attn, 8).unwrap();
    assert_eq!(tensors["base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"], [32, 8]);
    assert_eq!(tensors.len(), 4);
    refused(hone_model::adapter_tensors(&config, &["query".to_owned()], 8), &["query", "q_proj, k_proj"]);
    refused(hone_model::adapter_tensors(&config, &attn, 0), &["rank"]);
    refused(hone_model::adapter_tensors(&config, &[], 8), &["(none)"]);
}

#[test]
fn shard_names_stay_beside_the_index() {
    let index = |name: &str| format!(r#"{{"metadata":{{}},"weight_map":{{"a":"{name}","b":"{name}"}}}}"#);
    let shards = hone_model::shards_of_index("i", index("model-00001-of-00002.safetensors").as_bytes()).unwrap();
    assert_eq!(shards, ["model-00001-of-00002.safetensors"]);
    for name in ["../x.safetensors", "/etc/x.safetensors", "pytorch_model.bin"] {
        refused(hone_model::shards_of_index("i", index(name).as_bytes()), &["weight_map"]);
    }
}
