//! `hone copy` and `hone inspect` of what is elsewhere: nothing of the store is named, and nothing is sent twice.

#![allow(missing_docs)]

mod common;

use common::Site;
use common::registry::Registry;
use hone_contract::Digest;

fn site() -> (Site, Registry, String) {
    let (mut site, registry) = (Site::new(), Registry::start());
    site.llama_image();
    let name = format!("{}/a/b:base", registry.host);
    site.ok(&["push", "-q", "assistant:base", &name]);
    (site, registry, name)
}

#[test]
fn from_registry_to_registry_the_digest_stays_and_nothing_is_kept_or_sent_twice() {
    let (site, registry, name) = site();
    let (device, other) = (Site::new(), Registry::start());
    let digest = site.json(&["inspect", "--json", "assistant:base"])["digest"].as_str().expect("digest").to_owned();
    let (from, to) = (format!("docker://{name}"), format!("docker://{}/c/d:one", other.host));
    assert_eq!(device.ok(&["copy", &from, &to]).trim(), digest);
    device.assert_empty();
    assert_eq!(other.tags("c/d"), ["one", "one-modelpack"]);
    let blobs = |registry: &Registry| {
        let state = registry.state();
        let mut all: Vec<String> = state.blobs.keys().filter(|k| k.starts_with("sha256:")).cloned().collect();
        all.sort();
        all
    };
    assert_eq!(blobs(&other), blobs(&registry));
    let before = other.state().seen.len();
    device.ok(&["copy", &from, &to]);
    assert!(!other.state().seen[before..].iter().any(|s| s.starts_with("POST")), "every blob is there");
    let fresh = Site::new();
    fresh.ok(&["pull", to.trim_start_matches("docker://")]);
    assert!(fresh.ok(&["verify", to.trim_start_matches("docker://")]).contains(": ok ("));
}

#[test]
fn every_other_pair_goes_by_way_of_the_store_and_names_only_what_is_asked_for() {
    let (site, _registry, name) = site();
    let device = Site::new();
    let from = format!("docker://{name}");
    device.ok(&["copy", &from, "oci:layout:v1"]);
    device.assert_empty();
    device.ok(&["copy", "oci:layout:v1", "oci-archive:image.tar"]);
    device.ok(&["copy", "oci-archive:image.tar", "mine:1"]);
    assert!(device.ok(&["verify", "mine:1"]).contains(": ok ("));
    let names = device.json(&["images", "--json"]);
    assert_eq!(names.as_array().map(Vec::len), Some(1));
    device.ok(&["copy", "mine:1", "mine:2"]);
    let digest = |site: &Site, name: &str| site.json(&["inspect", "--json", name])["digest"].clone();
    assert_eq!(digest(&device, "mine:2"), digest(&site, "assistant:base"));
    assert!(device.fails(&["copy", "absent:1", "oci:other"]).contains("absent"));
    assert!(!device.path("other").exists());
    // Loaded from there, it has its own name, or the one it is given.
    device.ok(&["load", &from]);
    device.ok(&["load", "-t", "mine:3", &from]);
    assert_eq!(digest(&device, "mine:3"), digest(&device, &name));
    assert_eq!(device.command(&["copy", "mine:1", "oci-archive:"]).output().expect("hone").status.code(), Some(2));
}

#[test]
fn an_image_of_a_registry_is_looked_at_without_a_layer() {
    let (site, registry, name) = site();
    let device = Site::new();
    let before = registry.state().seen.len();
    let there = device.json(&["inspect", "--json", &format!("docker://{name}")]);
    let here = site.json(&["inspect", "--json", "assistant:base"]);
    for key in ["digest", "manifest", "config", "architecture", "size", "command", "annotations"] {
        assert_eq!(there[key], here[key], "{key}");
    }
    let layers = here["layers"].as_array().expect("layers");
    for layer in layers {
        let digest = layer["digest"].as_str().expect("digest");
        assert!(!registry.state().seen[before..].iter().any(|s| s.contains(digest)), "{digest}");
    }
    let raw = device.ok(&["inspect", "--raw", &format!("docker://{name}")]);
    assert_eq!(serde_json::json!(Digest::of(raw.as_bytes())), here["digest"]);
    assert_eq!(raw, site.ok(&["inspect", "--raw", "assistant:base"]));
    let config = device.ok(&["inspect", "--config", &format!("docker://{name}")]);
    assert_eq!(serde_json::json!(Digest::of(config.as_bytes())), here["config"]);
    let said = device.fails(&["inspect", "--platform", "linux/riscv64", &format!("docker://{name}")]);
    assert!(said.contains("no image for linux/riscv64"), "{said}");
    device.assert_empty();
}

#[test]
fn a_verify_says_how_far_it_is() {
    let (site, _registry, _name) = site();
    let output = site.command(&["verify", "--progress", "json", "assistant:base"]).output().expect("hone");
    let events = String::from_utf8(output.stderr).expect("text");
    let weight = |event: &str| events.lines().any(|line| line.contains(event) && line.contains("verify weight"));
    assert!(weight(r#""event":"begin""#) && weight(r#""event":"end""#), "{events}");
    let output = site.command(&["verify", "--progress", "none", "assistant:base"]).output().expect("hone");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
