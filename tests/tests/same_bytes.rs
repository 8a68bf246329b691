//! The same inputs give the same bytes: images in two directories, and the trainer's program too.

use std::fs;
use std::process::Command;

use hone_tests::{Tiny, bin, copy, run, x};

fn digest(dir: &std::path::Path) -> String {
    let mut build = Command::new(bin().join("hone"));
    build.args(["build", "-t", "assistant:base"]).arg(dir.join("context")).env("HONE_ROOT", dir.join("root"));
    run(&mut build).ok();
    let mut inspect = Command::new(bin().join("hone"));
    inspect.args(["inspect", "--json", "assistant:base"]).env("HONE_ROOT", dir.join("root"));
    run(&mut inspect).json()["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn two_directories_build_one_image() {
    let (one, two) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    let deep = two.path().join("some/where/else");
    for dir in [one.path(), &deep] {
        fs::create_dir_all(dir.join("context")).expect("make directory");
        Tiny::default().write(&dir.join("context"), "");
    }
    let first = digest(one.path());
    assert!(first.starts_with("sha256:") && first.len() == 71, "{first}");
    assert_eq!(digest(&deep), first);
    // And one byte more is another image.
    let honefile = deep.join("context/Honefile");
    let text = fs::read_to_string(&honefile).expect("read Honefile").replace("steps: 3", "steps: 4");
    fs::write(honefile, text).expect("write Honefile");
    assert_ne!(digest(&deep), first);
}

fn sha256(path: &std::path::Path) -> String {
    run(Command::new("sha256sum").arg(path)).ok().split(' ').next().expect("a digest").to_owned()
}

#[test]
fn slow_two_directories_build_one_trainer() {
    let copy = copy();
    run(x(copy.path()).arg("trainer-program")).ok();
    assert_eq!(sha256(&copy.path().join("target/release/hone-train")), sha256(&bin().join("hone-train")));
}

#[test]
fn the_trainer_is_small_and_holds_nothing_else() {
    let root = bin().parent().expect("target").join("trainer-rootfs");
    let size = run(Command::new("du").args(["-sb", "--apparent-size"]).arg(&root)).ok();
    let size: u64 = size.split_whitespace().next().and_then(|n| n.parse().ok()).expect("du prints a number");
    assert!(size < 70_000_000, "{size} bytes unpacked, want at most 70 MB");
    let files = run(Command::new("find").args([".", "-type", "f"]).current_dir(&root)).ok();
    for file in files.lines() {
        let known = file.starts_with("./hone/") || file.starts_with("./etc/") || file.contains(".so");
        assert!(known, "what is {file} for?");
    }
    let layout = bin().join("trainers/onnx");
    let config = run(Command::new("sh")
        .arg("-c")
        .arg("cat \"$0\"/blobs/sha256/* | grep -a -o '\"User\":\"[0-9:]*\"'")
        .arg(layout));
    assert_eq!(config.ok(), "\"User\":\"65532:65532\"", "not root");
}

#[test]
fn the_trainer_s_image_keeps_onnx_runtime_silent() {
    let image = hone_store::Store::at(bin().join("trainers/onnx")).only_image().expect("one image");
    let env = &image.config().value().config.env;
    assert!(env.iter().flatten().any(|set| set == "ORT_DISABLE_TELEMETRY=1"), "{env:?}");
}

fn json(path: &std::path::Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).expect("read JSON")).expect("parse JSON")
}

#[test]
fn the_frontend_is_one_program_that_needs_nothing() {
    let layout = bin().join("frontend");
    let blob = |descriptor: &serde_json::Value| {
        layout.join("blobs").join(descriptor["digest"].as_str().expect("a digest").replace(':', "/"))
    };
    let index = json(&layout.join("index.json"));
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1), "{index}");
    let manifest = json(&blob(&index["manifests"][0]));
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "{manifest}");
    assert_eq!(json(&blob(&manifest["config"]))["config"]["Entrypoint"], serde_json::json!(["/hone-frontend"]));
    let dir = tempfile::tempdir().expect("tempdir");
    let unpack =
        "zstd -dcq \"$0\" >layer.tar && tar -tf layer.tar && tar -xf layer.tar && stat -c '%F %a' hone-frontend";
    let mut sh = Command::new("sh");
    let listed = run(sh.args(["-c", unpack]).arg(blob(&manifest["layers"][0])).current_dir(dir.path())).ok();
    let listed: Vec<_> = listed.lines().map(|line| line.trim_start_matches("./")).filter(|l| !l.is_empty()).collect();
    assert_eq!(listed, ["hone-frontend", "regular file 755"]);
    let elf = |part: &str| run(Command::new("readelf").arg(part).arg(dir.path().join("hone-frontend"))).ok();
    let (segments, dynamic) = (elf("-Wl"), elf("-Wd"));
    assert!(segments.contains("LOAD") && !segments.contains("INTERP"), "{segments}");
    assert!(!dynamic.contains("NEEDED"), "{dynamic}");
    // The twin: of a program that does need something, the same question has the other answer.
    let linked = |part: &str| run(Command::new("readelf").arg(part).arg(bin().join("hone-train"))).ok();
    assert!(linked("-Wl").contains("INTERP") && linked("-Wd").contains("NEEDED"));
}
