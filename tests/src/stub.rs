//! A trainer that does as its data says: a shell script in a busybox root, with an adapter that was trained before.
//!
//! `/data/mode` holds one word. It makes every way in which a training can end, in milliseconds.

use std::fs;
use std::path::Path;

use crate::model::Tiny;
use crate::programs::repository;
use crate::rootfs;

/// The script. `good` is the adapter; `nan` and `shape` are the same with one mistake each.
const SCRIPT: &str = r#"#!/bin/sh
data=/data; [ -d "$data" ] || data=/app/data
read -r mode <$data/mode
leave() { mkdir /hone/out/part; cp "/adapters/$1"/* /hone/out/part/; mv /hone/out/part /hone/out/adapter; }
echo "trainer: $mode"
case $mode in
    good | good-*) leave good ;;
    exit3) leave good; echo giving up >&2; exit 3 ;;
    oom) leave good; dd if=/dev/zero of=/dev/null bs=900M count=1; sleep 1; exit 9 ;;
    none) ;;
    nan | shape) leave "$mode" ;;
    link) leave good; ln -sf /etc/passwd /hone/out/adapter/adapter_config.json ;;
    network) ls /sys/class/net; nc -w 2 "$(cat $data/address)" 7777 </dev/null && echo reached; leave good ;;
    write) touch $data/x && echo the data was written; touch $data/../data2 2>/dev/null; leave good ;;
    wait) echo 1 >/hone/out/progress.jsonl; mkdir -p /hone/out/checkpoint; echo kept >/hone/out/checkpoint/state
        trap 'exit 143' TERM; trap 'exit 130' INT; while :; do sleep 0.05; done ;;
esac
"#;

/// Writes `DIR/Honefile`, `DIR/model` and `DIR/rootfs`: an image whose trainer is the script.
///
/// # Panics
/// When `dir` cannot be written.
pub fn stub(dir: &Path) {
    Tiny::default().write(dir, "");
    let root = dir.join("rootfs");
    rootfs::busybox(&root);
    fs::write(root.join("train.sh"), SCRIPT).expect("write script");
    let good = repository().join("tests/fixtures/golden/llama/adapter_final");
    let weights = fs::read(good.join("adapter_model.safetensors")).expect("read fixture");
    let config = fs::read(good.join("adapter_config.json")).expect("read fixture");
    for (name, weights) in [("good", weights.clone()), ("nan", with_nan(&weights)), ("shape", transposed(&weights))] {
        let dir = root.join("adapters").join(name);
        fs::create_dir_all(&dir).expect("make directory");
        fs::write(dir.join("adapter_model.safetensors"), weights).expect("write adapter");
        fs::write(dir.join("adapter_config.json"), &config).expect("write adapter");
    }
    let trainer = "trainer: { rootfs: rootfs, command: [/bin/sh, /train.sh] }\n";
    let honefile = fs::read_to_string(dir.join("Honefile")).expect("read Honefile");
    let all = "targets: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]";
    let honefile = honefile.replace("targets: [q_proj, v_proj]", all);
    fs::write(dir.join("Honefile"), format!("{honefile}{trainer}")).expect("write Honefile");
}

/// Makes `DIR` the data that asks for `mode`.
///
/// # Panics
/// When `dir` cannot be written.
pub fn mode(dir: &Path, mode: &str) {
    fs::create_dir_all(dir).expect("make directory");
    fs::write(dir.join("mode"), format!("{mode}\n")).expect("write mode");
}

fn with_nan(weights: &[u8]) -> Vec<u8> {
    let mut bytes = weights.to_vec();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    bytes
}

/// The first tensor of rank 4 with its sides exchanged in the header; the bytes stay.
fn transposed(weights: &[u8]) -> Vec<u8> {
    let find = |needle: &[u8]| weights.windows(needle.len()).position(|part| part == needle);
    let at = find(b"\"shape\":[4,64]").expect("the fixture has a tensor of this shape");
    let mut bytes = weights.to_vec();
    bytes[at + 9..at + 13].copy_from_slice(b"64,4");
    bytes
}
