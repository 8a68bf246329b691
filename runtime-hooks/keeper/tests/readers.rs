//! An error keeps its exit code when nobody reads it.

use std::process::{Command, Stdio};

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let keeper = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone-keeper"));
        command.args(["--nonsense", "\u{1b}[2J"]);
        command
    };
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    assert_eq!(keeper().stderr(writer).status().expect("start").code(), Some(1));
    let heard = keeper().stderr(Stdio::piped()).output().expect("start").stderr;
    assert_eq!(String::from_utf8(heard).expect("UTF-8"), "hone-keeper: read option --nonsense \\u{1b}[2J: unknown\n");
}
