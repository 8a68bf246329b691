//! An ONNX model: the files it names are inside its directory.
#![no_main]

use std::io::Cursor;
use std::path::{Component, Path};

use hone_model::onnx::external_data;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for location in external_data("m.onnx", bytes.len() as u64, Cursor::new(bytes)).unwrap_or_default() {
        assert!(!location.is_empty());
        assert!(Path::new(&location).components().all(|part| matches!(part, Component::Normal(_))), "{location:?}");
    }
});
