//! What a file of a model is: the first byte chooses how its name ends, the rest is the file. Refused or not, in bounded
//! time, and with a message of bounded length.
#![no_main]

use std::fs;

use hone_base::{Links, Sources, understand};
use hone_plan::BuildPlan;
use libfuzzer_sys::fuzz_target;

/// How names may end: every way to look into a file is behind one of them, or behind what it begins with.
const ENDINGS: [&str; 16] = [
    "",
    ".json",
    ".txt",
    ".model",
    ".spm",
    ".npy",
    ".png",
    ".safetensors",
    ".gguf",
    ".onnx",
    ".data",
    ".onnx_data",
    ".bin",
    ".tflite",
    ".jinja",
    ".unknown",
];

fn plan() -> BuildPlan {
    let text = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: m}\ntrainer: none\n";
    hone_plan::parse("Honefile", text).expect("a plan")
}

fuzz_target!(|bytes: &[u8]| {
    let Some((ending, bytes)) = bytes.split_first() else { return };
    let Ok(site) = tempfile::tempdir_in(if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" })
    else {
        return;
    };
    let path = site.path().join(format!("file{}", ENDINGS[usize::from(*ending) % ENDINGS.len()]));
    fs::write(&path, bytes).expect("file");
    // Alone, and as one of a directory's files.
    for at in [path.as_path(), site.path()] {
        let looked = Sources::at(at, Links::Within).and_then(|sources| understand(&sources, None, &plan()));
        match looked {
            Ok(base) => assert_eq!(base.weights.len() + base.texts.len(), 1),
            Err(error) => {
                let said = error.to_string();
                assert!(!said.is_empty() && said.len() < 16_384, "{} bytes", said.len());
            }
        }
    }
});
