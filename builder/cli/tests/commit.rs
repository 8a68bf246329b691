//! `hone commit` and the versions it makes: what is committed, what is refused and kept, and that no step is done
//! twice.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Site, exited, golden};
use hone_contract::run::{Engine, ExitRecord, Outcome};
use serde_json::{Value, json};

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

fn log(site: &Site) -> Value {
    site.json(&["log", "--json", "assistant:base"])
}

/// The files in an image's topmost layer, by name.
fn adapter(site: &Site, image: &str) -> BTreeMap<String, Vec<u8>> {
    let store = site.store();
    let image = store.resolve(image).expect("resolve").image;
    let layer = store
        .open_layer(image.layers().last().expect("layers"), &hone_store::Budget::of_image(&image))
        .expect("layer");
    let mut archive = tar::Archive::new(layer);
    let entries = archive.entries().expect("entries");
    entries
        .map(|entry| {
            let mut entry = entry.expect("entry");
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("content");
            (entry.path().expect("path").display().to_string(), bytes)
        })
        .collect()
}

/// Reads a safetensors file: header, and data by name.
fn tensors(bytes: &[u8]) -> (Value, BTreeMap<String, Vec<u8>>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("length")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("header");
    let data = &bytes[8 + length..];
    let of = |row: &Value| {
        let at = |i: usize| row["data_offsets"][i].as_u64().expect("offset") as usize;
        data[at(0)..at(1)].to_vec()
    };
    let rows = header.as_object().expect("object").iter().filter(|(name, _)| *name != "__metadata__");
    let data = rows.map(|(name, row)| (name.clone(), of(row))).collect();
    (header, data)
}

/// Rewrites the staged adapter's tensors: `edit` changes header and data.
fn edit_tensors(staging: &Path, edit: impl FnOnce(&mut Value, &mut Vec<u8>)) {
    let path = staging.join("out/adapter/adapter_model.safetensors");
    let bytes = fs::read(&path).expect("tensors");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("length")) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("header");
    let mut data = bytes[8 + length..].to_vec();
    edit(&mut header, &mut data);
    let json = serde_json::to_vec(&header).expect("JSON");
    let mut new = (json.len() as u64).to_le_bytes().to_vec();
    new.extend(json);
    new.extend(data);
    fs::write(&path, new).expect("write");
}

const Q_A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

#[test]
fn a_run_that_exited_with_0_becomes_a_version() {
    let site = site();
    let staging = site.stage("run1", "assistant:base", exited(0));
    fs::write(staging.join("out/adapter/README.md"), "a model card").expect("card");
    let said = site.ok(&["commit", staging.to_str().expect("path")]);
    assert!(said.starts_with("committed assistant:base-v1: an adapter layer of "), "{said}");
    assert!(!staging.exists(), "a published run's staging directory is removed");

    let base = site.json(&["inspect", "--json", "assistant:base"]);
    let v1 = site.json(&["inspect", "--json", "assistant:base-v1"]);
    let layers = |v: &Value| v["layers"].as_array().expect("layers").clone();
    let digests = |v: &Value| layers(v).iter().map(|l| l["digest"].clone()).collect::<Vec<_>>();
    assert_eq!(digests(&v1)[..4], digests(&base)[..]);
    assert_eq!(layers(&base)[1]["shared_with"], json!(["assistant:base-v1"]));
    assert_eq!(layers(&v1).len(), 5);
    assert_eq!(layers(&v1)[4]["kind"], "adapter");
    assert_eq!(layers(&v1)[4]["digest"], layers(&v1)[4]["diff_id"]);
    assert_eq!(v1["lineage"], "assistant:base");
    assert_eq!(v1["base"]["name"], "assistant:base");
    assert_eq!(v1["base"]["digest"], base["manifest"]);
    assert_eq!(v1["base"]["config"], base["config"]);
    assert_eq!(v1["version"], 1);
    assert_eq!(v1["state"], "candidate");
    assert_eq!(v1["labels"]["dev.hone.version"], "1");

    let rows = site.json(&["images", "--json"]);
    assert_eq!(rows[1]["reference"], "assistant:base-v1");
    assert_eq!(rows[1]["lineage"], "assistant:base");
    let log = log(&site);
    assert_eq!(log["versions"][0]["reference"], "assistant:base-v1");
    assert_eq!(log["versions"][0]["state"], "candidate");
    assert_eq!(log["versions"][0]["parent"], "assistant:base");
    assert_eq!(log["runs"], json!([]));
    assert!(site.ok(&["log", "assistant:base"]).contains("assistant:base-v1  candidate"));
}

#[test]
fn what_is_committed_is_the_tensors_and_nothing_that_came_with_them() {
    let site = site();
    let staging = site.stage("run1", "assistant:base", exited(0));
    edit_tensors(&staging, |header, _| header["__metadata__"] = json!({"secret": "the user's diary"}));
    let config = staging.join("out/adapter/adapter_config.json");
    let mut written: Value = serde_json::from_slice(&fs::read(&config).expect("config")).expect("JSON");
    written["base_model_name_or_path"] = json!("the user's diary");
    written["revision"] = json!("the user's diary");
    fs::write(&config, written.to_string()).expect("write");
    site.ok(&["commit", "run1"]);
    let files = adapter(&site, "assistant:base-v1");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["hone/", "hone/adapter/", "hone/adapter/adapter_config.json", "hone/adapter/adapter_model.safetensors"]
    );
    assert!(files.values().all(|bytes| !String::from_utf8_lossy(bytes).contains("diary")));
    let config: Value = serde_json::from_slice(&files["hone/adapter/adapter_config.json"]).expect("JSON");
    assert_eq!((&config["r"], &config["lora_alpha"], &config["peft_type"]), (&json!(4), &json!(8), &json!("LORA")));
    let original = fs::read(golden("llama/adapter_final/adapter_model.safetensors")).expect("golden");
    let (header, data) = tensors(&files["hone/adapter/adapter_model.safetensors"]);
    assert_eq!(header["__metadata__"], json!({"format": "pt"}));
    assert_eq!(data, tensors(&original).1);
}

#[test]
fn committing_twice_makes_one_version() {
    let site = site();
    let staging = site.stage("run1", "assistant:base", exited(0));
    let staging = staging.to_str().expect("path");
    let first = site.ok(&["commit", staging]);
    assert_eq!(site.ok(&["commit", staging]), first, "the directory is gone, the version is found");
    // The same run with the same result is the same version; another adapter, or another run, makes another.
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    assert_eq!(log(&site)["versions"].as_array().expect("versions").len(), 1);
    let second = site.stage("run2", "assistant:base", exited(0));
    edit_tensors(&second, |_, data| data[..4].copy_from_slice(&1f32.to_le_bytes()));
    assert!(site.ok(&["commit", "run2"]).contains("assistant:base-v2"));
    site.stage("run3", "assistant:base", exited(0));
    assert!(site.ok(&["commit", "run3"]).contains("assistant:base-v3"));
}

#[test]
fn two_commits_of_one_run_at_once_are_one_version() {
    let site = site();
    for round in 0..5 {
        let id = format!("run{round}");
        let staging = site.stage(&id, "assistant:base", exited(0));
        let start = || site.command(&["commit", &id]).stdout(std::process::Stdio::piped()).spawn().expect("hone");
        let said = [start(), start(), start()].map(|child| {
            let output = child.wait_with_output().expect("hone");
            assert!(output.status.success(), "{output:?}");
            output.stdout
        });
        assert!(said.iter().all(|text| *text == said[0]));
        assert!(!staging.exists());
        assert_eq!(log(&site)["versions"].as_array().expect("versions").len(), round + 1);
    }
}

#[test]
fn a_commit_goes_on_from_wherever_it_was_cut_off() {
    let site = site();
    let reference = {
        let whole = self::site();
        whole.stage("run1", "assistant:base", exited(0));
        whole.ok(&["commit", "run1"]);
        whole.json(&["inspect", "--json", "assistant:base-v1"])["digest"].clone()
    };
    // Cut off after each step: the record of the step is there, what follows is not.
    let first = site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    let v1 = site.json(&["inspect", "--json", "assistant:base-v1"]);
    assert_eq!(v1["digest"], reference, "the same adapter on the same base is the same image");
    let layer = serde_json::from_value(v1["layers"][4]["digest"].clone()).expect("digest");
    let config = serde_json::from_value(v1["config"].clone()).expect("digest");
    let reference = "assistant:base-v1".to_owned();
    for outcome in [
        Outcome::Sealed { layer },
        Outcome::Committed { reference: reference.clone(), version: 1, config },
        Outcome::Published { reference, version: 1, config },
    ] {
        site.stage("run1", "assistant:base", exited(0));
        fs::write(first.join("outcome.json"), serde_json::to_vec(&outcome).expect("JSON")).expect("outcome");
        site.ok(&["commit", "run1"]);
        assert_eq!(log(&site)["versions"].as_array().expect("versions").len(), 1, "{outcome:?}");
        assert!(!first.exists());
    }
    // Cut off between the record and the name: the name comes back.
    let index = site.root().join("index.json");
    let mut names: Value = serde_json::from_slice(&fs::read(&index).expect("index")).expect("JSON");
    names["manifests"]
        .as_array_mut()
        .expect("manifests")
        .retain(|m| m["annotations"]["org.opencontainers.image.ref.name"] == "assistant:base");
    fs::write(&index, names.to_string()).expect("index");
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    assert_eq!(site.json(&["inspect", "--json", "assistant:base-v1"])["digest"], v1["digest"]);
}

#[test]
fn training_from_a_version_replaces_its_adapter() {
    let site = site();
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    let second = site.stage("run2", "assistant:base-v1", exited(0));
    edit_tensors(&second, |_, data| data[..4].copy_from_slice(&1f32.to_le_bytes()));
    site.ok(&["commit", "run2"]);
    let v1 = site.json(&["inspect", "--json", "assistant:base-v1"]);
    let v2 = site.json(&["inspect", "--json", "assistant:base-v2"]);
    assert_eq!(v2["layers"].as_array().expect("layers").len(), 5);
    assert_eq!(v2["parent"], v1["config"]);
    assert_eq!(v2["base"], v1["base"]);
    assert_eq!(v2["lineage"], "assistant:base");
    assert_eq!(log(&site)["versions"][0]["parent"], "assistant:base-v1");
}

#[test]
fn versions_are_promoted_rolled_back_and_removed() {
    let site = site();
    for n in 1u8..=3 {
        let staging = site.stage(&format!("run{n}"), "assistant:base", exited(0));
        edit_tensors(&staging, |_, data| data[..4].copy_from_slice(&f32::from(n).to_le_bytes()));
        site.ok(&["commit", &format!("run{n}")]);
    }
    let states = |site: &Site| -> Vec<String> {
        let versions = log(site)["versions"].as_array().expect("versions").clone();
        versions.iter().rev().map(|v| v["state"].as_str().expect("state").to_owned()).collect()
    };
    assert_eq!(states(&site), ["candidate", "candidate", "candidate"]);
    site.ok(&["promote", "assistant:base-v1"]);
    site.ok(&["promote", "assistant:base-v2"]);
    assert_eq!(states(&site), ["previous", "current", "candidate"]);
    assert_eq!(
        site.ok(&["rollback", "assistant:base"]),
        "assistant:base-v1 is the current version of assistant:base\n"
    );
    assert_eq!(states(&site), ["current", "rejected", "candidate"]);
    let current = site.json(&["inspect", "--json", "assistant:current"]);
    assert_eq!(current["references"], json!(["assistant:base-v1"]));
    let said = site.fails(&["rollback", "assistant:base"]);
    assert_eq!(said, "hone: roll back assistant:base: there is no version before the current one");
    let said = site.fails(&["rm", "assistant:base-v1"]);
    assert_eq!(said, "hone: remove assistant:base-v1: it is the current version; roll back or promote another first");
    let before = site.files("blobs/sha256").len();
    let said = site.ok(&["rm", "assistant:base-v3"]);
    assert!(said.starts_with("removed assistant:base-v3\nfreed ") && said.ends_with(" in 6 blobs\n"), "{said}");
    // The adapter, and manifest and configuration of the image and of the model's artifact, and the index over both.
    assert_eq!(site.files("blobs/sha256").len(), before - 6);
    // A number is given out once.
    let staging = site.stage("run4", "assistant:base", exited(0));
    edit_tensors(&staging, |_, data| data[..4].copy_from_slice(&4f32.to_le_bytes()));
    assert!(site.ok(&["commit", "run4"]).contains("assistant:base-v4"));
    let said = site.fails(&["promote", "assistant:base"]);
    assert_eq!(said, "hone: assistant:base: not a version; `hone log` lists those of a base");
}

#[test]
fn versions_are_listed_in_the_order_of_their_numbers() {
    let site = site();
    for n in 1u8..=11 {
        let staging = site.stage(&format!("run{n}"), "assistant:base", exited(0));
        edit_tensors(&staging, |_, data| data[..4].copy_from_slice(&f32::from(n).to_le_bytes()));
        site.ok(&["commit", &format!("run{n}")]);
    }
    let want = (1..=11).map(|n| format!("assistant:base-v{n}"));
    let rows = site.json(&["images", "--json"]);
    let rows = rows.as_array().expect("rows").iter().map(|row| row["reference"].as_str().expect("name").to_owned());
    assert_eq!(
        rows.collect::<Vec<_>>(),
        ["assistant:base".to_owned()].into_iter().chain(want.clone()).collect::<Vec<_>>()
    );
    let versions = log(&site)["versions"].clone();
    let versions = versions
        .as_array()
        .expect("versions")
        .iter()
        .rev()
        .map(|v| v["reference"].as_str().expect("name").to_owned());
    assert_eq!(versions.collect::<Vec<_>>(), want.collect::<Vec<_>>());
}

#[test]
fn a_parent_that_was_removed_is_shown_by_a_short_id() {
    let site = site();
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    let parent =
        site.json(&["inspect", "--json", "assistant:base-v1"])["config"].as_str().expect("config").to_owned();
    let second = site.stage("run2", "assistant:base-v1", exited(0));
    edit_tensors(&second, |_, data| data[..4].copy_from_slice(&1f32.to_le_bytes()));
    site.ok(&["commit", "run2"]);
    site.ok(&["rm", "assistant:base-v1"]);
    let shown = site.ok(&["log", "assistant:base"]);
    assert!(
        shown.contains(&parent["sha256:".len()..][..12]) && !shown.contains(&parent["sha256:".len()..]),
        "{shown}"
    );
    assert_eq!(log(&site)["versions"][0]["parent"], parent.as_str(), "whole for programs");
}

#[test]
fn a_version_of_a_base_that_was_built_again_is_stale() {
    let site = site();
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    site.write("Honefile", common::LLAMA.replace("steps: 20", "steps: 21"));
    site.ok(&["build", ".", "-t", "assistant:base"]);
    assert_eq!(log(&site)["versions"][0]["stale"], true);
    assert!(site.ok(&["log", "assistant:base"]).contains("candidate, stale"));
}

/// Stages a run, lets `spoil` change it, and wants it refused for the reason given, kept, and told by `hone log`.
fn refused(exit: Option<ExitRecord>, spoil: impl FnOnce(&Site, &Path), reason: &str) {
    let site = site();
    let blobs = site.files("blobs/sha256");
    let staging = site.stage("run1", "assistant:base", exit);
    spoil(&site, &staging);
    let want = format!("hone: run run1: nothing was committed: {reason}");
    let matches = |said: &str| match want.strip_suffix('…') {
        Some(beginning) => said.starts_with(beginning),
        None => said == want,
    };
    for _ in 0..2 {
        let said = site.fails(&["commit", "run1"]);
        assert!(matches(&said), "got:  {said}\nwant: {want}");
    }
    assert!(staging.is_dir(), "what the trainer wrote is kept");
    assert_eq!(site.files("blobs/sha256"), blobs);
    assert!(site.files("tmp").is_empty());
    let log = log(&site);
    assert_eq!(log["versions"], json!([]));
    assert_eq!(log["runs"][0]["state"], "refused");
    let listed = site.json(&["staging", "ls", "--json"]);
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&json!("run1"), &json!("refused")));
    assert_eq!(listed[0]["reason"], log["runs"][0]["reason"]);
    assert!(site.ok(&["staging", "ls"]).contains("run1  assistant:base  refused"));
    site.ok(&["staging", "rm", "run"]);
    assert!(!staging.exists());
}

#[test]
fn a_trainer_that_failed_is_refused() {
    let kept = "what the trainer wrote is in SITE/root/staging/run1/out";
    refused(exited(3), |_, _| {}, &format!("the trainer exited with code 3; {kept}"));
    refused(None, |_, _| {}, "nobody knows how the trainer ended; what it wrote is in SITE/root/staging/run1/out");
    let killed = ExitRecord { code: 137, signal: Some(9), oom: true, finished_ms: 1 };
    refused(
        Some(killed),
        |_, _| {},
        "the trainer was killed for memory (the container's limit): allow it more (resources.memory), or lower batch_size or max_length…",
    );
}

#[test]
fn a_missing_or_partial_adapter_is_refused() {
    refused(
        exited(0),
        |_, dir| fs::remove_dir_all(dir.join("out/adapter")).expect("remove"),
        "the trainer wrote no adapter: /hone/out/adapter is missing",
    );
    refused(
        exited(0),
        |_, dir| fs::remove_file(dir.join("out/adapter/adapter_model.safetensors")).expect("remove"),
        "the trainer wrote no /hone/out/adapter/adapter_model.safetensors",
    );
    refused(
        exited(0),
        |_, dir| {
            let path = dir.join("out/adapter/adapter_model.safetensors");
            let bytes = fs::read(&path).expect("tensors");
            fs::write(&path, &bytes[..bytes.len() - 7]).expect("cut");
        },
        "adapter_model.safetensors: truncated: tensor …",
    );
}

#[test]
fn tensors_of_wrong_values_or_shapes_are_refused() {
    refused(
        exited(0),
        |_, dir| {
            edit_tensors(dir, |header, data| {
                let at = header[Q_A]["data_offsets"][0].as_u64().expect("offset") as usize + 8;
                data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            })
        },
        &format!("adapter_model.safetensors: tensor {Q_A}: element 2 is NaN, want finite numbers only"),
    );
    refused(
        exited(0),
        |_, dir| edit_tensors(dir, |header, _| header[Q_A]["shape"] = json!([64, 4])),
        &format!("adapter_model.safetensors: tensor {Q_A}: got shape [64, 4], want [4, 64]"),
    );
}

#[test]
fn extra_and_missing_tensors_are_refused() {
    refused(
        exited(0),
        |_, dir| {
            edit_tensors(dir, |header, data| {
                let end = data.len();
                data.extend([0; 4]);
                header["diary"] = json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]});
            })
        },
        "adapter_model.safetensors: tensors: got an extra one, diary, want only those of the adapter",
    );
    refused(
        exited(0),
        |_, dir| {
            edit_tensors(dir, |header, _| {
                let rows = header.as_object_mut().expect("object");
                let row = rows.remove(Q_A).expect("row");
                rows.insert(Q_A.replace("layers.0", "layers.9"), row);
            })
        },
        &format!("adapter_model.safetensors: tensor {Q_A}: got nothing, want shape [4, 64]"),
    );
    refused(
        exited(0),
        |_, dir| edit_tensors(dir, |_, data| data.extend(b"the user's diary")),
        "adapter_model.safetensors: …",
    );
}

#[test]
fn a_configuration_that_is_not_plain_lora_is_refused() {
    let spoil = |key: &'static str, value: Value| {
        move |_: &Site, dir: &Path| {
            let path = dir.join("out/adapter/adapter_config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("config")).expect("JSON");
            config[key] = value;
            fs::write(&path, config.to_string()).expect("write");
        }
    };
    for (key, value, reason) in [
        ("peft_type", json!("IA3"), "peft_type is \"IA3\", want \"LORA\""),
        ("use_dora", json!(true), "use_dora is true; only plain LoRA is committed"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save is [\"lm_head\"]; only plain LoRA is committed"),
        ("r", json!(8), "r is 8, want 4 as in the job"),
        ("lora_alpha", json!(9), "lora_alpha is 9, want 8 as in the job"),
        ("bias", json!("all"), "bias is \"all\", want \"none\""),
    ] {
        refused(exited(0), spoil(key, value), &format!("adapter_config.json: {reason}"));
    }
}

#[test]
fn links_and_special_files_are_refused_and_not_followed() {
    let tensors = "out/adapter/adapter_model.safetensors";
    let not_regular = "/hone/out/adapter/adapter_model.safetensors is not a regular file";
    refused(
        exited(0),
        |site, dir| {
            let secret = site.path("secret");
            fs::rename(dir.join(tensors), &secret).expect("rename");
            symlink(secret, dir.join(tensors)).expect("symlink");
        },
        not_regular,
    );
    refused(
        exited(0),
        |_, dir| {
            fs::remove_file(dir.join(tensors)).expect("remove");
            assert!(Command::new("mkfifo").arg(dir.join(tensors)).status().expect("mkfifo").success());
        },
        not_regular,
    );
    refused(
        exited(0),
        |site, dir| fs::hard_link(dir.join(tensors), site.path("other name")).expect("link"),
        "/hone/out/adapter/adapter_model.safetensors has 2 hard links, want 1",
    );
    refused(
        exited(0),
        |site, dir| {
            fs::rename(dir.join("out/adapter"), site.path("elsewhere")).expect("rename");
            symlink(site.path("elsewhere"), dir.join("out/adapter")).expect("symlink");
        },
        "/hone/out/adapter is not a directory",
    );
}

#[test]
fn other_files_and_oversized_ones_are_refused() {
    let tensors = "out/adapter/adapter_model.safetensors";
    refused(
        exited(0),
        |_, dir| fs::write(dir.join("out/adapter/diary.txt"), "mine").expect("write"),
        "/hone/out/adapter holds \"diary.txt\"; only adapter_config.json and adapter_model.safetensors may be there",
    );
    refused(
        exited(0),
        |_, dir| {
            let file = fs::File::options().write(true).open(dir.join(tensors)).expect("open");
            file.set_len(1 << 40).expect("a sparse terabyte");
        },
        "/hone/out/adapter/adapter_model.safetensors has 1099511627776 bytes, want at most …",
    );
}

/// `hone commit run1` where no file can have more than 256 KiB (512 where sh counts in KiB).
fn commit_in_little_room(site: &Site) -> std::process::Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 512; exec \"$0\" commit run1", env!("CARGO_BIN_EXE_hone")]);
    shell.current_dir(site.dir.path()).env("HONE_ROOT", site.root()).output().expect("sh")
}

#[test]
fn a_file_is_copied_when_its_header_is_right_and_not_before() {
    let holes = |dir: &Path| {
        let path = dir.join("out/adapter/adapter_model.safetensors");
        fs::File::options().write(true).open(path).expect("open").set_len(1 << 20).expect("a sparse file");
    };
    let long = |dir: &Path| edit_tensors(dir, |_, data| data.resize(1 << 20, 0));
    let named = |dir: &Path| {
        edit_tensors(dir, |header, data| {
            let end = data.len();
            data.resize(1 << 20, 0);
            let shape = [1, (data.len() - end) / 4];
            header["x"] = json!({"dtype": "F32", "shape": shape, "data_offsets": [end, data.len()]});
        });
    };
    type Spoil<'a> = &'a dyn Fn(&Path);
    let (holes, long, named): (Spoil<'_>, Spoil<'_>, Spoil<'_>) = (&holes, &long, &named);
    for (spoil, want) in [(holes, "the file's end"), (long, "the file's end"), (named, "an extra one, x")] {
        let site = site();
        spoil(&site.stage("run1", "assistant:base", exited(0)));
        let output = commit_in_little_room(&site);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("nothing was committed: ") && said.contains(want), "{output:?}");
    }
    let site = site();
    site.stage("run1", "assistant:base", exited(0));
    let output = commit_in_little_room(&site);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_no_file_is_neither_opened_nor_waited_for() {
    let tensors = "out/adapter/adapter_model.safetensors";
    let config = "out/adapter/adapter_config.json";
    let not_regular = |name: &str| format!("/hone/out/adapter/{name} is not a regular file");
    for (path, name) in [(tensors, "adapter_model.safetensors"), (config, "adapter_config.json")] {
        refused(
            exited(0),
            |_, dir| {
                fs::remove_file(dir.join(path)).expect("remove");
                drop(std::os::unix::net::UnixListener::bind(dir.join(path)).expect("socket"));
            },
            &not_regular(name),
        );
        refused(
            exited(0),
            |_, dir| {
                fs::remove_file(dir.join(path)).expect("remove");
                fs::create_dir(dir.join(path)).expect("directory");
            },
            &not_regular(name),
        );
    }
    refused(
        exited(0),
        |_, dir| {
            fs::remove_dir_all(dir.join("out/adapter")).expect("remove");
            assert!(Command::new("mkfifo").arg(dir.join("out/adapter")).status().expect("mkfifo").success());
        },
        "/hone/out/adapter is not a directory",
    );
    // The twin: what is left behind anyway may be anything.
    let site = site();
    let dir = site.stage("run1", "assistant:base", exited(0));
    assert!(Command::new("mkfifo").arg(dir.join("out/adapter/README.md")).status().expect("mkfifo").success());
    assert!(site.ok(&["commit", "run1"]).contains("assistant:base-v1"));
}

#[test]
fn root_devices_are_not_opened() {
    if Command::new("id").arg("-u").output().expect("id").stdout != b"0\n" {
        eprintln!("skipped: needs root");
        return;
    }
    // /dev/zero would answer for ever, and opening a watchdog would restart the machine.
    for numbers in [["1", "5"], ["10", "130"]] {
        let tensors = "out/adapter/adapter_model.safetensors";
        refused(
            exited(0),
            |_, dir| {
                fs::remove_file(dir.join(tensors)).expect("remove");
                let made = Command::new("mknod").arg(dir.join(tensors)).arg("c").args(numbers).status();
                assert!(made.expect("mknod").success());
            },
            "/hone/out/adapter/adapter_model.safetensors is not a regular file",
        );
    }
}

#[test]
fn names_that_are_nearly_right_or_climb_are_refused() {
    let long = "x".repeat(200);
    for name in [
        "...",
        "..adapter",
        "adapter_model.safetensors ",
        "ADAPTER_CONFIG.JSON",
        "a\\..\\b",
        "a\nb",
        "\u{202e}a",
        &long,
    ] {
        let shown = hone_contract::quoted(name).at_most(100).to_string();
        assert_eq!(shown.ends_with("xxx... (200 bytes)"), name.len() == 200);
        refused(
            exited(0),
            |_, dir| fs::write(dir.join("out/adapter").join(name), "mine").expect("write"),
            &format!("/hone/out/adapter holds \"{shown}\"; only …"),
        );
    }
    refused(
        exited(0),
        |_, dir| fs::create_dir(dir.join("out/adapter/checkpoint")).expect("directory"),
        "/hone/out/adapter holds \"checkpoint\"; only …",
    );
}

#[test]
fn tensors_outside_the_file_or_in_each_other_are_refused() {
    let offsets = |begin: u64, end: u64| {
        move |_: &Site, dir: &Path| edit_tensors(dir, |header, _| header[Q_A]["data_offsets"] = json!([begin, end]))
    };
    let size = fs::metadata(golden("llama/adapter_final/adapter_model.safetensors")).expect("golden").len();
    for (begin, end) in
        [(0, 1024), (512, 1536), (size, size + 1024), (u64::MAX - 1024, u64::MAX), (1024, 0), (0, 4096)]
    {
        let original = fs::read(golden("llama/adapter_final/adapter_model.safetensors")).expect("golden");
        if tensors(&original).0[Q_A]["data_offsets"] == json!([begin, end]) {
            continue;
        }
        refused(exited(0), offsets(begin, end), "adapter_model.safetensors: …");
    }
    for offsets in [json!([-1, 1023]), json!([0.5, 1024]), json!("0"), json!(null)] {
        let spoil = move |_: &Site, dir: &Path| edit_tensors(dir, |header, _| header[Q_A]["data_offsets"] = offsets);
        refused(exited(0), spoil, "adapter_model.safetensors: …");
    }
    // A header longer than the file, or than any file.
    for length in [size, 1 << 40, u64::MAX] {
        refused(
            exited(0),
            |_, dir| {
                let path = dir.join("out/adapter/adapter_model.safetensors");
                let mut bytes = fs::read(&path).expect("tensors");
                bytes[..8].copy_from_slice(&length.to_le_bytes());
                fs::write(&path, bytes).expect("write");
            },
            "adapter_model.safetensors: …",
        );
    }
}

#[test]
fn numbers_that_are_none_are_refused_wherever_they_are() {
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
        for from_end in [false, true] {
            let spoil = |_: &Site, dir: &Path| {
                edit_tensors(dir, |_, data| {
                    let at = if from_end { data.len() - 4 } else { 0 };
                    data[at..at + 4].copy_from_slice(&bad.to_le_bytes());
                });
            };
            refused(exited(0), spoil, "adapter_model.safetensors: tensor …");
        }
    }
    // The twins: the largest numbers that are some, and a file that is all hole.
    let site = site();
    let dir = site.stage("run1", "assistant:base", exited(0));
    edit_tensors(&dir, |_, data| {
        data[..8].copy_from_slice(&[f32::MAX, f32::MIN_POSITIVE / 2.0].map(f32::to_le_bytes).concat())
    });
    site.ok(&["commit", "run1"]);
    let dir = site.stage("run2", "assistant:base", exited(0));
    let mut header = 0;
    edit_tensors(&dir, |_, data| header = data.len() as u64);
    let file = fs::File::options().write(true).open(dir.join("out/adapter/adapter_model.safetensors")).expect("open");
    let size = file.metadata().expect("metadata").len();
    file.set_len(size - header).expect("cut");
    file.set_len(size).expect("a hole");
    site.ok(&["commit", "run2"]);
    let files = adapter(&site, "assistant:base-v2");
    let (_, data) = tensors(&files["hone/adapter/adapter_model.safetensors"]);
    assert!(data.values().flatten().all(|byte| *byte == 0));
}

/// Whatever the trainer's directory does meanwhile, what is committed is what was looked at.
#[test]
fn files_that_change_while_they_are_captured_are_refused_or_whole() {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    let site = site();
    let stop = AtomicBool::new(false);
    for round in 0..12 {
        let id = format!("run{round}");
        let path = site.stage(&id, "assistant:base", exited(0)).join("out/adapter/adapter_model.safetensors");
        let good = fs::read(&path).expect("tensors");
        let nan = f32::NAN.to_le_bytes();
        stop.store(false, Ordering::Relaxed);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = fs::File::options().write(true).open(&path).expect("open");
                let end = good.len() as u64;
                while !stop.load(Ordering::Relaxed) {
                    // The directory may be gone: the run was committed. The file is still open.
                    file.write_all_at(&nan, end - 4).expect("write");
                    file.write_all_at(&good[good.len() - 4..], end - 4).expect("write");
                    file.set_len(end + 1 + round % 2 * 100_000).expect("grow");
                    file.set_len(end - round % 3).expect("shrink");
                    file.write_all_at(&good, 0).expect("write");
                    file.set_len(end).expect("as it was");
                }
            });
            let output = site.command(&["commit", &id]).output().expect("hone");
            stop.store(true, Ordering::Relaxed);
            output
        });
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.starts_with(&format!("hone: run {id}: nothing was committed: ")), "{said}");
        }
    }
    for version in log(&site)["versions"].as_array().expect("versions") {
        let files = adapter(&site, version["reference"].as_str().expect("reference"));
        let (_, data) = tensors(&files["hone/adapter/adapter_model.safetensors"]);
        let finite = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes")).is_finite();
        assert!(data.values().all(|bytes| bytes.chunks_exact(4).all(finite)), "{version}");
    }
}

#[test]
fn any_finite_lora_pairs_pass_where_the_model_is_not_understood() {
    let site = Site::new();
    site.write("rootfs/bin/sh", common::elf());
    site.write(
        "Honefile",
        "apiVersion: hone.dev/v1\nname: own\ntrainer: {rootfs: rootfs, command: [python, train.py]}\n",
    );
    site.ok(&["build", ".", "-t", "own:base"]);
    site.stage("run1", "own:base", exited(0));
    assert!(site.ok(&["commit", "run1"]).contains("committed own:base-v1"));
    let half = site.stage("run2", "own:base", exited(0));
    edit_tensors(&half, |header, _| {
        let rows = header.as_object_mut().expect("object");
        let row = rows.remove(Q_A).expect("row");
        rows.insert("diary".to_owned(), row);
    });
    let said = site.fails(&["commit", "run2"]);
    assert!(said.ends_with(&format!("its other half {Q_A} is missing")), "{said}");
}

#[test]
fn adapter_commit_false_makes_no_version_and_is_no_failure() {
    let site = site();
    let dir = site.stage("run1", "assistant:base", exited(0));
    site.write_run(&dir, "run1", "assistant:base", Engine::Embedded, |job| job.adapter.commit = false);
    let said = site.ok(&["commit", "run1"]);
    assert!(said.starts_with("not committed: the Honefile says adapter.commit: false; the adapter is in "), "{said}");
    assert!(dir.join("out/adapter").is_dir());
    assert_eq!(log(&site)["versions"], json!([]));
}

#[test]
fn keys_that_are_not_known_are_told_whatever_becomes_of_the_run() {
    let site = site();
    let want = "note: /hone/job.json has \"later\", not known to this program: kept, and not followed\n";
    for (id, wanted, code) in [("failed", true, 1), ("unwanted", false, 0), ("running", true, 0), ("good", true, 0)] {
        let exit = if id == "running" { None } else { exited(code) };
        let dir = site.stage(id, "assistant:base", exit);
        let path = dir.join("run.json");
        let mut run: Value = serde_json::from_slice(&fs::read(&path).expect("run")).expect("JSON");
        run["job"]["later"] = json!(1);
        run["job"]["adapter"]["commit"] = json!(wanted);
        fs::write(&path, run.to_string()).expect("run");
        let output = site.command(&["commit", id]).output().expect("hone");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told.matches(want).count(), 1, "{id}: {told}");
    }
}

#[test]
fn a_staging_directory_that_is_none_is_named() {
    let site = site();
    assert_eq!(
        site.fails(&["commit", "nothing"]),
        "hone: staging SITE/root/staging/nothing: not found; `hone staging ls` lists what is there"
    );
    fs::create_dir_all(site.root().join("staging/empty")).expect("directory");
    assert_eq!(
        site.fails(&["commit", "empty"]),
        "hone: SITE/root/staging/empty: no run.json in it, so it is not a run's staging directory"
    );
    assert_eq!(
        site.fails(&["staging", "rm", "nothing"]),
        "hone: staging nothing: not found; `hone staging ls` lists what is there"
    );
}

/// A `docker` that knows one image, and keeps what is loaded into it.
fn fake_docker(site: &mut Site, works: bool) {
    let image = site.store().resolve("assistant:base").expect("resolve").image;
    let config = image.config().value();
    let inspected = json!([{
        "Id": image.config().digest(), "Architecture": config.architecture, "Os": config.os,
        "Config": config.config, "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
    }]);
    site.write("inspect.json", inspected.to_string());
    let loaded = site.path("loaded.tar");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n *'image ls'*) echo {} ;;\n *'image inspect'*) cat {} ;;\n *load*) {} ;;\n *) exit 9 ;;\nesac\n",
        image.config().digest(),
        site.path("inspect.json").display(),
        if works { format!("cat > {}", loaded.display()) } else { "echo 'daemon is down' >&2; exit 1".to_owned() },
    );
    let program = site.write("bin/docker", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("mode");
    let path = std::env::var("PATH").unwrap_or_default();
    site.env("PATH", format!("{}:{path}", site.path("bin").display()));
}

#[test]
fn an_engine_that_is_down_is_told_later() {
    let mut site = site();
    fake_docker(&mut site, false);
    let dir = site.stage("run1", "assistant:base", exited(0));
    let docker = || Engine::Docker { host: "unix:///nowhere".to_owned() };
    site.write_run(&dir, "run1", "assistant:base", docker(), |_| {});
    let said = site.fails(&["commit", "run1"]);
    let want =
        "hone: commit run run1: assistant:base-v1 is in the local store; run `hone commit` again to publish it: ";
    assert!(said.starts_with(want) && said.contains("daemon is down"), "{said}");
    assert_eq!(log(&site)["runs"][0]["state"], "committed");
    fake_docker(&mut site, true);
    site.ok(&["commit", "run1"]);
    assert!(!dir.exists());
    assert_eq!(log(&site)["versions"].as_array().expect("versions").len(), 1);
    assert!(fs::metadata(site.path("loaded.tar")).expect("loaded").len() > 0);
}

#[test]
fn a_version_of_a_base_that_only_the_engine_has_is_recorded_without_a_manifest() {
    let mut site = site();
    fake_docker(&mut site, true);
    let dir = site.stage("run1", "assistant:base", exited(0));
    let docker = Engine::Docker { host: "unix:///nowhere".to_owned() };
    site.write_run(&dir, "run1", "assistant:base", docker, |_| {});
    site.ok(&["rm", "assistant:base"]);
    assert!(site.files("blobs/sha256").is_empty(), "the base is gone from the store");
    let said = site.ok(&["commit", "run1"]);
    assert!(
        said.starts_with("committed assistant:base-v1: an adapter layer of ") && !said.contains(" on a base"),
        "{said}"
    );
    let v1 = site.json(&["inspect", "--json", "assistant:base-v1"]);
    assert_eq!(v1["digest"], json!(null));
    assert_eq!(v1["layers"].as_array().expect("layers").len(), 5);
    assert_eq!(v1["layers"][4]["kind"], "adapter");
    assert_eq!(v1["labels"]["dev.hone.base.name"], "assistant:base");
    assert_eq!(site.json(&["images", "--json"])[0]["reference"], "assistant:base-v1");
    // What went to the engine: the new layer, and none of the base's.
    let mut archive = tar::Archive::new(fs::File::open(site.path("loaded.tar")).expect("loaded"));
    let entries = archive.entries().expect("entries");
    let sizes: u64 = entries.map(|e| e.expect("entry").size()).sum();
    let adapter = v1["layers"][4]["size"].as_u64().expect("size");
    assert!(sizes >= adapter && sizes < adapter + 20_000, "{sizes} bytes sent for an adapter of {adapter}");
}
