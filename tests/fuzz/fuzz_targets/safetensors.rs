//! A safetensors header and, chosen by the first byte, the JSON files beside it.
#![no_main]

use hone_model::{Model, ModelConfig, Progress, safetensors, shards_of_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        b'i' => {
            for shard in shards_of_index("index", bytes).unwrap_or_default() {
                assert!(!shard.contains(['/', '\\', '\0']), "a shard elsewhere: {shard:?}");
            }
        }
        b'c' => {
            if let Ok(config) = ModelConfig::from_json("config.json", bytes) {
                assert!(Model::from_safetensors(config, &[].into()).is_err(), "a model without tensors");
            }
        }
        _ => header(bytes),
    }
});

fn header(bytes: &[u8]) {
    let length = bytes.len() as u64;
    let mut want = 8.min(length);
    loop {
        match safetensors::parse("m.safetensors", &bytes[..want as usize], length) {
            Ok(Progress::NeedMore(more)) => {
                assert!(more > want && more <= length);
                want = more;
            }
            Ok(Progress::Done(header)) => {
                // Every byte after the header belongs to one tensor.
                let data: u64 = header.tensors.values().map(|t| t.len).sum();
                assert_eq!(header.data_start + data, length);
                assert!(header.tensors.values().all(|t| t.offset + t.len <= length));
                let _ = hone_model::adapter::check_finite("m.safetensors", &header, bytes);
                return;
            }
            Err(_) => return,
        }
    }
}
