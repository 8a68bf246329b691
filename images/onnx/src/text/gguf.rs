//! The tokenizer of a GGUF's metadata, made into one of crate `tokenizers`.
//!
//! llama.cpp names pre-tokenizers instead of describing them; the descriptions here are those of the models' own
//! tokenizer.json. Byte-level BPE only: SentencePiece models need their tokenizer.json beside them.

use hone_contract::quoted;
use hone_model::GgufTokenizer;
use serde_json::{Map, Value, json};

use super::Text;
use crate::error::{Result, TrainError};

/// GGUF's kind of tokens that steer the model.
const CONTROL: i32 = 3;
/// GGUF's kind of tokens that a user added.
const USER_DEFINED: i32 = 4;

/// Words of Qwen2: digits one by one.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Llama 3: digits by threes.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Makes the tokenizer that `file` describes.
pub(super) fn open(file: &str, raw: &GgufTokenizer) -> Result<Text> {
    // What `hone build` has asked before; the model may have come another way.
    raw.check(file)?;
    let (normalizer, pre_tokenizer, ignore_merges) = split(file, raw.pre.as_deref().unwrap_or("default"))?;
    let vocab: Map<String, Value> = raw.tokens.iter().cloned().zip((0..).map(|id: u64| json!(id))).collect();
    let merges: Vec<_> = raw.merges.iter().filter_map(|merge| merge.split_once(' ')).collect();
    let description = json!({
        "version": "1.0",
        "added_tokens": added(raw),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {
            "type": "BPE", "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": vocab, "merges": merges,
        },
    });
    let tokenizer = super::tokenizer_of(file, description)?;
    let ends = raw.eos.into_iter().collect();
    Text::new(tokenizer, raw.chat_template.clone(), ends, raw.eos, raw.bos.filter(|_| raw.add_bos))
}

fn added(raw: &GgufTokenizer) -> Vec<Value> {
    let tokens = raw.tokens.iter().zip(&raw.kinds).enumerate();
    let special = tokens.filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED));
    let row = |(id, (token, kind)): (usize, (&String, &i32))| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": *kind == CONTROL,
        })
    };
    special.map(row).collect()
}

/// Normalizer, pre-tokenizer, and whether whole words bypass the merges.
fn split(file: &str, name: &str) -> Result<(Value, Value, bool)> {
    let bytes = |words: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": words});
    let words = |pattern: &str| {
        let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
    };
    let digits = json!({"type": "Digits", "individual_digits": true});
    Ok(match name {
        "smollm" => (Value::Null, json!({"type": "Sequence", "pretokenizers": [digits, bytes(true)]}), false),
        "gpt-2" => (Value::Null, bytes(true), false),
        "qwen2" => (json!({"type": "NFC"}), words(QWEN2), false),
        "llama-bpe" | "llama3" => (Value::Null, words(LLAMA3), true),
        other => {
            return Err(TrainError::tokenizer(file, format!("pre-tokenizer {} is not known", quoted(other))));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pre: &str) -> GgufTokenizer {
        GgufTokenizer { pre: Some(pre.to_owned()), ..hone_test_support::gguf_tokenizer() }
    }

    #[test]
    fn merges_and_special_tokens_work() {
        for pre in hone_model::PRE_TOKENIZERS {
            let text = open("m.gguf", &raw(pre)).unwrap();
            let tokens = text.encode("ab<|im_end|>\n a11", false).unwrap();
            let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
            assert_eq!(ids, [3, 0, 6, 4, 1, 5, 5], "{pre}");
            assert_eq!(tokens[1].start, 2);
            assert_eq!(text.decode(&ids).unwrap(), "ab\n a11");
            assert!(text.is_end(0));
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let say = |raw: &GgufTokenizer| open("m.gguf", raw).err().unwrap().to_string();
        assert!(say(&raw("deepseek-llm")).contains("deepseek-llm"));
        let spm = GgufTokenizer { model: "llama".to_owned(), ..raw("smollm") };
        assert!(say(&spm).contains("kind llama"));
        let bad = GgufTokenizer { merges: vec!["ab".to_owned()], ..raw("smollm") };
        assert!(say(&bad).contains("not two tokens"));
        let bad = GgufTokenizer { merges: vec!["x y".to_owned()], ..raw("smollm") };
        assert!(say(&bad).contains("does not fit its vocabulary"));
        let bad = GgufTokenizer { merges: vec!["<|im_end|> a".to_owned()], ..raw("smollm") };
        assert!(say(&bad).contains("does not fit"));
    }
}
