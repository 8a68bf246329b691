//! A GGUF header, handed over in growing prefixes as the builder does, then the model and tokenizer it describes.
#![no_main]

use hone_model::{FIRST_READ, GgufTokenizer, Model, Progress, gguf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let length = bytes.len() as u64;
    let mut want = FIRST_READ.min(length).min(64);
    let header = loop {
        match gguf::parse("m.gguf", &bytes[..want as usize], length) {
            Ok(Progress::Done(header)) => break header,
            Ok(Progress::NeedMore(more)) => {
                assert!(more > want && more <= length, "asked for {more} after {want} of {length}");
                want = more;
            }
            Err(_) => return,
        }
    };
    for tensor in header.tensors.values() {
        assert!(tensor.offset + tensor.len <= length, "a tensor outside the file");
    }
    if let Ok(model) = Model::from_gguf("m.gguf", &header) {
        let targets = hone_model::TARGETS.map(str::to_owned);
        hone_model::adapter_tensors(&model.config, &targets, 1).expect("an adapter of rank 1");
    }
    if let Ok(tokenizer) = GgufTokenizer::from_header("m.gguf", &header) {
        assert_eq!(tokenizer.kinds.len(), tokenizer.tokens.len());
    }
});
