//! An error keeps its exit code when nobody reads it, and is one that a terminal only shows.

use std::process::{Command, Stdio};

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let root = tempfile::tempdir().expect("temporary directory");
    let runtime = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone-runtime"));
        command.arg("--root").arg(root.path()).args(args);
        command
    };
    for args in
        [&["state", "nothing"][..], &["--log", "/nowhere/log", "state", "nothing"], &["list", "--format", "x"]]
    {
        let (reader, writer) = std::io::pipe().expect("pipe");
        drop(reader);
        assert_eq!(runtime(args).stderr(writer).status().expect("start").code(), Some(1), "{args:?}");
        let heard = runtime(args).stderr(Stdio::piped()).output().expect("start");
        assert!(heard.status.code() == Some(1) && !heard.stderr.is_empty(), "{args:?}");
    }
}
