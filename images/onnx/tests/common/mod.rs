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
