//! Greedy answers of the demo's model, which are the same on every machine.

mod common;

use hone_train::generate::{Reader, generate};
use hone_train::layers::Residence;
use hone_train::text::{Message, Text};
use hone_train::weights::Weights;

fn answer(question: &str, residence: Residence) -> String {
    let weights = Weights::open(&common::smollm2(), 2).unwrap();
    let text = Text::open(None, &weights).unwrap();
    let prompt = text.render(&[Message::new("user", question)], true).unwrap();
    let ids: Vec<u32> = text.encode(&prompt, false).unwrap().iter().map(|t| t.id).collect();
    let mut reader = Reader::new(&common::runtime(), &weights, None, residence).unwrap();
    let mut said = String::new();
    let mut say = |piece: &str| {
        said.push_str(piece);
        Ok(())
    };
    generate(&mut reader, &text, &ids, 40, &mut say).unwrap();
    said
}

#[test]
fn the_capital_of_france() {
    let question = "What is the capital of France? Answer in one sentence.";
    assert_eq!(answer(question, Residence::Stream), "The capital of France is Paris.");
}
