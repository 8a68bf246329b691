//! An error keeps its exit code when nobody reads it.

use std::process::{Command, Stdio};

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let frontend = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone-frontend"));
        command.args(["--nonsense", "\u{1b}[2J"]);
        command
    };
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    assert_eq!(frontend().stderr(writer).status().expect("start").code(), Some(1));
    let heard = frontend().stderr(Stdio::piped()).output().expect("start").stderr;
    let heard = String::from_utf8(heard).expect("UTF-8");
    assert!(heard.starts_with("hone-frontend: ") && !heard.contains('\u{1b}'), "{heard}");
}
