//! Images through pipes: `hone save X -o - | hone load -`, whole or not at all; and which platform of them.

#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::process::{Output, Stdio};

use common::Site;
use common::registry::Registry;

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

/// What `save` writes to its standard output.
fn saved(site: &Site, args: &[&str]) -> Vec<u8> {
    let output = site.command(args).output().expect("hone");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn fed(site: &Site, args: &[&str], stdin: &[u8]) -> Output {
    let piped = Stdio::piped;
    let mut child = site.command(args).stdin(piped()).stdout(piped()).stderr(piped()).spawn().expect("hone");
    // One that has seen enough closes its end.
    let _ = child.stdin.take().expect("stdin").write_all(stdin);
    child.wait_with_output().expect("hone")
}

fn digest(site: &Site, name: &str) -> String {
    site.json(&["inspect", "--json", name])["digest"].as_str().expect("digest").to_owned()
}

#[test]
fn what_is_saved_to_a_pipe_is_loaded_from_one() {
    let site = site();
    for save in [&["save", "assistant:base", "-o", "-"][..], &["save", "assistant:base"]] {
        for load in [&["load", "-"][..], &["load"], &["load", "oci-archive:-"]] {
            let device = Site::new();
            let mut from = site.command(save).stdout(Stdio::piped()).spawn().expect("hone");
            let to = device.command(load).stdin(from.stdout.take().expect("pipe")).output().expect("hone");
            assert!(from.wait().expect("save").success() && to.status.success(), "{to:?}");
            assert_eq!(digest(&device, "assistant:base"), digest(&site, "assistant:base"));
            assert!(device.ok(&["verify", "assistant:base"]).contains(": ok ("));
            assert!(device.files("tmp").is_empty());
        }
    }
    // A copy there is the archive and nothing else, and one from there is read like it.
    let (device, bytes) = (Site::new(), saved(&site, &["copy", "assistant:base", "-"]));
    assert_eq!(bytes, saved(&site, &["save", "assistant:base"]));
    assert!(fed(&device, &["copy", "-", "mine:1"], &bytes).status.success());
    assert_eq!(digest(&device, "mine:1"), digest(&site, "assistant:base"));
    let (device, bytes) = (Site::new(), saved(&site, &["save", "assistant:base", "-o", "docker-archive:-"]));
    let output = fed(&device, &["load", "-q", "-t", "mine:1", "-"], &bytes);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), digest(&device, "mine:1"));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_stream_that_is_cut_off_or_something_else_is_an_error_and_leaves_nothing() {
    let site = site();
    for output in ["-", "docker-archive:-"] {
        let bytes = saved(&site, &["save", "assistant:base", "-o", output]);
        for end in [0, 100, 512, 5000, bytes.len() / 2, bytes.len() - 1024] {
            let device = Site::new();
            let got = fed(&device, &["load", "-"], &bytes[..end]);
            assert_eq!(got.status.code(), Some(1), "{output} {end}: {got:?}");
            device.assert_empty();
        }
    }
    let bytes = saved(&site, &["save", "assistant:base"]);
    let said = String::from_utf8(fed(&Site::new(), &["load"], &bytes[..bytes.len() / 2]).stderr).expect("text");
    assert!(said.contains("goes beyond the archive's end") || said.contains("it was cut off"), "{said}");
    // What is no archive is told by its beginning: its end never comes.
    let device = Site::new();
    let mut child =
        device.command(&["load", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hone");
    let mut stdin = child.stdin.take().expect("stdin");
    while stdin.write_all(&[7; 4096]).is_ok() {}
    assert_eq!(child.wait().expect("hone").code(), Some(1));
    device.assert_empty();
    let zipped = [&[0x1f, 0x8b][..], &[0; 600]].concat();
    let said = String::from_utf8(fed(&device, &["load", "-"], &zipped).stderr).expect("text");
    assert!(said.contains("compressed with gzip"), "{said}");
}

#[test]
fn an_image_is_not_written_to_a_terminal_and_not_read_from_one() {
    let site = site();
    let ours = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).expect("pty");
    rustix::pty::grantpt(&ours).expect("grant");
    rustix::pty::unlockpt(&ours).expect("unlock");
    let name = rustix::pty::ptsname(&ours, Vec::new()).expect("name").into_string().expect("text");
    let terminal = || std::fs::OpenOptions::new().read(true).write(true).open(&name).expect("terminal");
    for args in [&["save", "assistant:base"][..], &["save", "assistant:base", "-o", "docker-archive:-"]] {
        let output = site.command(args).stdout(terminal()).stderr(Stdio::piped()).output().expect("hone");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("not for a terminal"), "{output:?}");
    }
    let output = site.command(&["load"]).stdin(terminal()).output().expect("hone");
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard input is a terminal"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_reader_that_goes_away_ends_a_save_with_an_error() {
    let site = site();
    let mut child = site
        .command(&["save", "assistant:base"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hone");
    child.stdout.take().expect("pipe").read_exact(&mut [0]).expect("a byte");
    assert_eq!(child.wait().expect("hone").code(), Some(1));
}

#[test]
fn one_platform_is_built_pulled_and_saved() {
    let (site, registry) = (site(), Registry::start());
    site.write("Honefile", "apiVersion: hone.dev/v1\nname: assistant\nbase:\n  model: model\ntrainer: none\n");
    site.ok(&["build", "-t", "two:1", "--platform", "linux/amd64,linux/arm64,linux/arm64/v8"]);
    let platforms = |site: &Site, name: &str| site.json(&["inspect", "--json", name])["platforms"].clone();
    assert_eq!(platforms(&site, "two:1"), serde_json::json!(["linux/amd64", "linux/arm64"]));
    let name = format!("{}/a/two:1", registry.host);
    site.ok(&["push", "-q", "two:1", &name]);
    for (platform, has) in
        [("linux/arm64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64"), ("linux/amd64", "linux/amd64")]
    {
        let device = Site::new();
        device.ok(&["pull", "--platform", platform, &name]);
        assert_eq!(platforms(&device, &name), serde_json::json!([has]));
    }
    let device = Site::new();
    let said = device.fails(&["pull", "--platform", "linux/riscv64", &name]);
    assert!(said.contains("no image for linux/riscv64; it has linux/amd64, linux/arm64"), "{said}");
    device.assert_empty();
    // Saved alone, it is a manifest, which is refused as what it is not.
    let bytes = saved(&site, &["save", "two:1", "--platform", "linux/arm64"]);
    let output = fed(&device, &["load"], &bytes);
    assert!(output.status.success(), "{output:?}");
    device.ok(&["push", "-q", "two:1", &format!("{name}-arm")]);
    assert_eq!(device.json(&["inspect", "--json", "two:1"])["architecture"], "arm64");
    let said = Site::new().fails(&["pull", "--platform", "linux/amd64", &format!("{name}-arm")]);
    assert!(said.contains("no image for linux/amd64; it is for linux/arm64"), "{said}");
    assert!(
        site.fails(&["save", "two:1", "--platform", "linux/riscv64"]).contains("it has linux/amd64, linux/arm64")
    );
    let bad = site.command(&["save", "two:1", "--platform", "arm64"]).output().expect("hone");
    assert_eq!(bad.status.code(), Some(2));
}
