//! Where a version goes: to the lineage of the image that the caller named, whatever the image says of itself; and a
//! version that another store made goes on where its base bears it out.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Site, exited};
use hone_contract::run::{Engine, RunRecord};
use hone_contract::{Digest, Reference};
use hone_image::image::is_version;
use hone_image::media::{LABEL_BASE_CONFIG, LABEL_BASE_NAME, LABEL_VERSION};
use hone_image::oci::{ImageConfig, Manifest, RuntimeConfig, Sealed};
use hone_image::{Image, Layer, LayerKind, media};
use serde_json::{Value, json};

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

/// A site whose store has `assistant:base` and its first version, made by another store: no record of it is here.
fn of_elsewhere() -> Site {
    let site = site();
    site.stage("run0", "assistant:base", exited(0));
    site.ok(&["commit", "run0"]);
    forget(&site);
    site
}

fn forget(site: &Site) {
    fs::remove_dir_all(site.root().join("lineages")).expect("records");
}

fn config(site: &Site, name: &str) -> Digest {
    site.store().resolve(name).expect("image").image.config().digest()
}

/// A tar with one file.
fn tar_of(path: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, path, content).expect("entry");
    archive.into_inner().expect("tar")
}

/// Makes the image `name` of the image `from`: other labels, and layers.
fn derive(site: &Site, from: &str, name: &str, labels: &[(&str, &str)], edit: impl FnOnce(&mut Vec<Layer>)) {
    derive_other(site, from, name, labels, |_, layers| edit(layers));
}

/// The same, with other words in its configuration, too.
fn derive_other(
    site: &Site,
    from: &str,
    name: &str,
    labels: &[(&str, &str)],
    edit: impl FnOnce(&mut RuntimeConfig, &mut Vec<Layer>),
) {
    let store = site.store();
    let ingest = store.ingest().expect("store");
    let image = store.resolve(from).expect("image").image;
    let mut layers = image.layers().to_vec();
    let mut config: ImageConfig = image.config().value().clone();
    edit(&mut config.config, &mut layers);
    config.history.clear();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let own = config.config.labels.get_or_insert_default();
    own.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let config = Sealed::new(config);
    let descriptors = layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let manifest = Manifest::new(config.descriptor(media::CONFIG), descriptors, BTreeMap::new());
    let image = Image::join(Sealed::new(manifest), config).expect("image");
    ingest.put_image(&name.parse::<Reference>().expect("name"), &image).expect("put");
}

/// A layer that holds `content` at `path`.
fn layer(site: &Site, kind: LayerKind, path: &str, content: &[u8]) -> Layer {
    let store = site.store();
    let tar = tar_of(path, content);
    let digest = store.ingest().expect("store").put(&tar).expect("layer");
    Layer::tar(kind, digest, tar.len() as u64)
}

/// Commits a run of `image`; gives what was said on both outputs.
fn train(site: &Site, id: &str, image: &str) -> (String, String) {
    site.stage(id, image, exited(0));
    let output = site.command(&["commit", id]).output().expect("hone");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn diff_ids(site: &Site, name: &str) -> Vec<Digest> {
    site.store().resolve(name).expect("image").image.config().value().rootfs.diff_ids.clone()
}

#[test]
fn a_stranger_s_labels_decide_nothing() {
    let site = site();
    let base = config(&site, "assistant:base").to_string();
    let other = Digest::of(b"other").to_string();
    let cases: [(&str, &str, &str); 7] = [
        ("assistant:base", &base, "1"),
        ("assistant:base", &other, "1"),
        ("assistant:base", "nothing", "1"),
        ("assistant:base", &base, "4000000000"),
        ("assistant:base", &base, "18446744073709551615"),
        ("../../../etc:\u{1b}[2J", &base, "1"),
        ("", "", ""),
    ];
    for (n, (name, of, version)) in cases.into_iter().enumerate() {
        let labels = [(LABEL_BASE_NAME, name), (LABEL_BASE_CONFIG, of), (LABEL_VERSION, version)];
        let evil = format!("evil:x{n}");
        let program = layer(&site, LayerKind::Adapter, "hone/bin/hone-train", format!("evil {n}").as_bytes());
        derive(&site, "assistant:base", &evil, &labels, |layers| layers.push(program));
        let (said, note) = train(&site, &format!("run{n}"), &evil);
        assert!(said.starts_with(&format!("committed {evil}-v1: ")), "{said}");
        assert!(note.starts_with(&format!("note: {evil} says that it is version ")), "{note}");
        assert!(note.ends_with("it is taken as a base of its own\n") && !note.contains('\u{1b}'), "{note}");
        // All that ran is in it, and its labels say what is so.
        let made = diff_ids(&site, &format!("{evil}-v1"));
        assert_eq!(made[..made.len() - 1], diff_ids(&site, &evil));
        let v1 = site.json(&["inspect", "--json", &format!("{evil}-v1")]);
        assert_eq!((&v1["lineage"], &v1["version"]), (&json!(evil), &json!(1)));
        assert_eq!(v1["base"]["config"], json!(config(&site, &evil)));
        let seen = site.json(&["inspect", "--json", &evil]);
        assert_eq!((&seen["lineage"], &seen["version"], &seen["base"]), (&json!(evil), &json!(null), &json!(null)));
    }
    assert_eq!(site.json(&["log", "--json", "assistant:base"])["versions"], json!([]));
    let rows = site.json(&["images", "--json"]);
    let evil = rows.as_array().expect("rows").iter().find(|row| row["reference"] == "evil:x0").expect("evil");
    assert_eq!((&evil["lineage"], &evil["version"]), (&json!(null), &json!(null)));
}

#[test]
fn a_stranger_cannot_move_another_s_versions() {
    let site = site();
    for n in 1..=2 {
        train(&site, &format!("run{n}"), "assistant:base");
        site.ok(&["promote", &format!("assistant:base-v{n}")]);
    }
    let base = config(&site, "assistant:base").to_string();
    let labels = [(LABEL_BASE_NAME, "assistant:base"), (LABEL_BASE_CONFIG, base.as_str()), (LABEL_VERSION, "1")];
    derive(&site, "assistant:base", "evil:x", &labels, |_| {});
    let said = site.fails(&["rollback", "evil:x"]);
    assert!(said.ends_with("roll back evil:x: there is no version before the current one"), "{said}");
    let current = site.json(&["inspect", "--json", "assistant:current"]);
    assert_eq!(current["references"], json!(["assistant:base-v2"]));
    assert_eq!(site.json(&["log", "--json", "evil:x"])["versions"], json!([]));
}

#[test]
fn a_name_like_a_version_s_needs_the_layers_of_its_base() {
    let site = site();
    let base = config(&site, "assistant:base").to_string();
    let labels = [(LABEL_BASE_NAME, "assistant:base"), (LABEL_BASE_CONFIG, base.as_str()), (LABEL_VERSION, "7")];
    let adapter = || layer(&site, LayerKind::Adapter, "hone/adapter/adapter_config.json", b"{}");
    let program = || layer(&site, LayerKind::Other, "hone/bin/hone-train", b"evil");
    // Another program in place of the trainer; one under the adapter; one in place of the adapter.
    let edits: [(&str, Vec<Layer>); 3] =
        [("swap", vec![adapter()]), ("under", vec![program(), adapter()]), ("instead", vec![program()])];
    for (n, (how, top)) in edits.into_iter().enumerate() {
        let first = program();
        derive(&site, "assistant:base", "assistant:base-v7", &labels, |layers| {
            if how == "swap" {
                layers[0] = first;
            }
            layers.extend(top);
        });
        let all = diff_ids(&site, "assistant:base-v7");
        let (said, _) = train(&site, &format!("run{n}"), "assistant:base-v7");
        assert!(said.contains(&format!("committed assistant:base-v7-v{}", n + 1)), "{how}: {said}");
        let made = diff_ids(&site, &format!("assistant:base-v7-v{}", n + 1));
        assert_eq!(made[..made.len() - 1], all, "{how}: all of it is kept");
    }
    // A number that no lineage has.
    let far =
        [(LABEL_BASE_NAME, "assistant:base"), (LABEL_BASE_CONFIG, base.as_str()), (LABEL_VERSION, "4000000000")];
    let top = adapter();
    derive(&site, "assistant:base", "assistant:base-v4000000000", &far, |layers| layers.push(top));
    let (said, _) = train(&site, "far", "assistant:base-v4000000000");
    assert!(said.contains("committed assistant:base-v4000000000-v1"), "{said}");
    // The twin: the base's layers and an adapter.
    let top = adapter();
    derive(&site, "assistant:base", "assistant:base-v7", &labels, |layers| layers.push(top));
    let (said, note) = train(&site, "run8", "assistant:base-v7");
    assert!(said.contains("committed assistant:base-v8: ") && note.is_empty(), "{said}{note}");
    assert_eq!(diff_ids(&site, "assistant:base-v8").len(), diff_ids(&site, "assistant:base").len() + 1);
}

/// A layer of these entries.
fn layer_of(site: &Site, entries: &[(&str, tar::EntryType)]) -> Layer {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, kind) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(0);
        header.set_mode(0o755);
        match kind {
            tar::EntryType::Symlink | tar::EntryType::Link => {
                archive.append_link(&mut header, path, "/etc").expect("link");
            }
            _ => archive.append_data(&mut header, path, &b""[..]).expect("entry"),
        }
    }
    let tar = archive.into_inner().expect("tar");
    let digest = site.store().ingest().expect("store").put(&tar).expect("layer");
    Layer::tar(LayerKind::Adapter, digest, tar.len() as u64)
}

#[test]
fn a_layer_with_other_things_by_an_adapter_s_names_is_no_adapter() {
    use tar::EntryType::{Directory, Fifo, Link, Regular, Symlink};
    let site = site();
    let base = config(&site, "assistant:base").to_string();
    let labels = [(LABEL_BASE_NAME, "assistant:base"), (LABEL_BASE_CONFIG, base.as_str()), (LABEL_VERSION, "7")];
    let (dir, file) = ("hone/adapter", "hone/adapter/adapter_config.json");
    let evil: [&[(&str, tar::EntryType)]; 6] = [
        &[(dir, Symlink)],
        &[("hone", Symlink)],
        &[("hone", Directory), (dir, Directory), (file, Link)],
        &[("hone", Directory), (dir, Directory), (file, Fifo)],
        &[(dir, Regular)],
        &[(file, Directory)],
    ];
    for (n, entries) in evil.into_iter().enumerate() {
        let top = layer_of(&site, entries);
        derive(&site, "assistant:base", "assistant:base-v7", &labels, |layers| layers.push(top));
        let (said, _) = train(&site, &format!("run{n}"), "assistant:base-v7");
        assert!(said.contains(&format!("committed assistant:base-v7-v{}: ", n + 1)), "{entries:?}: {said}");
    }
    let top = layer_of(&site, &[("hone", Directory), (dir, Directory), (file, Regular)]);
    derive(&site, "assistant:base", "assistant:base-v7", &labels, |layers| layers.push(top));
    let (said, _) = train(&site, "twin", "assistant:base-v7");
    assert!(said.contains("committed assistant:base-v8: "), "{said}");
}

#[test]
fn a_version_runs_what_its_base_runs() {
    let site = site();
    let base = config(&site, "assistant:base").to_string();
    let labels = [(LABEL_BASE_NAME, "assistant:base"), (LABEL_BASE_CONFIG, base.as_str()), (LABEL_VERSION, "7")];
    type Edit = fn(&mut RuntimeConfig);
    let edits: [Edit; 3] = [
        |config| config.cmd = Some(vec!["/bin/evil".to_owned()]),
        |config| config.env = Some(vec!["LD_PRELOAD=/data/evil.so".to_owned()]),
        |config| drop(config.rest.insert("Volumes".to_owned(), json!({"/hone/adapter": {}}))),
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let top = layer(&site, LayerKind::Adapter, "hone/adapter/adapter_config.json", b"{}");
        derive_other(&site, "assistant:base", "assistant:base-v7", &labels, |config, layers| {
            edit(config);
            layers.push(top);
        });
        let seen = site.json(&["inspect", "--json", "assistant:base-v7"]);
        assert_eq!((&seen["lineage"], &seen["version"]), (&json!("assistant:base-v7"), &json!(null)), "{n}");
        let (said, note) = train(&site, &format!("run{n}"), "assistant:base-v7");
        assert!(said.contains(&format!("committed assistant:base-v7-v{}: ", n + 1)), "{n}: {said}");
        assert!(note.contains("says that it is version 7 of assistant:base"), "{n}: {note}");
    }
}

#[test]
fn what_a_user_put_on_a_version_is_kept() {
    let site = site();
    train(&site, "run1", "assistant:base");
    // `docker build` of `FROM assistant:base-v1` and a `RUN`: every label is handed on.
    let own = layer(&site, LayerKind::Other, "usr/bin/mine", b"mine");
    derive(&site, "assistant:base-v1", "mine:x", &[], |layers| layers.push(own));
    assert!(is_version(site.store().resolve("mine:x").expect("image").image.config().value()));
    let (said, note) = train(&site, "run2", "mine:x");
    assert!(said.contains("committed mine:x-v1") && note.contains("version 1 of assistant:base"), "{said}{note}");
    let made = diff_ids(&site, "mine:x-v1");
    assert_eq!(made.len(), 7, "the base's four, its adapter, the user's, and the new adapter");
    assert_eq!(made[..6], diff_ids(&site, "mine:x"));
    // And of that again: its adapter is replaced, nothing else.
    let (said, note) = train(&site, "run3", "mine:x-v1");
    assert!(said.contains("committed mine:x-v2") && note.is_empty(), "{said}{note}");
    assert_eq!(diff_ids(&site, "mine:x-v2")[..6], diff_ids(&site, "mine:x"));
    assert_eq!(site.json(&["log", "--json", "assistant:base"])["versions"].as_array().expect("versions").len(), 1);
}

#[test]
fn a_version_of_another_store_goes_on_as_the_next_one() {
    let site = of_elsewhere();
    let v1 = site.json(&["inspect", "--json", "assistant:base-v1"]);
    assert_eq!((&v1["lineage"], &v1["version"]), (&json!("assistant:base"), &json!(1)));
    let (said, note) = train(&site, "run1", "assistant:base-v1");
    assert!(said.contains("committed assistant:base-v2: ") && note.is_empty(), "{said}{note}");
    let (base, v2) =
        (site.json(&["inspect", "--json", "assistant:base"]), site.json(&["inspect", "--json", "assistant:base-v2"]));
    assert_eq!(v2["lineage"], "assistant:base");
    assert_eq!(v2["layers"].as_array().expect("layers").len(), 5);
    assert_eq!((&v2["base"]["config"], &v2["base"]["digest"]), (&base["config"], &base["manifest"]));
    assert_eq!(v2["parent"], v1["config"]);
    // By another name of the same image it is a base of its own.
    forget(&site);
    site.ok(&["tag", "assistant:base-v1", "prod:x"]);
    let (said, _) = train(&site, "run2", "prod:x");
    assert!(said.contains("committed prod:x-v1"), "{said}");
}

#[test]
fn a_version_goes_through_an_archive_and_goes_on() {
    let from = site();
    train(&from, "run0", "assistant:base");
    let site = Site::new();
    for (name, file) in [("assistant:base", "base.tar"), ("assistant:base-v1", "v1.tar")] {
        let archive = format!("oci-archive:{}", site.path(file).display());
        from.ok(&["save", name, "-o", &archive]);
        site.ok(&["load", &archive]);
    }
    let (said, note) = train(&site, "run1", "assistant:base-v1");
    assert!(said.contains("committed assistant:base-v2: ") && note.is_empty(), "{said}{note}");
    // Without its base nothing bears it out.
    let alone = Site::new();
    alone.ok(&["load", &format!("oci-archive:{}", site.path("v1.tar").display())]);
    let (said, note) = train(&alone, "run1", "assistant:base-v1");
    assert!(
        said.contains("committed assistant:base-v1-v1: ") && note.contains("version 1 of assistant:base"),
        "{said}"
    );
}

#[test]
fn a_version_of_this_store_is_known_by_any_name() {
    let site = site();
    train(&site, "run1", "assistant:base");
    site.ok(&["tag", "assistant:base-v1", "prod:x"]);
    let (said, note) = train(&site, "run2", "prod:x");
    assert!(said.contains("committed assistant:base-v2") && note.is_empty(), "{said}{note}");
    // A base by two names goes where the caller said.
    site.ok(&["tag", "assistant:base", "another:name"]);
    let (said, _) = train(&site, "run3", "another:name");
    assert!(said.contains("committed another:name-v1"), "{said}");
}

/// A `docker` that answers from files: `image inspect X` from `docker/X`, `container inspect X` from `docker/container`.
struct Docker<'a> {
    site: &'a Site,
}

impl<'a> Docker<'a> {
    fn new(site: &'a mut Site) -> Self {
        let script = format!(
            "#!/bin/sh\ncd {}\nfor last; do :; done\nname=$(printf %s \"$last\" | tr ':/' '--')\n\
             case \"$*\" in\n *'image inspect'*) [ -e down-$name ] && {{ echo 'daemon is down' >&2; exit 1; }}\n\
             cat \"$name\" 2>/dev/null || {{ echo \"No such image: $last\" >&2; exit 1; }} ;;\n\
             *'container inspect'*) cat container 2>/dev/null || {{ echo 'daemon is down' >&2; exit 1; }} ;;\n\
             *'image ls'*) ;;\n *load*) cat > loaded.tar ;;\n *) exit 9 ;;\nesac\n",
            site.path("docker").display()
        );
        let program = site.write("bin/docker", script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("mode");
        fs::create_dir_all(site.path("docker")).expect("directory");
        let path = std::env::var("PATH").unwrap_or_default();
        site.env("PATH", format!("{}:{path}", site.path("bin").display()));
        Self { site }
    }

    /// Gives docker an image of the store under its name and its id.
    fn has(&self, name: &str) -> Digest {
        let image = self.site.store().resolve(name).expect("image").image;
        let (id, config) = (image.config().digest(), image.config().value());
        let described = json!([{
            "Id": id, "Architecture": config.architecture, "Os": config.os, "Config": config.config,
            "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        }]);
        for name in [name, &id.to_string()] {
            self.site.write(&format!("docker/{}", name.replace([':', '/'], "-")), described.to_string());
        }
        id
    }
}

fn engine() -> Engine {
    Engine::Docker { host: "unix:///nowhere".to_owned() }
}

/// Stages a run in docker of `image`, which is then taken out of the store with all others.
fn stage_in_docker(site: &Site, id: &str, image: &str) {
    let dir = site.stage(id, image, exited(0));
    site.write_run(&dir, id, image, engine(), |_| {});
    let mut names = vec!["rm".to_owned()];
    names.extend(site.store().references().expect("names").keys().map(ToString::to_string));
    site.ok(&names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_version_that_only_docker_has_goes_on_when_its_base_is_there() {
    let mut site = of_elsewhere();
    let docker = Docker::new(&mut site);
    let (v1, base) = (docker.has("assistant:base-v1"), docker.has("assistant:base"));
    let site = docker.site;
    stage_in_docker(site, "run1", "assistant:base-v1");
    // While docker cannot be asked, nothing is guessed.
    let down = site.write("docker/down-assistant-base", "");
    let said = site.fails(&["commit", "run1"]);
    assert!(said.starts_with("hone: commit run run1: not committed yet: ask docker for assistant:base: "), "{said}");
    assert!(said.contains("daemon is down"), "{said}");
    assert!(
        site.root().join("staging/run1/out/adapter").is_dir() && site.store().lineages().expect("none").is_empty()
    );
    fs::remove_file(down).expect("up again");
    let said = site.ok(&["commit", "run1"]);
    assert!(said.starts_with("committed assistant:base-v2: "), "{said}");
    let made = &site.store().versions(&"assistant:base".parse().expect("name")).expect("versions")[0];
    assert_eq!((made.number, made.base, made.parent), (2, base, v1));
    let v2 = site.json(&["inspect", "--json", "assistant:base-v2"]);
    assert_eq!(v2["layers"].as_array().expect("layers").len(), 5);
}

#[test]
fn a_version_that_docker_s_base_does_not_bear_out_is_a_base_of_its_own() {
    for how in ["another base", "no base", "another command"] {
        let mut site = of_elsewhere();
        if how == "another command" {
            derive_other(&site, "assistant:base-v1", "assistant:base-v1", &[], |config, _| {
                config.cmd = Some(vec!["/bin/evil".to_owned()]);
            });
        }
        let program = layer(&site, LayerKind::Other, "hone/bin/hone-train", b"evil");
        derive(&site, "assistant:base", "other:base", &[], |layers| layers[0] = program);
        let docker = Docker::new(&mut site);
        docker.has("assistant:base-v1");
        if how == "another command" {
            docker.has("assistant:base");
        }
        if how == "another base" {
            docker.has("other:base");
            fs::rename(docker.site.path("docker/other-base"), docker.site.path("docker/assistant-base"))
                .expect("tag");
        }
        let site = docker.site;
        stage_in_docker(site, "run1", "assistant:base-v1");
        let said = site.ok(&["commit", "run1"]);
        assert!(said.starts_with("committed assistant:base-v1-v1: "), "{how}: {said}");
        let made = site.json(&["inspect", "--json", "assistant:base-v1-v1"]);
        assert_eq!(made["layers"].as_array().expect("layers").len(), 6, "{how}");
    }
}

#[test]
fn an_image_that_docker_did_not_name_is_asked_for_and_never_guessed() {
    let mut site = site();
    // The store has an image of the same job, by another name.
    site.ok(&["tag", "assistant:base", "unrelated:base"]);
    site.ok(&["rm", "assistant:base"]);
    let docker = Docker::new(&mut site);
    let id = docker.has("unrelated:base");
    let site = docker.site;
    let dir = site.stage("run1", "unrelated:base", exited(0));
    let path = dir.join("run.json");
    let mut run: RunRecord = serde_json::from_slice(&fs::read(&path).expect("run")).expect("record");
    run.engine = engine();
    run.image = None;
    fs::write(&path, serde_json::to_vec(&run).expect("JSON")).expect("run");
    // While the keeper lives docker may hold the container's lock: it is not even asked.
    let keeper = fs::File::create(dir.join("keeper.lock")).expect("lock");
    keeper.lock().expect("lock");
    let said = site.fails(&["commit", "run1"]);
    assert_eq!(said, "hone: commit run run1: not committed yet: docker did not say which image ran");
    drop(keeper);
    let said = site.fails(&["commit", "run1"]);
    assert!(said.starts_with("hone: commit run run1: not committed yet: ask docker which image ran"), "{said}");
    assert!(dir.join("out/adapter").is_dir() && !dir.join("outcome.json").exists());
    assert!(site.store().lineages().expect("lineages").is_empty());
    let told: Value = json!([{"Image": id, "Config": {"Image": "registry.example/team/assistant:base"}}]);
    site.write("docker/container", told.to_string());
    let said = site.ok(&["commit", "run1"]);
    assert!(said.starts_with("committed registry.example/team/assistant:base-v1: "), "{said}");
}

#[test]
fn without_an_engine_the_job_must_be_that_of_one_image() {
    let site = site();
    let dir = site.stage("run1", "assistant:base", exited(0));
    let path = dir.join("run.json");
    let mut run: RunRecord = serde_json::from_slice(&fs::read(&path).expect("run")).expect("record");
    run.engine = Engine::None;
    run.image = None;
    fs::write(&path, serde_json::to_vec(&run).expect("JSON")).expect("run");
    site.ok(&["tag", "assistant:base", "copy:base"]);
    let said = site.fails(&["commit", "run1"]);
    assert!(said.ends_with("more than one has its job: assistant:base, copy:base"), "{said}");
    site.ok(&["rm", "copy:base"]);
    fs::remove_file(dir.join("outcome.json")).expect("outcome");
    assert!(site.ok(&["commit", "run1"]).starts_with("committed assistant:base-v1: "));
}

/// Makes `name` of `assistant:base`, with a job that only a later Hone understands.
fn of_tomorrow(site: &Site, name: &str) {
    let image = site.store().resolve("assistant:base").expect("image").image;
    let mut job = serde_json::to_value(site.store().job_of(&image).expect("layer").expect("job")).expect("JSON");
    job["requires"] = json!(["later"]);
    let job = layer(site, LayerKind::Job, "hone/job.json", job.to_string().as_bytes());
    let descriptor = hone_image::oci::Descriptor {
        annotations: image.layer(LayerKind::Job).expect("job").descriptor.annotations.clone(),
        ..job.descriptor.clone()
    };
    let claim = [(LABEL_VERSION, "1"), (LABEL_BASE_NAME, "assistant:base")];
    derive(site, "assistant:base", name, &claim, |layers| {
        let own = layers.iter_mut().find(|layer| layer.kind == LayerKind::Job).expect("job");
        *own = Layer { descriptor, ..job };
    });
}

#[test]
fn an_image_of_a_later_hone_stands_in_no_other_s_way() {
    let site = site();
    of_tomorrow(&site, "assistant:later");
    let why = "it requires \"later\", not known to this program: update hone";
    // Asked by name for what it is.
    let shown = site.ok(&["inspect", "assistant:later"]);
    assert!(shown.contains("not understood: ") && shown.contains(why), "{shown}");
    let view = site.json(&["inspect", "--json", "assistant:later"]);
    assert!(view["job_error"].as_str().is_some_and(|error| error.ends_with(why)), "{view}");
    assert_eq!((&view["model"], &view["lineage"]), (&Value::Null, &json!("assistant:later")));
    assert_eq!(site.json(&["inspect", "--json", "assistant:base"])["job_error"], Value::Null);
    // In the naming of another's version.
    tagged(&site, "assistant:own", "v{n}");
    let (said, told) = train(&site, "run1", "assistant:own");
    assert!(said.contains("committed assistant:v1: "), "{said}");
    assert!(
        told.contains("warning: image assistant:later: its job is not understood") && told.contains(why),
        "{told}"
    );
    // Among the images that may have run.
    let dir = site.stage("run2", "assistant:base", exited(0));
    let path = dir.join("run.json");
    let mut run: RunRecord = serde_json::from_slice(&fs::read(&path).expect("run")).expect("record");
    (run.engine, run.image) = (Engine::None, None);
    fs::write(&path, serde_json::to_vec(&run).expect("JSON")).expect("run");
    let output = site.command(&["commit", "run2"]).output().expect("hone");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("it is not the image that ran: "), "{told}");
    // Whoever asks to run or to commit that one is refused by name.
    assert!(site.command(&["verify", "assistant:later"]).output().is_ok_and(|output| !output.status.success()));
}

#[test]
fn an_image_without_a_name_gets_none_of_its_own_making() {
    let mut site = site();
    let docker = Docker::new(&mut site);
    let id = docker.has("assistant:base");
    let site = docker.site;
    let dir = site.stage("run1", "assistant:base", exited(0));
    site.write_run(&dir, "run1", "assistant:base", engine(), |_| {});
    let path = dir.join("run.json");
    let mut run: RunRecord = serde_json::from_slice(&fs::read(&path).expect("run")).expect("record");
    let staged = |run: &RunRecord| fs::write(&path, serde_json::to_vec(run).expect("JSON")).expect("run");
    run.image.as_mut().expect("image").reference = id.to_string();
    staged(&run);
    site.ok(&["rm", "assistant:base"]);
    let said = site.fails(&["commit", "run1"]);
    assert!(said.starts_with(&format!("hone: commit run run1: not committed yet: image {id} has no name")), "{said}");
    // `docker run NAME@DIGEST` names a repository.
    let digest = Digest::of(b"manifest");
    run.image.as_mut().expect("image").reference = format!("registry.example/assistant@{digest}");
    staged(&run);
    let said = site.ok(&["commit", "run1"]);
    let want = format!("committed registry.example/assistant:sha256-{}-v1: ", &digest.hex()[..12]);
    assert!(said.starts_with(&want), "{said}");
}

/// Stages a run that was started by this word for its image.
fn stage_as(site: &Site, id: &str, image: &str, word: &str) {
    let path = site.stage(id, image, exited(0)).join("run.json");
    let mut run: RunRecord = serde_json::from_slice(&fs::read(&path).expect("run")).expect("record");
    run.image.as_mut().expect("image").reference = word.to_owned();
    fs::write(&path, serde_json::to_vec(&run).expect("JSON")).expect("run");
}

/// Gives an image another manifest with the same configuration, which says this of its source.
fn retell(site: &Site, from: &str, name: &str, source: &str) {
    let store = site.store();
    let image = store.resolve(from).expect("image").image;
    let mut manifest = image.manifest().value().clone();
    manifest.annotations.insert("org.opencontainers.image.source".to_owned(), source.to_owned());
    let image = Image::join(Sealed::new(manifest), image.config().clone()).expect("image");
    store.ingest().expect("store").put_image(&name.parse().expect("name"), &image).expect("put");
}

#[test]
fn an_image_called_by_a_digest_has_its_name() {
    let site = site();
    retell(&site, "assistant:base", "aaa:x", "stranger");
    let image = site.store().resolve("assistant:base").expect("image").image;
    let root = site.store().references().expect("names")[&"assistant:base".parse().expect("name")].digest;
    let mut words = Vec::new();
    for digest in [root, image.digest()] {
        let hex = digest.hex();
        words.extend([digest.to_string(), hex.clone(), hex[..4].to_owned(), hex[..12].to_owned()]);
        words.push(format!("sha256:{}", &hex[..12]));
    }
    for (n, word) in words.iter().enumerate() {
        let id = format!("run{n}");
        stage_as(&site, &id, "assistant:base", word);
        let said = site.ok(&["commit", &id]);
        assert!(said.starts_with(&format!("committed assistant:base-v{}: ", n + 1)), "{word}: {said}");
    }
    // A name of such digits is a name, where it is the image's.
    let digits = &root.hex()[..4];
    site.ok(&["tag", "assistant:base", digits]);
    stage_as(&site, "named", "assistant:base", digits);
    assert!(site.ok(&["commit", "named"]).starts_with(&format!("committed {digits}:latest-v1: ")));
}

#[test]
fn a_version_says_what_the_image_says_that_was_named() {
    let site = site();
    retell(&site, "assistant:base", "aaa:x", "stranger");
    retell(&site, "assistant:base", "zzz:x", "mine");
    let source = |name: &str| {
        let image = site.store().resolve(name).expect("image").image;
        image.manifest().value().annotations.get("org.opencontainers.image.source").cloned()
    };
    let base = source("assistant:base");
    assert_ne!(base.as_deref(), Some("stranger"));
    train(&site, "run1", "assistant:base");
    assert_eq!(source("assistant:base-v1"), base);
    train(&site, "run2", "zzz:x");
    assert_eq!(source("zzz:x-v1").as_deref(), Some("mine"));
    // By the digest of one manifest, whose name is then the version's.
    let digest = site.store().resolve("zzz:x").expect("image").descriptor.digest;
    stage_as(&site, "run3", "zzz:x", &digest.to_string());
    assert!(site.ok(&["commit", "run3"]).starts_with("committed zzz:x-v2: "));
    assert_eq!(source("zzz:x-v2").as_deref(), Some("mine"));
    // A name that is not here any more: those of another are better than none.
    let dir = site.stage("run4", "zzz:x", exited(0));
    site.ok(&["rm", "zzz:x", "assistant:base"]);
    assert!(site.ok(&["commit", &dir.display().to_string()]).starts_with("committed zzz:x-v3: "));
    assert_eq!(source("zzz:x-v3").as_deref(), Some("stranger"));
}

/// Builds an image whose versions are called so.
fn tagged(site: &Site, name: &str, tag: &str) {
    site.write("Honefile", format!("{}adapter:\n  tag: '{tag}'\n", common::LLAMA));
    site.ok(&["build", ".", "-t", name]);
}

#[test]
fn a_job_gives_no_version_the_name_of_another_base_s() {
    let site = site();
    for (n, tag) in ["base-v{n}", "base-v1{n}"].into_iter().enumerate() {
        tagged(&site, "assistant:try", tag);
        let (said, note) = train(&site, &format!("run{n}"), "assistant:try");
        assert!(said.contains(&format!("committed assistant:try-v{}: ", n + 1)), "{tag}: {said}");
        assert!(note.contains(&format!("adapter.tag {tag} makes assistant:base-v")), "{note}");
        assert!(note.contains("a name for versions of assistant:base, which is here, too"), "{note}");
    }
    let (said, note) = train(&site, "first", "assistant:base");
    assert!(said.contains("committed assistant:base-v1: ") && note.is_empty(), "{said}{note}");
    // The same when of the other base only the versions are here.
    site.ok(&["rm", "assistant:base"]);
    let (said, _) = train(&site, "again", "assistant:try");
    assert!(said.contains("committed assistant:try-v3: "), "{said}");
    // Two bases whose jobs say the same: neither gets a name that the other's could have.
    tagged(&site, "app:one", "release-{n}");
    site.write(
        "Honefile",
        common::LLAMA.replace("steps: 20", "steps: 21")
            + "adapter:
  tag: 'release-{n}'
",
    );
    site.ok(&["build", ".", "-t", "app:two"]);
    for name in ["one", "two"] {
        let (said, note) = train(&site, name, &format!("app:{name}"));
        assert!(said.contains(&format!("committed app:{name}-v1: ")), "{said}");
        assert!(note.contains("adapter.tag release-{n} makes app:release-1"), "{note}");
    }
}

#[test]
fn a_job_s_own_words_for_its_versions_are_followed() {
    let site = site();
    tagged(&site, "own:base", "{n}.0");
    for n in 1..=2 {
        let (said, note) = train(&site, &format!("run{n}"), "own:base");
        assert!(said.contains(&format!("committed own:{n}.0: ")) && note.is_empty(), "{said}{note}");
    }
    // Another name of the same image, and an image whose versions have other names, take none away.
    site.ok(&["tag", "own:base", "own:copy"]);
    site.ok(&["tag", "assistant:base", "own:other"]);
    let (said, note) = train(&site, "run3", "own:base");
    assert!(said.contains("committed own:3.0: ") && note.is_empty(), "{said}{note}");
    // From one of its versions, too.
    let (said, note) = train(&site, "run4", "own:1.0");
    assert!(said.contains("committed own:4.0: ") && note.is_empty(), "{said}{note}");
}

#[test]
fn names_that_are_taken_are_passed_over_and_not_without_end() {
    let site = site();
    site.ok(&["tag", "assistant:base", "assistant:base-v1"]);
    site.ok(&["tag", "assistant:base", "assistant:base-v2"]);
    let (said, _) = train(&site, "run1", "assistant:base");
    assert!(said.contains("committed assistant:base-v3"), "{said}");
    // A record of a run whose every version would have one name is no record.
    let dir = site.stage("run2", "assistant:base", exited(0));
    let path = dir.join("run.json");
    let run = fs::read_to_string(&path).expect("run").replace("{tag}-v{n}", "base");
    fs::write(&path, run).expect("run");
    let said = site.fails(&["commit", "run2"]);
    assert!(said.contains("adapter.tag: want `{n}` in it"), "{said}");
}
