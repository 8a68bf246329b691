//! Every verb takes every form of REF that docs/cli.md names.

mod common;

use std::fs;
use std::process::Command;

use common::registry::Registry;
use common::{Site, exited};
use hone_contract::Reference;
use hone_contract::run::Engine;
use hone_image::image::VersionOf;
use hone_image::{Layer, LayerKind};
use serde_json::{Value, json};

/// `assistant:base`, and `assistant:base-v1` of it, which is the current version.
fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    site.ok(&["promote", "assistant:base-v1"]);
    site
}

/// Every form of `assistant:base-v1`.
fn forms(site: &Site) -> Vec<String> {
    let view = site.json(&["inspect", "--json", "assistant:base-v1"]);
    let digest = |key: &str| view[key].as_str().expect(key).to_owned();
    let hex = |key: &str| digest(key)["sha256:".len()..].to_owned();
    let mut forms = vec![
        "assistant:base-v1".to_owned(),
        "docker.io/library/assistant:base-v1".to_owned(),
        "assistant:current".to_owned(),
    ];
    for key in ["digest", "manifest", "config"] {
        forms.extend([digest(key), hex(key), hex(key)[..12].to_owned(), format!("sha256:{}", &hex(key)[..12])]);
        forms.extend([format!("assistant@{}", digest(key)), format!("assistant:base-v1@{}", digest(key))]);
    }
    forms
}

/// A copy of a site's store, to change.
fn copy(site: &Site, name: &str) -> String {
    let to = site.path(name).display().to_string();
    let copied = Command::new("cp").args(["-a", &site.root().display().to_string(), &to]).status().expect("cp");
    assert!(copied.success());
    to
}

#[test]
fn every_verb_that_looks_takes_every_form() {
    let site = site();
    site.ok(&["tag", "assistant:base-v1", "assistant"]);
    let want = site.json(&["inspect", "--json", "assistant:base-v1"])["digest"].clone();
    let target = format!("{}/a/b:c", Registry::start().host);
    let forms = [forms(&site), vec!["assistant".to_owned(), "assistant:latest".to_owned()]].concat();
    for (n, form) in forms.iter().enumerate() {
        assert_eq!(site.json(&["inspect", "--json", form])["digest"], want, "inspect {form}");
        assert_eq!(site.json(&["log", "--json", form])["lineage"], "assistant:base", "log {form}");
        assert!(site.ok(&["verify", form]).contains(": ok ("), "verify {form}");
        let copied = format!("copy:n{n}");
        site.ok(&["tag", form, &copied]);
        assert_eq!(site.json(&["inspect", "--json", &copied])["digest"], want, "tag {form}");
        site.ok(&["rm", &copied]);
        site.ok(&["save", form, "-o", &format!("oci-archive:{n}.tar")]);
        fs::remove_file(site.path(&format!("{n}.tar"))).expect("saved");
        assert_eq!(site.ok(&["push", "-q", form, &target]).trim(), want.as_str().expect("digest"), "push {form}");
    }
}

#[test]
fn every_verb_that_changes_takes_every_form() {
    let site = site();
    let forms = forms(&site);
    site.ok(&["build", ".", "-t", "other:base"]);
    site.stage("run2", "assistant:base-v1", exited(0));
    let second = site.root().join("staging/run2/out/adapter/adapter_model.safetensors");
    let mut bytes = fs::read(&second).expect("adapter");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1f32.to_le_bytes());
    fs::write(&second, bytes).expect("adapter");
    site.ok(&["commit", "run2"]);
    let state = |root: &str, n: usize| {
        site.json(&["--root", root, "log", "--json", "assistant:base"])["versions"][n]["state"].clone()
    };
    for (n, form) in forms.iter().enumerate() {
        let root = &copy(&site, &format!("root{n}"));
        // Of the current version it says so, of whatever form; then of one that may go.
        let said = site.fails(&["--root", root, "rm", form]);
        assert_eq!(
            said,
            "hone: remove assistant:base-v1: it is the current version; roll back or promote another first"
        );
        site.ok(&["--root", root, "promote", "assistant:base-v2"]);
        if form != "assistant:current" {
            site.ok(&["--root", root, "promote", form]);
            assert_eq!(state(root, 1), "current", "promote {form}");
            site.ok(&["--root", root, "promote", "assistant:base-v2"]);
            site.ok(&["--root", root, "rollback", form]);
            assert_eq!((state(root, 0), state(root, 1)), (json!("rejected"), json!("current")), "rollback {form}");
            site.ok(&["--root", root, "promote", "assistant:base-v2"]);
            let said = site.ok(&["--root", root, "rm", form]);
            assert!(said.starts_with("removed assistant:base-v1\n"), "rm {form}: {said}");
            assert_eq!(
                site.json(&["--root", root, "log", "--json", "assistant:base"])["versions"]
                    .as_array()
                    .expect("versions")
                    .len(),
                1
            );
        }
        fs::remove_dir_all(root).expect("copy");
    }
}

#[test]
fn what_has_several_names_or_none_is_said() {
    let site = site();
    let digest = site.json(&["inspect", "--json", "assistant:base"])["digest"].as_str().expect("digest").to_owned();
    site.ok(&["tag", "assistant:base", "second:name"]);
    let said = site.fails(&["rm", &digest]);
    let want = format!(
        "hone: remove {digest}: it has more than one name: assistant:base, second:name; say which of them goes"
    );
    assert_eq!(said, want);
    // Under one repository there is one.
    assert!(site.ok(&["rm", &format!("second@{digest}")]).starts_with("removed second:name\n"));
    for absent in [
        "nothing:here",
        "ffffffffffff",
        "second:name",
        &format!("second@{digest}"),
        "nothing:current",
        "abc",
        "Not A Name",
    ] {
        for verb in ["inspect", "log", "verify", "promote", "rollback", "rm", "push"] {
            let said = site.fails(&[verb, absent]);
            let want = format!("hone: image {absent}: not found; `hone images` lists what is there");
            assert_eq!(said, want, "{verb}");
        }
    }
    // Named twice is named once.
    site.ok(&["tag", "assistant:base", "second:name"]);
    assert_eq!(site.ok(&["rm", "second:name", "second:name"]), "removed second:name\n");
    // Nothing goes when one of several is not there.
    site.fails(&["rm", "assistant:base", "nothing:here"]);
    assert!(site.ok(&["images"]).contains("assistant:base "));
}

#[test]
fn a_base_whose_name_is_gone_is_known_by_its_versions_and_its_runs() {
    let site = site();
    site.stage("run2", "assistant:base", exited(1));
    site.ok(&["rm", "assistant:base"]);
    let view = site.json(&["log", "assistant:base", "--json"]);
    assert_eq!((view["versions"][0]["version"].clone(), view["runs"][0]["id"].clone()), (json!(1), json!("run2")));
    let said = site.fails(&["rollback", "assistant:base"]);
    assert_eq!(said, "hone: roll back assistant:base: there is no version before the current one");
    fs::remove_dir_all(site.root().join("lineages")).expect("remove");
    assert_eq!(site.json(&["log", "assistant:base", "--json"])["runs"][0]["id"], "run2", "its runs do");
    fs::remove_dir_all(site.root().join("staging")).expect("remove");
    for verb in ["log", "rollback"] {
        let want = "hone: image assistant:base: not found; `hone images` lists what is there";
        assert_eq!(site.fails(&[verb, "assistant:base"]), want, "{verb}");
    }
}

/// What is promoted is what runs: no verb gives a version's name to anything else.
#[test]
fn the_name_of_a_version_is_taken_from_it_by_no_verb() {
    let site = site();
    site.ok(&["build", ".", "-t", "other:1", "--created", "1"]);
    site.ok(&["save", "other:1", "-o", "docker-archive:other.tar"]);
    let before = site.json(&["inspect", "--json", "assistant:current"])["digest"].clone();
    for args in [
        &["tag", "other:1", "assistant:base-v1"][..],
        &["build", ".", "-t", "assistant:base-v1"],
        &["load", "docker-archive:other.tar", "-t", "assistant:base-v1"],
    ] {
        let said = site.fails(args);
        let want = "it is the name of version 1 of assistant:base; give another tag, or remove that version first with \
                    `hone rm assistant:base-v1`";
        assert!(said.ends_with(want), "{args:?}: {said}");
        site.ok(&["rm", "other:1"]);
        site.ok(&["build", ".", "-t", "other:1", "--created", "1"]);
        assert_eq!(site.json(&["inspect", "--json", "assistant:current"])["digest"], before, "{args:?}");
    }
    site.ok(&["rm", "assistant:base"]);
    assert!(site.ok(&["verify", "assistant:current"]).contains(": ok ("));
    // The twin: what comes back is the version.
    site.ok(&["save", "assistant:base-v1", "-o", "docker-archive:mine.tar"]);
    site.ok(&["load", "docker-archive:mine.tar", "-t", "assistant:base-v1"]);
    assert!(site.ok(&["verify", "assistant:current"]).contains(": ok ("));
}

#[test]
fn an_image_that_cannot_be_read_hides_no_other_and_can_be_removed() {
    let site = site();
    site.ok(&["build", ".", "-t", "other:base", "--created", "1"]);
    let view = site.json(&["inspect", "--json", "other:base"]);
    let hex = view["manifest"].as_str().expect("manifest")["sha256:".len()..].to_owned();
    let blob = site.root().join("blobs/sha256").join(&hex);
    fs::remove_file(&blob).expect("remove");
    fs::write(&blob, "damaged").expect("damage");
    let good = site.json(&["inspect", "--json", "assistant:base-v1"])["config"].as_str().expect("config").to_owned();
    assert!(site.ok(&["promote", &good["sha256:".len()..][..12]]).starts_with("assistant:base-v1 is the current"));
    site.ok(&["tag", &good, "found:it"]);
    site.ok(&["inspect", "assistant:base"]);
    site.ok(&["push", "assistant:base", &format!("{}/a/b:c", Registry::start().host)]);
    assert!(site.ok(&["rm", "other:base"]).starts_with("removed other:base\n"));
}

/// A site with `assistant:base-v1`, the current version, whose base only the engine has.
fn engine_only() -> Site {
    let mut site = Site::new();
    site.llama_image();
    let dir = site.stage("run1", "assistant:base", exited(0));
    common::docker_with(&mut site, "assistant:base");
    let docker = Engine::Docker { host: "unix:///nowhere".to_owned() };
    site.write_run(&dir, "run1", "assistant:base", docker, |_| {});
    site.ok(&["rm", "assistant:base"]);
    site.ok(&["commit", "run1"]);
    site.ok(&["promote", "assistant:base-v1"]);
    site
}

/// Every verb that needs the whole says where it is, and the others work.
#[test]
fn a_version_whose_base_is_in_an_engine_is_told_from_one_that_is_not_there() {
    let site = engine_only();
    let config =
        site.json(&["inspect", "--json", "assistant:base-v1"])["config"].as_str().expect("config").to_owned();
    let forms = [
        "assistant:base-v1",
        "assistant:current",
        &config,
        &config["sha256:".len()..][..8],
        &format!("assistant@{config}"),
    ];
    let want = "hone: image assistant:base-v1: only its adapter is in the store, its base is in the engine that trained it; \
                `hone load docker:assistant:base-v1` (or podman:assistant:base-v1) brings the whole here";
    for form in forms {
        for args in [
            &["verify", form][..],
            &["push", form, "127.0.0.1:1/a:b"],
            &["save", form, "-o", "oci:out"],
            &["tag", form, "x:y"],
        ] {
            assert_eq!(site.fails(args), want, "{args:?}");
        }
        assert_eq!(site.json(&["inspect", "--json", form])["config"], config.as_str());
        assert_eq!(site.json(&["log", "--json", form])["versions"][0]["state"], "current");
        site.ok(&["promote", form]);
        assert!(site.fails(&["rm", form]).contains("it is the current version"));
    }
    let rows = site.json(&["images", "--json"]);
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    assert_eq!(rows[0]["digest"], Value::Null);
}

#[test]
fn what_was_brought_here_under_its_name_is_what_the_name_and_current_stand_for() {
    let site = engine_only();
    site.ok(&["build", ".", "-t", "assistant:base"]);
    site.ok(&["save", "assistant:base", "-o", "docker-archive:base.tar"]);
    let said = site.fails(&["load", "docker-archive:base.tar", "-t", "assistant:base-v1"]);
    assert!(said.contains("it is the name of version 1 of assistant:base"), "its base is not the version: {said}");
    // What the engine has: the base's layers and the adapter, and the configuration that it was given.
    let store = site.store();
    let name = |text: &str| text.parse::<Reference>().expect("name");
    let record = store.version(&name("assistant:base-v1")).expect("store").expect("version");
    let base = store.resolve("assistant:base").expect("base").image;
    let lineage = record.lineage.to_string();
    let version = VersionOf { lineage, base: record.base, parent: record.parent, number: record.number };
    let adapter = Layer::tar(LayerKind::Adapter, record.layer.digest, record.layer.size);
    let image = base.with_adapter(store.config(record.config.digest).expect("config"), &version, adapter);
    store.ingest().expect("ingest").put_image(&name("in:engine"), &image).expect("put");
    site.ok(&["save", "in:engine", "-o", "docker-archive:brought.tar"]);
    site.ok(&["rm", "in:engine"]);
    site.ok(&["load", "docker-archive:brought.tar", "-t", "assistant:base-v1"]);
    assert!(site.ok(&["verify", "assistant:current"]).starts_with("assistant:current: ok ("));
    let rows = site.json(&["images", "--json"]);
    let versions = rows.as_array().expect("rows").iter().filter(|row| row["reference"] == "assistant:base-v1");
    assert_eq!(versions.map(|row| row["digest"].is_string()).collect::<Vec<_>>(), [true], "{rows}");
}
