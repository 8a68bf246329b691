//! `./x demo`, the README's first command, on the real model: the voice is there afterwards, and was not before.

use hone_tests::{needs, repository, run, x};

#[test]
fn root_demo_teaches_a_real_model_a_voice() {
    if !needs(&[]) {
        return;
    }
    let root = tempfile::tempdir().expect("tempdir");
    let mut demo = x(&repository());
    demo.arg("demo").env("HONE_ROOT", root.path());
    let ran = run(&mut demo);
    let said = ran.ok();
    for command in [
        "$ hone build examples/quickstart -t assistant:base",
        "$ hone run --rm -v ./examples/quickstart/data:/data assistant:base",
        "$ hone log assistant:base",
    ] {
        assert!(said.contains(command), "{command}: {ran}");
    }
    ran.says("committed assistant:base-v1 (adapter ");
    let answer = |image: &str| {
        let command = format!("$ hone run --rm {image} generate --prompt");
        let after = said.split(&command).nth(1).unwrap_or_else(|| panic!("{command}: {ran}"));
        after.split_once('\n').expect("an answer").1.split("\u{1b}[").next().expect("text").trim().to_owned()
    };
    let (before, after) = (answer("assistant:base"), answer("assistant:base-v1"));
    assert!(!before.contains("captain"), "the base has no such voice: {before}");
    assert!(after.starts_with("Aye, captain:"), "the learned voice: {after}");
}
