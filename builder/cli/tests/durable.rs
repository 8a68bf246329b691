//! What is said to be stored survives a power cut: the program is watched as it syncs.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Site, skipped};

/// Runs `hone` and gives what it synced, in order; `None` where programs cannot be watched.
fn synced(site: &Site, args: &[&str]) -> Option<Vec<PathBuf>> {
    let hone = site.command(args);
    let log = site.path("strace.log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-e", "trace=fsync,fdatasync", "-o"]).arg(&log);
    strace.arg(hone.get_program()).args(hone.get_args()).current_dir(site.dir.path());
    for (name, value) in hone.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    let watched = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !watched.is_ok_and(|status| status.success()) {
        skipped("strace cannot watch a program here");
        return None;
    }
    let output = strace.output().expect("strace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(log).expect("log");
    let path = |line: &str| Some(PathBuf::from(line.split_once('<')?.1.split_once(">)")?.0));
    Some(log.lines().filter(|line| line.contains("sync(")).filter_map(path).collect())
}

#[test]
fn every_directory_that_is_made_on_the_way_is_synced() {
    let mut site = Site::new();
    site.with_trainer();
    site.llama_dir("model", 32);
    site.write("Honefile", common::LLAMA);
    let top = fs::canonicalize(site.dir.path()).expect("canonical");
    let root = top.join("a/b/c/root");
    let args = ["--root", root.to_str().expect("UTF-8"), "build", ".", "-t", "assistant:base"];
    let Some(synced) = synced(&site, &args) else { return };
    let within = |name: &str| top.join(name);
    for dir in ["", "a", "a/b", "a/b/c", "a/b/c/root", "a/b/c/root/blobs", "a/b/c/root/blobs/sha256"] {
        let dir = if dir.is_empty() { top.clone() } else { within(dir) };
        assert!(synced.contains(&dir), "{}: {synced:?}", dir.display());
    }
}

#[test]
fn what_somebody_else_put_there_is_synced_before_it_is_believed() {
    let mut site = Site::new();
    site.llama_image();
    let blobs = fs::canonicalize(site.root()).expect("canonical").join("blobs/sha256");
    let is_blobs = |path: &&PathBuf| path.as_path() == Path::new(&blobs);
    // The moment is past in which a name could have come after a sync unseen.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let Some(again) = synced(&site, &["build", ".", "-t", "assistant:base"]) else { return };
    assert_eq!(again.iter().filter(is_blobs).count(), 1, "once is enough: {again:?}");
    assert_eq!(again.len(), 1, "nothing else is new: {again:?}");
    // A blob of a tool that may not have synced it is synced itself.
    let name = &site.files("blobs/sha256")[0];
    let bytes = fs::read(blobs.join(name)).expect("read");
    fs::remove_file(blobs.join(name)).expect("remove");
    fs::write(blobs.join(name), bytes).expect("write");
    let Some(adopted) = synced(&site, &["build", ".", "-t", "assistant:base"]) else { return };
    assert!(adopted.contains(&blobs.join(name)), "{name}: {adopted:?}");
    assert!(adopted.iter().any(|path| is_blobs(&path)), "{adopted:?}");
}
