//! What the tests share: the library, the fixtures, the demo's model. What is missing is a failure that says how to get it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use hone_train::runtime::Runtime;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cached(name: &str) -> PathBuf {
    let path = workspace().join(".cache").join(name);
    assert!(path.is_file(), "{} is missing: run ./x setup", path.display());
    path
}

/// libonnxruntime: ORT_DYLIB_PATH, or what ./x setup fetched.
pub fn library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| cached("onnxruntime/libonnxruntime.so"), PathBuf::from)
}

/// ONNX Runtime on two threads.
pub fn runtime() -> Runtime {
    Runtime::load(&library(), 2).unwrap()
}

/// A file or folder of tests/fixtures.
pub fn fixture(name: &str) -> PathBuf {
    workspace().join("tests/fixtures").join(name)
}

/// The demo's base model.
pub fn smollm2() -> PathBuf {
    cached("models/SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// The golden llama with a tokenizer of bytes: enough to train on text.
pub struct Tiny {
    dir: tempfile::TempDir,
}

/// A chat template as SmolLM2 and Qwen have it, without a system message.
const TEMPLATE: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

impl Tiny {
    /// Model, tokenizer and a few examples, in a directory of their own.
    pub fn new() -> Self {
        let tiny = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(tiny.model()).unwrap();
        std::fs::create_dir_all(tiny.data()).unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture("golden/llama").join(name), tiny.model().join(name)).unwrap();
        }
        tiny.write("model/tokenizer.json", &tokenizer(&[]).to_string());
        let config = serde_json::json!({"eos_token": "<|im_end|>", "chat_template": TEMPLATE});
        tiny.write("model/tokenizer_config.json", &config.to_string());
        let lines: String = (0..10).map(|i| chat_line(&format!("q{i}"), &format!("answer {i}{i}!"))).collect();
        tiny.write("data/a.jsonl", &lines);
        tiny
    }

    /// A path below the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn model(&self) -> PathBuf {
        self.path("model")
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Replaces a file.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `hone-train train` on it, short.
    pub fn train(&self, out: &str, more: &[&str]) -> std::process::Command {
        let mut command = hone_train();
        command.arg("train").arg("--model").arg(self.model()).arg("--data").arg(self.data());
        command.arg("--out").arg(self.path(out)).arg("--adapter").arg(self.path("first"));
        command.args(["--max-length", "64", "--learning-rate", "0.01", "--threads", "1"]).args(more);
        command
    }
}

/// One line of chat data.
pub fn chat_line(question: &str, answer: &str) -> String {
    let message = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    format!("{}\n", serde_json::json!({"messages": [message("user", question), message("assistant", answer)]}))
}

/// The program, with the library where the tests have it.
pub fn hone_train() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hone-train"));
    command.env("ORT_DYLIB_PATH", library());
    command
}

/// A tokenizer of bytes, with `more` tokens after them.
pub fn tokenizer(more: &[String]) -> serde_json::Value {
    let special = ["<|pad|>", "<|im_start|>", "<|im_end|>"];
    let mut bytes: Vec<String> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().map(String::from).collect();
    bytes.sort();
    let all = special.iter().map(|s| (*s).to_owned()).chain(bytes).chain(more.iter().cloned());
    let vocab: serde_json::Map<String, serde_json::Value> = all.enumerate().map(|(id, t)| (t, id.into())).collect();
    let added = special.iter().enumerate().map(|(id, content)| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    let level =
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    serde_json::json!({
        "version": "1.0", "added_tokens": added.collect::<Vec<_>>(), "normalizer": null, "pre_tokenizer": level,
        "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    })
}

/// What a finished command said on standard error, and its exit code.
pub fn said(command: &mut std::process::Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}
