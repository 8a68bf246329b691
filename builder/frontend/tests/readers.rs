//! An error keeps its exit code when nobody reads it.

use std::process::Command;

use hone_test_support::fails_unread;

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let frontend = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone-frontend"));
        command.args(["--nonsense", "\u{1b}[2J"]);
        command
    };
    let heard = fails_unread(frontend, 1);
    assert!(heard.starts_with("hone-frontend: "), "{heard}");
}
