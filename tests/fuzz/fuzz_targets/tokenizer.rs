//! tokenizer.json: how many tokens the builder counts in it, and whether the trainer can load and use it.
#![no_main]

use hone_train::text::Text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The builder may refuse more: a key that comes twice, an id that is no number.
    let counted = hone_base::tokens_of(bytes);
    let Ok(text) = Text::from_json("tokenizer.json", bytes.to_vec()) else { return };
    let Ok(tokens) = text.encode("Hello, wörld\n 42", true) else { return };
    let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
    if let (Ok(Some(counted)), Some(most)) = (counted, ids.iter().max()) {
        assert!(u64::from(*most) < counted, "token {most}, where the builder counts {counted}");
    }
    let _ = text.decode(&ids);
});
