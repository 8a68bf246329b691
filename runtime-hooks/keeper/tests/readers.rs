//! An error keeps its exit code when nobody reads it.

use std::process::Command;

use hone_test_support::fails_unread;

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let keeper = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone-keeper"));
        command.args(["--nonsense", "\u{1b}[2J"]);
        command
    };
    assert_eq!(fails_unread(keeper, 1), "hone-keeper: read option --nonsense \\u{1b}[2J: unknown\n");
}
