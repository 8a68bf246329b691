//! What becomes of lines of data: which words a model reads, and which of them are the answer.

mod common;

use common::{Tiny, chat_line};
use hone_train::data::{Format, Reading, load};
use hone_train::text::Text;
use hone_train::weights::Weights;

const ALPACA: &str = "{\"instruction\": \"Add.\", \"input\": \"1 2\", \"output\": \"3\"}\n";

/// The words of each line, and those of its answer.
fn read(tiny: &Tiny, format: Format, system: Option<&str>) -> Vec<(String, String)> {
    let weights = Weights::open(&tiny.model(), 1).unwrap();
    let text = Text::open(None, &weights).unwrap();
    let data = load(&tiny.data(), &Reading { format, system, text: &text }, 4096).unwrap();
    let words = data.sequences.iter().map(|sequence| {
        let answer: Vec<u32> =
            sequence.ids.iter().zip(&sequence.scored).filter(|(_, scored)| **scored).map(|(id, _)| *id).collect();
        (text.decode(&sequence.ids).unwrap(), text.decode(&answer).unwrap())
    });
    words.collect()
}

#[test]
fn a_system_message_stands_before_chats_that_have_none() {
    let tiny = Tiny::new();
    let own = chat_line("q", "a").replace("[{", "[{\"role\": \"system\", \"content\": \"own\"}, {");
    tiny.write("data/a.jsonl", &(chat_line("q", "a") + &own));
    let plain = read(&tiny, Format::Chat, None);
    assert_eq!(plain[0], ("user\nq\nassistant\na\n".to_owned(), "a".to_owned()));
    let with = read(&tiny, Format::Chat, Some("Be brief."));
    assert_eq!(with[0], ("system\nBe brief.\nuser\nq\nassistant\na\n".to_owned(), "a".to_owned()));
    assert_eq!(with[1], plain[1]);
    assert!(with[1].0.starts_with("system\nown\nuser\nq"), "{with:?}");
}

#[test]
fn alpaca_lines_get_it_too_with_a_template_or_without() {
    let tiny = Tiny::new();
    tiny.write("data/a.jsonl", ALPACA);
    let with = read(&tiny, Format::Alpaca, Some("Be brief."));
    assert_eq!(with[0], ("system\nBe brief.\nuser\nAdd.\n\n1 2\nassistant\n3\n".to_owned(), "3".to_owned()));
    tiny.write("model/tokenizer_config.json", "{\"eos_token\": \"<|im_end|>\"}");
    let bare = read(&tiny, Format::Alpaca, None);
    let prompt = "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3";
    assert_eq!(bare[0], (prompt.to_owned(), "3".to_owned()));
    assert_eq!(read(&tiny, Format::Alpaca, Some("Be brief."))[0].0, format!("Be brief.\n\n{prompt}"));
}
