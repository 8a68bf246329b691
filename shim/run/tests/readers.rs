//! `hone run` says what is wrong to whoever listens, and keeps its exit code when nobody does.

use std::process::{Command, Stdio};

use hone_test_support::fails_unread;

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    for args in [&["--nonsense"][..], &[], &["--memory", "much", "image"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone-run"));
        let code = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code();
        assert_eq!(code, Some(2), "{args:?}");
    }
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let root = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone-run"));
        command.args(["nothing:here"]).env("HONE_ROOT", root.path()).stdout(Stdio::null());
        command
    };
    assert!(fails_unread(run, 125).starts_with("hone run: "));
}
