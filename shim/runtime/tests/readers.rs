//! An error keeps its exit code when nobody reads it, and is one that a terminal only shows.

use std::process::Command;

use hone_test_support::fails_unread;

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let root = tempfile::tempdir().expect("temporary directory");
    for args in
        [&["state", "nothing"][..], &["--log", "/nowhere/log", "state", "nothing"], &["list", "--format", "x"]]
    {
        let runtime = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_hone-runtime"));
            command.arg("--root").arg(root.path()).args(args);
            command
        };
        fails_unread(runtime, 1);
    }
}
