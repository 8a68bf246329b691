//! A model small enough to train in a blink: one of the golden families, with a tokenizer of bytes.

use std::fs;
use std::path::Path;

use serde_json::{Map, json};

use crate::programs::repository;

/// A tiny model's directory, as Hugging Face lays one out, and a Honefile beside it.
#[derive(Debug, Clone, Copy)]
pub struct Tiny {
    /// `llama`, `qwen2` or `qwen3`.
    pub family: &'static str,
    /// Optimizer steps.
    pub steps: u32,
}

impl Default for Tiny {
    fn default() -> Self {
        Self { family: "llama", steps: 3 }
    }
}

impl Tiny {
    /// Writes `DIR/model` and `DIR/Honefile`; `more` is added to the Honefile.
    ///
    /// # Panics
    /// When the fixtures are not there or `dir` cannot be written.
    pub fn write(&self, dir: &Path, more: &str) {
        let model = dir.join("model");
        fs::create_dir_all(&model).expect("make directory");
        let golden = repository().join("tests/fixtures/golden").join(self.family);
        for name in ["config.json", "generation_config.json", "model.safetensors"] {
            fs::copy(golden.join(name), model.join(name)).expect("copy fixture");
        }
        fs::write(model.join("tokenizer.json"), tokenizer().to_string()).expect("write tokenizer");
        fs::write(model.join("tokenizer_config.json"), tokenizer_config().to_string()).expect("write tokenizer");
        fs::write(dir.join("Honefile"), self.honefile(more)).expect("write Honefile");
    }

    fn honefile(&self, more: &str) -> String {
        let Self { steps, .. } = self;
        format!(
            "apiVersion: hone.dev/v1
name: assistant
base:
  model: model
finetune:
  method: lora
  rank: 4
  alpha: 8
  targets: [q_proj, v_proj]
  dataset:
    format: chat
  steps: {steps}
  batch_size: 1
  learning_rate: 0.001
  max_length: 64
{more}"
        )
    }
}

/// Writes a chat example a line.
///
/// # Panics
/// When the file cannot be written.
pub fn jsonl(path: &Path, examples: &[(&str, &str)]) {
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let line = |(question, answer): &(&str, &str)| {
        json!({ "messages": [message("user", question), message("assistant", answer)] }).to_string() + "\n"
    };
    fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("make directory");
    fs::write(path, examples.iter().map(line).collect::<String>()).expect("write data");
}

const SPECIAL: [&str; 3] = ["<pad>", "<|im_start|>", "<|im_end|>"];

/// Byte-level BPE without merges: every byte is a token, whatever the text.
fn tokenizer() -> serde_json::Value {
    let mut vocabulary = Map::new();
    let added: Vec<_> = SPECIAL
        .iter()
        .enumerate()
        .map(|(id, content)| {
            vocabulary.insert((*content).to_owned(), json!(id));
            json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
        })
        .collect();
    for (n, symbol) in bytes().into_iter().enumerate() {
        vocabulary.insert(symbol.to_string(), json!(SPECIAL.len() + n));
    }
    let level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": vocabulary, "merges": [] },
    })
}

/// GPT-2's printable stand-ins for the 256 bytes.
fn bytes() -> Vec<char> {
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    (0..256)
        .map(|byte| {
            let code = if printable(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).expect("below the surrogates")
        })
        .collect()
}

fn tokenizer_config() -> serde_json::Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[1], "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[0],
        "chat_template": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_symbol_of_its_own() {
        let mut symbols = bytes();
        symbols.sort_unstable();
        symbols.dedup();
        assert_eq!(symbols.len(), 256);
    }
}
