//! What becomes of lines of data: which words a model reads, and which of them are the answer.

mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Tiny, chat_line, hone_train};
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

fn fifo(path: &Path) {
    let _ = std::fs::remove_file(path);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
}

/// How a command ends that might wait for somebody who never comes: its code and what it said.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let mut child: Child = command.stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it waits: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_would_be_waited_for_is_passed_over_and_named() {
    let tiny = Tiny::new();
    fifo(&tiny.path("data/0.jsonl"));
    let _socket = UnixListener::bind(tiny.path("data/z.jsonl")).unwrap();
    let (code, said) = ended(&mut tiny.train("out", &["--steps", "1"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("data/0.jsonl: a FIFO, socket or device") && said.contains("(2 such in all)"), "{said}");
    assert!(said.contains("on 10 examples"), "{said}");
    std::fs::remove_file(tiny.path("data/a.jsonl")).unwrap();
    let (code, said) = ended(&mut tiny.train("empty", &["--steps", "1"]));
    assert!(code == Some(1) && said.contains("no *.jsonl file (2 that are a FIFO, socket or device)"), "{said}");
    // The FIFO itself as the data, and a directory without any.
    let weights = Weights::open(&tiny.model(), 1).unwrap();
    let text = Text::open(None, &weights).unwrap();
    let reading = Reading { format: Format::Chat, system: None, text: &text };
    assert!(load(&tiny.path("data/0.jsonl"), &reading, 64).unwrap_err().to_string().contains("0.jsonl"));
    tiny.write("more.jsonl", &chat_line("q", "a"));
    let data = load(&tiny.path("more.jsonl"), &reading, 64).unwrap();
    assert!(data.special.is_empty() && data.sequences.len() == 1);
}

#[test]
fn no_file_that_is_read_is_waited_for() {
    for name in ["tokenizer.json", "model.safetensors"] {
        let tiny = Tiny::new();
        fifo(&tiny.path(&format!("model/{name}")));
        let (code, said) = ended(&mut tiny.train("out", &["--steps", "1"]));
        assert!(code == Some(1) && said.contains(name), "{said}");
    }
    let tiny = Tiny::new();
    fifo(&tiny.path("job.json"));
    for more in [&[][..], &["--model", "nothing"]] {
        let (code, said) = ended(hone_train().arg("train").arg("--job").arg(tiny.path("job.json")).args(more));
        assert!(code == Some(1) && said.contains("job.json") && said.contains("FIFO"), "{said}");
    }
    let mut absent = tiny.train("out", &["--steps", "1"]);
    assert_eq!(
        ended(absent.arg("--job").arg(tiny.path("none.json"))).0,
        Some(0),
        "a job that is not there need not be"
    );
}

#[test]
fn strangers_words_are_cut_and_escaped() {
    let tiny = Tiny::new();
    let said = |tiny: &Tiny| {
        let (code, said) = ended(&mut tiny.train("out", &["--steps", "1"]));
        assert_eq!(code, Some(1));
        assert!(said.len() < 3000 && !said.contains('\u{1b}'), "{} bytes: {said:.300}", said.len());
        said
    };
    let template = |text: &str| {
        let config = serde_json::json!({"eos_token": "<|im_end|>", "chat_template": text});
        tiny.write("model/tokenizer_config.json", &config.to_string());
    };
    template("{{ raise_exception('\u{1b}[2J' ~ 'y' * 2000000) }}");
    assert!(said(&tiny).contains("chat template: apply"));
    template(&format!("{{{{ {} }}}}", "\u{1b}z".repeat(1 << 20)));
    assert!(said(&tiny).contains("chat template"));
    template("{{ raise_exception('roles must alternate') }}");
    assert!(said(&tiny).contains("roles must alternate"), "what is short is shown whole");
    let line = serde_json::json!({"messages": "\u{1b}w".repeat(1 << 20)}).to_string();
    tiny.write("data/a.jsonl", &line);
    let told = said(&tiny);
    assert!(told.contains("a.jsonl:1:") && told.contains("want {\"messages\""), "{told}");
    let pre = serde_json::json!({"version": "1.0", "model": {"type": "\u{1b}v".repeat(1 << 20)}}).to_string();
    tiny.write("model/tokenizer.json", &pre);
    assert!(said(&tiny).contains("is not usable"));
}
