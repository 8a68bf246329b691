//! What the tests of several crates share. It is only ever a dev-dependency, and panics where a test would.

use std::io::PipeWriter;
use std::process::{Command, Stdio};

use hone_model::GgufTokenizer;

/// The writing end of a pipe whose reader has gone away.
///
/// # Panics
/// Where there are no pipes.
pub fn unread() -> PipeWriter {
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    writer
}

/// Runs a program that fails, once with nobody to read why, and once with a reader; what that one read.
///
/// # Panics
/// When either ends with another code, or nothing is said that is fit for a terminal.
pub fn fails_unread(program: impl Fn() -> Command, code: i32) -> String {
    assert_eq!(program().stderr(unread()).status().expect("start").code(), Some(code), "nobody reads");
    let heard = program().stderr(Stdio::piped()).output().expect("start");
    assert_eq!(heard.status.code(), Some(code));
    let heard = String::from_utf8(heard.stderr).expect("UTF-8");
    assert!(!heard.is_empty() && !heard.contains('\u{1b}'), "{heard:?}");
    heard
}

/// A GGUF's tokenizer that the trainer can compute.
pub fn gguf_tokenizer() -> GgufTokenizer {
    GgufTokenizer {
        model: "gpt2".to_owned(),
        pre: Some("smollm".to_owned()),
        tokens: ["<|im_end|>", "a", "b", "ab", "Ġ", "1", "Ċ"].map(str::to_owned).to_vec(),
        kinds: vec![3, 1, 1, 1, 1, 1, 1],
        merges: vec!["a b".to_owned()],
        bos: None,
        eos: Some(0),
        pad: None,
        add_bos: false,
        chat_template: None,
    }
}
