//! An adapter as a trainer may have left it, through the whole of the commit's check: what is sealed is a LoRA
//! configuration and finite tensors, and nothing else.
//!
//! The first byte chooses a job (`t`: one that knows its tensors), then adapter_config.json, a byte of zeros,
//! adapter_model.safetensors.
#![no_main]

use std::fs;
use std::io::Read as _;

use hone_commit::{StepError, seal};
use hone_contract::chain;
use hone_contract::job::Job;
use hone_image::untar;
use hone_model::{Progress, adapter, safetensors};
use hone_store::staging::Staged;
use hone_store::{Budget, Store};
use libfuzzer_sys::fuzz_target;

const ANY: &str =
    r#"{"contract": 1, "name": "a", "adapter": {"commit": true, "tag": "{tag}-v{n}", "max_bytes": 1048576}}"#;
const KNOWN: &str = r#"{"contract": 1, "name": "a",
    "finetune": {"method": "lora", "rank": 2, "alpha": 4.0, "targets": ["q_proj"], "dataset": {"format": "chat"},
        "steps": 1, "batch_size": 1, "gradient_accumulation": 1, "learning_rate": 0.001, "schedule": "constant",
        "warmup": 0, "max_length": 16, "seed": 1},
    "adapter": {"commit": true, "tag": "{tag}-v{n}", "max_bytes": 1048576, "tensors": {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": [2, 3],
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": [4, 2]}}}"#;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let Some(at) = bytes.iter().position(|b| *b == 0) else { return };
    let job = Job::parse(if *kind == b't' { KNOWN } else { ANY }.as_bytes()).expect("a job");
    let memory = if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let Ok(site) = tempfile::tempdir_in(memory) else { return };
    let staging = site.path().join("staging/run");
    let dir = staging.join("out/adapter");
    fs::create_dir_all(&dir).expect("directory");
    fs::write(dir.join("adapter_config.json"), &bytes[..at]).expect("file");
    fs::write(dir.join("adapter_model.safetensors"), &bytes[at + 1..]).expect("file");
    let staged = Staged { id: "run".into(), path: staging, run: None, exit: None, outcome: None };
    let store = Store::at(site.path().join("root"));
    let ingest = store.ingest().expect("a store");
    match seal(&ingest, &staged, &job) {
        Err(StepError::Refused(why)) => assert!(!why.is_empty() && why.len() < 10_000, "{} bytes", why.len()),
        Err(StepError::Pending(error)) => panic!("not the adapter's fault: {}", chain(&error)),
        Ok(layer) => sealed(&store, &layer),
    }
});

/// Two files, and in them what a loader takes.
fn sealed(store: &Store, layer: &hone_image::Layer) {
    let mut tar = store.open_layer(layer, &Budget::of_layer(layer)).expect("the layer");
    let mut files = Vec::new();
    let walked: std::io::Result<()> = untar::walk(&mut tar, 10, &mut |entry| {
        let (path, mut content) = (String::from_utf8(entry.path().to_vec()).expect("UTF-8"), Vec::new());
        entry.read_to_end(&mut content)?;
        files.push((path, content));
        Ok(())
    });
    walked.expect("our own tar");
    // Directories end with a slash in a tar.
    let name = |(path, _): &(String, _)| path.trim_end_matches('/').to_owned();
    let names: Vec<_> = files.iter().map(name).collect();
    let want = ["hone", "hone/adapter", "hone/adapter/adapter_config.json", "hone/adapter/adapter_model.safetensors"];
    assert_eq!(names, want);
    let config: serde_json::Value = serde_json::from_slice(&files[2].1).expect("JSON");
    assert_eq!(config["peft_type"], "LORA");
    let tensors = &files[3].1;
    let size = tensors.len() as u64;
    let Ok(Progress::Done(header)) = safetensors::parse("sealed", tensors, size) else { panic!("a header of ours") };
    adapter::check_finite("sealed", &header, tensors).expect("looked at");
    assert!(header.metadata.keys().all(|key| key == "format"), "words of a stranger");
}
