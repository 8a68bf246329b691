//! The manual pages: one for the program, one for each of its commands that is for people.

use std::fs;
use std::process::Command;

#[test]
fn every_command_has_a_page() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut man = Command::new(env!("CARGO_BIN_EXE_hone-runtime"));
    assert!(man.arg("man").arg(dir.path()).status().expect("start").success());
    let page = |name: &str| fs::read_to_string(dir.path().join(name)).expect("a page");
    let program = page("hone-runtime.8");
    for verb in ["create", "start", "state", "kill", "delete", "run", "exec", "features"] {
        assert!(program.contains(&format!("hone\\-runtime\\-{verb}(8)")), "{verb}: {program}");
        assert!(page(&format!("hone-runtime-{verb}.8")).contains(".SH \"EXIT STATUS\"\n.TP\n"), "{verb}");
    }
    assert!(page("hone-runtime-exec.8").contains("\\fB255\\fR"), "runc's code for exec");
    let hidden = ["hone-runtime-man.8", "hone-runtime-host-hooks.8", "hone-runtime-hone-host-hooks.8"];
    assert!(hidden.iter().all(|name| !dir.path().join(name).exists()));
}
