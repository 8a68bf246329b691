//! A model out of an artifact or an image of a layout: its layers' tars, with what they hide, as places of files.
//!
//! The first byte chooses what the layers are (`i`mage, `m`odel's tar, model's tar under g`z`ip); then layers, lowest first,
//! each after its length in two bytes, the smaller first.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::io;

use hone_build::{Local, model};
use hone_image::media;
use hone_image::oci::{Descriptor, Manifest};
use hone_image::tar::check_path;
use hone_store::Store;
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, mut left)) = bytes.split_first() else { return };
    let (config, layer) = match kind {
        b'i' => (media::CONFIG, media::LAYER_TAR),
        b'z' => (CONFIG, "application/vnd.cncf.model.weight.v1.tar+gzip"),
        _ => (CONFIG, "application/vnd.cncf.model.weight.v1.tar"),
    };
    let memory = if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let Ok(site) = tempfile::tempdir_in(memory) else { return };
    let store = Store::at(site.path().join("root"));
    let ingest = store.ingest().expect("a store");
    let put = |kind: &str, bytes: &[u8]| Descriptor::of(kind, ingest.put(bytes).expect("room"), bytes.len() as u64);
    let mut layers = Vec::new();
    while let Some((size, rest)) = left.split_first_chunk() {
        let (blob, rest) = rest.split_at(usize::from(u16::from_le_bytes(*size)).min(rest.len()));
        layers.push(put(layer, blob));
        left = rest;
    }
    let manifest = Manifest::new(put(config, b"{}"), layers, BTreeMap::new());
    let root = put(media::MANIFEST, &serde_json::to_vec(&manifest).expect("JSON"));
    match model(&Local { layout: store.clone(), root }, "fuzzed", &ingest, &|_, _| None) {
        Ok(found) => {
            for file in found.sources.files.iter().chain(found.tokenizer.iter().flat_map(|apart| &apart.files)) {
                assert!(check_path(&file.name).is_ok(), "{:?}", file.name);
                let read = io::copy(&mut file.open().expect("a place"), &mut io::sink()).expect("read");
                assert!(read <= file.size, "{read} of {}", file.size);
            }
        }
        Err(error) => {
            let said = hone_contract::chain(&error);
            assert!(!said.is_empty() && said.len() < 10_000, "{} bytes", said.len());
        }
    }
    assert_eq!(fs::read_dir(site.path()).expect("site").count(), 1, "something beside the store");
});
