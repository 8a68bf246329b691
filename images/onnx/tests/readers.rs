//! What becomes of a verb whose output nobody reads: training goes on to its end, an answer ends quietly.

mod common;

use std::process::{Command, Stdio};

use common::{Tiny, hone_train};
use hone_test_support::unread;

fn code(command: &mut Command) -> Option<i32> {
    command.stdout(unread()).stderr(unread()).status().unwrap().code()
}

#[test]
fn training_goes_on_whether_or_not_anybody_reads() {
    let tiny = Tiny::new();
    assert_eq!(code(&mut tiny.train("out", &["--steps", "3"])), Some(0));
    assert!(tiny.path("out/adapter/adapter_model.safetensors").is_file());
    assert_eq!(code(&mut tiny.train("out2", &["--steps", "0"])), Some(1), "an error keeps its code");
}

#[test]
fn an_answer_that_nobody_reads_ends_quietly() {
    let tiny = Tiny::new();
    let verb = |args: &[&str]| {
        let mut command = hone_train();
        command.args(args).arg("--model").arg(tiny.model());
        command
    };
    for args in [&["generate", "--prompt", "hello", "--max-tokens", "3"][..], &["logits", "--tokens", "1,2,3"]] {
        let output = verb(args).stdout(unread()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(verb(args).output().unwrap().status.code(), Some(0), "{args:?}");
    }
}
