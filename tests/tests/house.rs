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

/// What compresses, and the digest of git, by which the model hub names files.
const CODECS: &[&str] = &["zstd", "sha1"];
/// What reaches the disk, the network or the kernel, and async runtimes.
const EFFECTS: &[&str] = &["tokio", "tonic", "ureq", "rustls", "rustix", "nix", "libc", "tempfile", "getrandom"];
/// Async runtimes and clients of HTTP.
const NETWORK: &[&str] = &["tokio", "tonic", "ureq", "rustls"];
/// Async runtimes.
const ASYNC: &[&str] = &["tokio", "tonic"];
/// What reaches registries. What becomes a version is decided without them: an engine on this machine is asked.
const REGISTRIES: &[&str] = &["hone-registry", "hone-remote", "hone-build", "ureq", "rustls"];

/// Every crate, and what it may not reach by whatever way; a wall is made higher here.
const WALLS: [(&str, &[&[&str]]); 29] = [
    ("hone-contract", &[EFFECTS, CODECS]),
    ("hone-model", &[EFFECTS, CODECS]),
    ("hone-image", &[EFFECTS, &["zstd"]]),
    ("hone-plan", &[EFFECTS, &["zstd"]]),
    ("hone-sbom", &[EFFECTS, &["zstd"]]),
    ("hone-hash", &[EFFECTS, CODECS]),
    ("hone-commands", &[EFFECTS, CODECS]),
    ("hone-docker", &[EFFECTS, CODECS]),
    ("hone-files", &[NETWORK, CODECS, &["tempfile", "libc"]]),
    ("hone-store", &[NETWORK]),
    ("hone-tree", &[NETWORK, &["tempfile", "zstd"]]),
    ("hone-archive", &[NETWORK, &["hone-engines"]]),
    ("hone-base", &[NETWORK, &["tempfile", "libc", "zstd"]]),
    ("hone-registry", &[ASYNC, &["hone-store", "hone-engines"]]),
    ("hone-remote", &[ASYNC, &["hone-engines"]]),
    ("hone-engines", &[REGISTRIES]),
    ("hone-ship", &[REGISTRIES]),
    ("hone-commit", &[REGISTRIES]),
    ("hone-build", &[ASYNC, &["hone-engines"]]),
    ("hone", &[&["libcontainer", "nix"]]),
    ("hone-frontend", &[REGISTRIES, &["hone-store", "hone-engines", "tempfile", "zstd"]]),
    ("hone-sys", &[NETWORK, CODECS, &["tempfile"]]),
    ("hone-cgroups", &[NETWORK, CODECS, &["tempfile"]]),
    ("hone-keeper", &[NETWORK, CODECS, &["tempfile"]]),
    ("hone-runtime", &[NETWORK, CODECS, &["tempfile"]]),
    ("hone-run", &[NETWORK, &["libcontainer"]]),
    ("hone-train", &[NETWORK, CODECS, &["tempfile"]]),
    ("hone-tests", &[NETWORK, CODECS]),
    ("hone-test-support", &[EFFECTS, CODECS]),
];

/// The crates whose code touches no file, clock, network, environment or randomness.
const PURE: [&str; 6] = ["contract", "model", "image", "plan", "sbom", "hash"];

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

/// The crates that a crate is built of, without its tests' and its build's needs.
fn tree(name: &str, more: &[&str]) -> Vec<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", name]);
    let listed = run(cargo.args(more).current_dir(repository())).ok();
    listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn walls_are_not_climbed_by_what_a_crate_is_built_of() {
    assert_eq!(BTreeSet::from(WALLS.map(|(name, _)| name.to_owned())), crates().into_keys().collect(), "a wall each");
    for (name, walls) in WALLS {
        let tree = tree(name, &[]);
        assert_eq!(tree[0], name);
        for beyond in walls.concat() {
            let found = tree.iter().any(|used| used == beyond);
            assert!(!found, "{name} reaches {beyond}: cargo tree --edges normal --package {name} --invert {beyond}");
        }
    }
}

#[test]
fn hone_enters_an_async_runtime_for_containerd_only() {
    assert!(tree("hone", &[]).iter().any(|used| used == "tokio"));
    let without = tree("hone", &["--prune", "hone-engines"]);
    assert!(without.iter().any(|used| used == "ureq") && !without.iter().any(|used| used == "tokio"));
    let named = grep(r"\b(tokio|tokio_stream|tonic|containerd_client)::|\.await\b", "builder/*.rs");
    let (inside, outside): (Vec<_>, Vec<_>) =
        named.iter().partition(|line| line.starts_with("builder/engines/src/containerd/client/"));
    assert!(!inside.is_empty());
    for line in outside {
        assert!(line.starts_with("builder/frontend/"), "an async runtime outside its module: {line}");
    }
}

#[test]
fn pure_crates_touch_nothing() {
    let effects =
        r"\b(fs|net|env|process|thread)::|std::(fs|net|env|process|thread|os)\b|SystemTime|Instant|RandomState";
    for name in PURE {
        let folder = repository().join("builder").join(name).join("src");
        assert!(folder.is_dir(), "{} is where {name} is", folder.display());
        for line in grep(effects, &format!("builder/{name}/src/*.rs")) {
            let [file, number, text] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let source = std::fs::read_to_string(repository().join(file)).expect("read source");
            let before: Vec<_> = source.lines().take(number.parse().expect("a number")).collect();
            let tests = file.ends_with("tests.rs") || before.contains(&"#[cfg(test)]");
            assert!(tests || text.trim_start().starts_with("//"), "{name} is to be pure: {line}");
        }
    }
}

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

/// Folders whose files are named by the verb, or the engine, that each is for: the name says which, the folder what.
const ONE_EACH: [&str; 3] = ["cli/", "verbs/", "install/"];
/// Other files of one crate that are called alike, and why.
const ALIKE: [(&str, &str, &str); 2] = [
    (
        "builder/engines/src/containerd/client/content.rs",
        "builder/engines/src/context.rs",
        "containerd's and docker's words",
    ),
    ("runtime-hooks/cgroups/src/v1.rs", "runtime-hooks/cgroups/src/v2.rs", "the kernel's words"),
];

/// Whether two names are the same, or one letter is another, more or less.
fn alike(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let same = short.bytes().zip(long.bytes()).take_while(|(a, b)| a == b).count();
    match long.len() - short.len() {
        0 => short.as_bytes()[same..].iter().skip(1).eq(long.as_bytes()[same..].iter().skip(1)),
        1 => short.as_bytes()[same..] == long.as_bytes()[same + 1..],
        _ => false,
    }
}

#[test]
fn no_two_files_of_a_crate_are_called_alike() {
    assert!(alike("layer", "layers") && alike("v1", "v2") && alike("a", "a"));
    assert!(!alike("fetch", "push") && !alike("ab", "ba"));
    let mut git = Command::new("git");
    let listed = run(git.args(["ls-files", "*/src/*.rs"]).current_dir(repository())).stdout;
    let files: Vec<_> = listed
        .lines()
        .filter_map(|path| {
            let (part, inside) = path.split_once("/src/")?;
            let name = path.rsplit('/').next()?.strip_suffix(".rs")?;
            let general =
                matches!(name, "mod" | "lib" | "main" | "tests") || ONE_EACH.iter().any(|d| inside.starts_with(d));
            (!general).then_some((part, name, path))
        })
        .collect();
    assert!(files.len() > 100, "git lists the sources");
    for (at, (part, name, path)) in files.iter().enumerate() {
        for (_, other, there) in files[at + 1..].iter().filter(|file| file.0 == *part && alike(name, file.1)) {
            let known = ALIKE.iter().any(|(a, b, _)| [*a, *b] == [*path, *there]);
            assert!(known, "{path} and {there} are called {name} and {other}");
        }
    }
}
