//! What becomes of a verb whose output nobody reads: work is finished, a listing ends quietly, and nothing panics.

mod common;

use std::fs::File;
use std::process::{Output, Stdio};

use common::registry::Registry;
use common::{Site, exited};
use hone_test_support::unread;

/// Runs with nobody at either output; the exit code.
fn alone(site: &Site, args: &[&str]) -> Option<i32> {
    let mut command = site.command(args);
    command.stdout(unread()).stderr(unread()).status().expect("start hone").code()
}

/// Runs with nobody at standard output; what was said on standard error.
fn unheard(site: &Site, args: &[&str]) -> Output {
    site.command(args).stdout(unread()).stderr(Stdio::piped()).output().expect("start hone")
}

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

#[test]
fn work_is_finished_whether_or_not_anybody_reads() {
    let site = site();
    assert_eq!(alone(&site, &["build", "-t", "other:base", "--sbom", "-o", "oci:out"]), Some(0));
    assert_eq!(alone(&site, &["build", "--progress", "json", "-t", "third:base"]), Some(0));
    assert_eq!(site.ok(&["verify", "other:base"]).matches("ok").count(), 1);
    site.stage("run1", "assistant:base", exited(0));
    assert_eq!(alone(&site, &["commit", "run1"]), Some(0));
    assert_eq!(alone(&site, &["promote", "assistant:base-v1"]), Some(0));
    assert_eq!(site.json(&["log", "--json", "assistant:base"])["versions"][0]["state"], "current");
    assert_eq!(alone(&site, &["save", "other:base", "-o", "oci-archive:other.tar"]), Some(0));
    assert_eq!(alone(&site, &["load", "oci-archive:other.tar", "-t", "loaded:base"]), Some(0));
    assert_eq!(alone(&site, &["verify", "loaded:base"]), Some(0));
    assert_eq!(alone(&site, &["rm", "loaded:base", "third:base"]), Some(0));
    let registry = Registry::start();
    let there = format!("{}/a:b", registry.host);
    assert_eq!(alone(&site, &["push", "other:base", &there]), Some(0));
    assert_eq!(alone(&site, &["pull", &there]), Some(0));
    assert!(site.ok(&["images"]).contains(&there));
    let names = site.ok(&["images"]);
    assert!(names.contains("other:base") && !names.contains("loaded") && !names.contains("third"), "{names}");
    assert_eq!(alone(&site, &["prune"]), Some(0));
}

#[test]
fn an_error_is_an_error_whether_or_not_anybody_reads_it() {
    let site = site();
    site.write("broken/Honefile", "apiVersion: hone.dev/v1\nname: x\nbase: {model: nowhere}\ntrainer: none\n");
    let registry = Registry::start();
    registry.state().read_only = true;
    let there = format!("{}/a:b", registry.host);
    for args in [
        &["build", "broken", "-t", "x:y"][..],
        &["push", "assistant:base", &there],
        &["pull", &there],
        &["commit", "nothing"],
        &["verify", "nothing"],
        &["load", "oci:nowhere"],
    ] {
        assert_eq!(alone(&site, args), Some(1), "{args:?}");
    }
    assert_eq!(alone(&site, &["nonsense"]), Some(2));
}

#[test]
fn nothing_that_is_printed_moves_a_cursor() {
    let site = site();
    let said = site.fails(&["inspect", "\u{1b}[2J\u{202e}evil"]);
    assert_eq!(said, "hone: image \\u{1b}[2J\\u{202e}evil: not found; `hone images` lists what is there");
    site.write("Modelfile", "FROM ./model\nPARAMETER stop \"\u{1b}[2J\"\n");
    let output = site.command(&["convert", "Modelfile", "-o", "out"]).output().expect("start hone");
    assert!(
        !output.stderr.is_empty() && !output.stderr.contains(&0x1b),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_listing_ends_quietly_when_its_reader_has_gone() {
    let site = site();
    for args in [
        &["images"][..],
        &["images", "--json"],
        &["inspect", "assistant:base"],
        &["log", "assistant:base"],
        &["staging", "ls"],
        &["staging", "ls", "--json"],
    ] {
        let output = unheard(&site, args);
        // 128 + SIGPIPE, as a shell says of git.
        assert_eq!(output.status.code(), Some(141), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(alone(&site, args), Some(141), "{args:?}");
    }
    site.write("Modelfile", "FROM ./model\n");
    assert_eq!(unheard(&site, &["convert", "Modelfile"]).status.code(), Some(141));
}

#[test]
fn an_answer_that_a_full_disk_does_not_take_is_an_error() {
    let site = site();
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    for args in [&["images"][..], &["build", "-q", "-t", "other:base"]] {
        let output = site.command(args).stdout(full()).stderr(Stdio::piped()).output().expect("start hone");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("hone: write to standard output: No space left on device"), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
    // The work was done all the same.
    assert!(site.ok(&["images"]).contains("other:base"));
    // What is only said on standard error is nobody's result.
    let quiet = site.command(&["build", "-t", "third:base"]).stdout(Stdio::null()).stderr(full()).status();
    assert_eq!(quiet.expect("start hone").code(), Some(0));
}
