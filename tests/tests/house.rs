//! The walls of the house: which crate may use which, and where `unsafe` is.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use hone_tests::{repository, run};

/// A part of the house, and the parts whose crates it may use.
const ARROWS: [(&str, &[&str]); 6] = [
    ("builder", &["builder"]),
    ("runtime-hooks", &["runtime-hooks", "builder"]),
    ("shim", &["shim", "runtime-hooks", "builder"]),
    ("images", &["images", "builder"]),
    ("tests/support", &["builder"]),
    ("tests", &[]),
];

/// Every crate of the workspace: its part of the house and what it uses, tests' own needs left out.
fn crates() -> BTreeMap<String, (String, Vec<String>)> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(repository());
    let metadata = run(&mut cargo).json();
    let root = metadata["workspace_root"].as_str().expect("a workspace").to_owned();
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let manifest = text(&package["manifest_path"]);
            let inside = manifest.strip_prefix(&format!("{root}/")).expect("in the workspace");
            let (part, _) = ARROWS
                .iter()
                .find(|(part, _)| inside.starts_with(&format!("{part}/")))
                .unwrap_or_else(|| panic!("{inside} is new: say what it may use"));
            let needed = package["dependencies"].as_array().expect("dependencies").iter();
            let needed = needed.filter(|d| d["kind"] != "dev").map(|d| text(&d["name"])).collect();
            (text(&package["name"]), ((*part).to_owned(), needed))
        })
        .collect()
}

#[test]
fn arrows_go_one_way() {
    let crates = crates();
    assert!(crates.len() > 10, "cargo metadata names the workspace");
    for (name, (part, needed)) in &crates {
        let (_, allowed) = ARROWS.iter().find(|(from, _)| from == part).expect("a part of the house");
        for used in needed.iter().filter_map(|used| crates.get_key_value(used)) {
            let (used, (their, _)) = used;
            assert!(allowed.contains(&their.as_str()), "{name} ({part}) uses {used} ({their})");
        }
    }
}

/// Everything that `name` reaches, tests' own needs left out.
fn reached<'c>(crates: &'c BTreeMap<String, (String, Vec<String>)>, name: &'c str) -> BTreeSet<&'c str> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![name]);
    while let Some((_, needed)) = left.pop().and_then(|name| crates.get(name)) {
        left.extend(needed.iter().map(String::as_str).filter(|needed| reached.insert(*needed)));
    }
    reached
}

#[test]
fn what_becomes_a_version_is_decided_without_a_network() {
    let crates = crates();
    for name in ["hone-commit", "hone-ship", "hone-store", "hone-base", "hone-plan"] {
        assert!(crates.contains_key(name), "{name} is gone");
        let reached = reached(&crates, name);
        for network in ["hone-registry", "hone-remote", "hone-build", "ureq", "tokio"] {
            assert!(!reached.contains(network), "{name} reaches {network}");
        }
    }
}

/// Lines of the repository's tracked files that match a pattern: file, text.
fn grep(pattern: &str, files: &str) -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["grep", "--no-color", "-n", "-E", "-e", pattern, "--", files]);
    run(git.current_dir(repository())).stdout.lines().map(str::to_owned).collect()
}

/// Where `unsafe` may be let in, and in how many modules at most.
const DOORS: [(&str, usize); 3] = [
    // Kernel calls.
    ("runtime-hooks/sys/src/", usize::MAX),
    // The trainer's memory maps.
    ("images/onnx/src/", 1),
    // One call into instructions that a processor was found to have, for each kind of processor.
    ("builder/hash/src/", 2),
];

#[test]
fn unsafe_is_behind_three_doors() {
    let opened = grep(r"(allow|expect)\(.*unsafe_code", "*.rs");
    assert!(!opened.is_empty(), "hone-sys opens its modules one by one");
    for line in &opened {
        let known = DOORS.iter().any(|(door, _)| line.starts_with(door));
        assert!(known || line.starts_with("tests/tests/house.rs"), "unsafe code allowed in {line}");
    }
    for (door, most) in DOORS {
        let inside = opened.iter().filter(|line| line.starts_with(door)).count();
        assert!(inside <= most, "{door}: want at most {most} modules with unsafe code, got {opened:?}");
    }
    // Behind the third door nothing is unsafe but the call.
    assert_eq!(grep(r"unsafe \{", "builder/hash/src/*.rs").len(), 2, "one call a processor");
}

#[test]
fn every_crate_lives_under_the_workspace_s_lints() {
    for name in crates().keys() {
        let manifest = grep(&format!("^name = \"{name}\"$"), "*Cargo.toml");
        let path = manifest
            .first()
            .and_then(|line| line.split(':').next())
            .unwrap_or_else(|| panic!("{name} has a manifest"));
        let text = std::fs::read_to_string(repository().join(path)).expect("read manifest");
        assert!(text.contains("[lints]\nworkspace = true"), "{path} has lints of its own");
    }
}
