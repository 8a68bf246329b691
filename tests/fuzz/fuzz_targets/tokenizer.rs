//! tokenizer.json: how many tokens the builder counts in it, and whether the trainer can load and use it.
#![no_main]

use hone_train::text::Text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let counted = hone_base::tokens_of(bytes);
    if let Ok(text) = Text::from_json("tokenizer.json", bytes.to_vec()) {
        counted.expect("what the trainer loads, the builder reads");
        if let Ok(tokens) = text.encode("Hello, wörld\n 42", true) {
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            let _ = text.decode(&ids);
        }
    }
});
