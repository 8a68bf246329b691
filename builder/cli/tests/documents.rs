//! Layouts and indexes as other tools write them, and as somebody who means harm does.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Site;
use hone_contract::Digest;
use hone_image::image::BaseImage;
use hone_image::oci::{Descriptor, ImageConfig, Index, Manifest, Platform, RuntimeConfig, Sealed};
use hone_image::tar::Entry;
use hone_image::{Image, Layer, LayerKind, Pack, media};
use hone_store::{Budget, Store};
use serde_json::json;

/// Runs and waits for the end, which must come; whether it succeeded, and what it said.
fn ends(site: &Site, args: &[&str]) -> (bool, String) {
    let mut child = site.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("start hone");
    let begun = Instant::now();
    while child.try_wait().expect("wait").is_none() {
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().expect("kill");
            panic!("hone {args:?} waits for somebody");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("output");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn make_fifo(path: &Path) {
    fs::remove_file(path).expect("remove");
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o644)).expect("fifo");
}

/// The blob of a layout that its index, or its manifest, names first.
fn first(layout: &Path, document: &Path, field: &str) -> std::path::PathBuf {
    let text = fs::read(document).expect("read");
    let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let digest = value[field][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    layout.join("blobs/sha256").join(digest)
}

#[test]
fn a_fifo_in_a_layout_or_a_model_keeps_nobody_waiting() {
    let mut site = Site::new();
    site.llama_image();
    for what in ["index.json", "root", "manifest", "layer"] {
        let _ = fs::remove_dir_all(site.path("layout"));
        site.ok(&["save", "assistant:base", "-o", "oci:layout"]);
        assert!(ends(&site, &["load", "oci:layout:base", "-t", "twin:base"]).0, "the twin");
        let layout = site.path("layout");
        let root = first(&layout, &layout.join("index.json"), "manifests");
        let manifest = first(&layout, &root, "manifests");
        let layer = first(&layout, &manifest, "layers");
        let place = match what {
            "index.json" => layout.join("index.json"),
            "root" => root,
            "manifest" => manifest,
            _ => layer,
        };
        make_fifo(&place);
        let other = ["--root", "elsewhere", "load", "oci:layout:base"];
        let (done, said) = ends(&site, &other);
        // A manifest of an index may be elsewhere; what is left of this index is no image.
        let shown = place.file_name().expect("a name").to_string_lossy();
        let want = if what == "manifest" { "an index without images" } else { &*shown };
        assert!(!done && said.contains(want), "{what}: {said}");
        // Nobody holds the lock any more, either.
        assert!(ends(&site, &["--root", "elsewhere", "images"]).0);
    }
    make_fifo(&site.path("model/config.json"));
    assert!(!ends(&site, &["build", ".", "-t", "other:base"]).0);
    make_fifo(&site.path("Honefile"));
    let (done, said) = ends(&site, &["build", ".", "-t", "other:base"]);
    assert!(!done && said.contains("a FIFO"), "{said}");
}

/// Names indexes over the image of `assistant:base` and entries that others write; what the image runs on.
fn name_indexes(site: &Site) -> String {
    let store = site.store();
    let ingest = store.ingest().expect("ingest");
    let image = store.resolve("assistant:base").expect("built").image;
    let put = |bytes: &[u8], media_type: &str| {
        Descriptor::of(media_type, ingest.put(bytes).expect("put"), bytes.len() as u64)
    };
    // BuildKit's, by its configuration an image.
    let config = json!({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = put(config.to_string().as_bytes(), media::CONFIG);
    let statement = put(b"{}", "application/vnd.in-toto+json");
    let manifest = Sealed::new(Manifest::new(config, vec![statement], BTreeMap::new()));
    let on = |platform, entry: Descriptor| Descriptor { platform: Some(platform), ..entry };
    let here = on(Platform::nobody(), put(manifest.bytes(), media::MANIFEST));
    let absent = |of: &str| Descriptor::of(media::MANIFEST, Digest::of(of.as_bytes()), 7);
    let windows = Platform { os: "windows".to_owned(), ..Platform::linux("amd64", None) };
    let windows = on(windows, absent("windows"));
    let riscv = on(Platform::linux("riscv64", None), absent("riscv64"));
    for (name, manifests) in [
        ("both:here", vec![windows.clone(), here, image.descriptor()]),
        ("both:absent", vec![windows, on(Platform::nobody(), absent("statement")), image.descriptor()]),
        ("one:absent", vec![riscv, image.descriptor()]),
    ] {
        let index = put(Sealed::new(Index::new(manifests)).bytes(), media::INDEX);
        store.tag(&index, &name.parse().expect("a name")).expect("tag");
    }
    image.platform().to_string()
}

#[test]
fn an_index_with_statements_and_other_systems_is_sound() {
    let mut site = Site::new();
    site.llama_image();
    let platform = name_indexes(&site);
    for reference in ["both:here", "both:absent"] {
        assert!(site.ok(&["verify", reference]).contains(": ok ("), "{reference}");
        let platforms = site.json(&["inspect", "--json", reference])["platforms"].clone();
        assert_eq!(platforms, json!([platform]), "{reference}");
    }
    // An image for Linux that is not here is still said.
    let output = site.command(&["verify", "one:absent"]).output().expect("start hone");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("linux/riscv64"), "{said}");
}

/// Entries of a tar without an end: kind, name, content, each as it is written.
fn entries(all: &[(u8, &str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, content) in all {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes
}

/// Names `name` the image of `assistant:base` with more in its job's layer, and with layers above it; what verifying says.
fn verified(site: &Site, name: &str, in_job: &[u8], above: &[Vec<u8>]) -> (bool, String) {
    let store = site.store();
    let ingest = store.ingest().expect("ingest");
    let image = store.resolve("assistant:base").expect("built").image;
    let (mut layers, mut ids) = (Vec::new(), Vec::new());
    let mut put = |kind: LayerKind, tar: &[u8]| {
        let layer = Layer::tar(kind, ingest.put(tar).expect("put"), tar.len() as u64);
        layers.push(layer.descriptor);
        ids.push(layer.diff_id);
    };
    for layer in image.layers() {
        let mut tar = Vec::new();
        store.open_layer(layer, &Budget::of_layer(layer)).expect("open").read_to_end(&mut tar).expect("read");
        if layer.kind == LayerKind::Job {
            tar = [in_job, &tar].concat();
        }
        put(layer.kind, &tar);
    }
    above.iter().for_each(|tar| put(LayerKind::Other, tar));
    let mut config: serde_json::Value = serde_json::from_slice(image.config().bytes()).expect("JSON");
    config["rootfs"]["diff_ids"] = json!(ids);
    config.as_object_mut().expect("an object").remove("history");
    let config = Sealed::new(config);
    let manifest = Sealed::new(Manifest {
        layers,
        config: config.descriptor(media::CONFIG),
        ..image.manifest().value().clone()
    });
    for bytes in [config.bytes(), manifest.bytes()] {
        ingest.put(bytes).expect("put");
    }
    store.tag(&manifest.descriptor(media::MANIFEST), &name.parse().expect("a name")).expect("tag");
    let output = site.command(&["verify", name]).output().expect("start hone");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_job_that_a_container_would_see_otherwise_is_wrong() {
    let mut site = Site::new();
    site.llama_image();
    let other: &[u8] = br#"{"contract":1,"name":"other","adapter":{"commit":false,"tag":"v{n}","max_bytes":1}}"#;
    let harmless = entries(&[(b'5', "hone/", b""), (b'0', "hone/other.json", other), (b'0', "etc/.wh.hone", b"")]);
    // The weight's annotations are not carried over by the rebuilding above: that is said, and nothing of the job.
    let (_, said) = verified(&site, "fine:1", &entries(&[(b'5', "./hone/data/", b"")]), &[harmless]);
    assert!(!said.contains("/hone/job.json"), "{said}");
    for name in ["hone/job.json", "hone//job.json", "/hone/job.json", "./hone/./job.json"] {
        let more = entries(&[(b'0', name, other)]);
        let (fine, said) = verified(&site, "twice:1", &more, &[]);
        assert!(!fine && said.contains("/hone/job.json: want it once in the job layer"), "{name}: {said}");
        let (fine, said) = verified(&site, "above:1", b"", &[more]);
        assert!(!fine && said.contains("hides or replaces /hone/job.json of the job layer"), "{name}: {said}");
    }
    let (fine, said) = verified(&site, "dots:1", &entries(&[(b'0', "hone/x/../job.json", other)]), &[]);
    assert!(!fine && said.contains("want a path without"), "{said}");
    for name in ["hone/.wh.job.json", "hone/.wh..wh..opq", ".wh.hone", ".wh..wh..opq"] {
        let (fine, said) = verified(&site, "hidden:1", b"", &[entries(&[(b'0', name, b"")])]);
        assert!(!fine && said.contains("hides or replaces /hone/job.json of the job layer"), "{name}: {said}");
    }
}

/// A trainer's layout whose index has an image for each of these, lowest level first; the image is told by its layer.
fn trainers(site: &Site, platforms: &[Platform]) -> BTreeMap<String, Digest> {
    let layout = Store::at(site.path("arms"));
    let ingest = layout.ingest().expect("ingest");
    let (mut images, mut layers) = (Vec::new(), BTreeMap::new());
    for platform in platforms {
        let mut writer = ingest.tar_layer(LayerKind::Trainer).expect("layer");
        writer.tar().file(&format!("{platform}").replace('/', "-"), true, 0, &mut &b""[..]).expect("file");
        let layer = writer.finish().expect("layer");
        layers.insert(platform.to_string(), layer.diff_id);
        let image = Image::base(BaseImage {
            name: "arms".to_owned(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            config: RuntimeConfig { cmd: Some(vec!["/t".to_owned()]), ..RuntimeConfig::default() },
            layers: vec![layer],
            annotations: BTreeMap::new(),
        });
        let config = Sealed::new(ImageConfig { os: platform.os.clone(), ..image.config().value().clone() });
        let layers = image.manifest().value().layers.clone();
        let manifest = Manifest::new(config.descriptor(media::CONFIG), layers, BTreeMap::new());
        images.push(Image::join(Sealed::new(manifest), config).expect("an image"));
    }
    ingest.put_pack(&"arms:latest".parse().expect("a name"), &Pack::new(images, Vec::new())).expect("put");
    layers
}

#[test]
fn a_build_takes_the_best_trainer_for_each_platform() {
    let site = Site::new();
    let arm = |variant| Platform::linux("arm", Some(variant));
    let windows = Platform { os: "windows".to_owned(), ..arm("v7") };
    let layers = trainers(&site, &[windows, arm("v5"), arm("v6"), arm("v7")]);
    for (asked, want) in [("v7", "v7"), ("v6", "v6"), ("v5", "v5"), ("v8", "v7")] {
        let honefile = "apiVersion: hone.dev/v1\nname: tiny\ntrainer: {layout: arms}\n";
        site.write("Honefile", format!("{honefile}platforms: [linux/arm/{asked}]\n"));
        site.ok(&["build", ".", "-t", "tiny:base"]);
        let image = site.store().resolve("tiny:base").expect("built").image;
        assert_eq!(image.layers()[0].diff_id, layers[&format!("linux/arm/{want}")], "{asked}");
    }
    site.write(
        "Honefile",
        "apiVersion: hone.dev/v1\nname: tiny\ntrainer: {layout: arms}\nplatforms: [linux/arm64]\n",
    );
    let said = site.fails(&["build", ".", "-t", "tiny:base"]);
    assert!(said.contains("there is none for linux/arm64; it has windows/arm/v7, linux/arm/v5"), "{said}");
}

#[test]
fn what_is_not_known_of_a_job_is_named_where_the_image_is_looked_at() {
    let mut site = Site::new();
    site.llama_image();
    assert_eq!(ends(&site, &["inspect", "assistant:base"]), (true, String::new()));
    let store = site.store();
    let image = store.resolve("assistant:base").expect("built").image;
    let job = store.job_of(&image).expect("a job's layer").expect("a job").to_bytes();
    let job = String::from_utf8(job).expect("text").replacen('{', "{\"later\": [1],", 1);
    let ingest = store.ingest().expect("ingest");
    let mut layer = ingest.tar_layer(LayerKind::Job).expect("layer");
    layer.tar().add("hone", Entry::Dir).expect("entry");
    layer.tar().file("hone/job.json", false, job.len() as u64, &mut job.as_bytes()).expect("entry");
    let layer = layer.finish().expect("layer");
    let ours = |old: &Layer| if old.kind == LayerKind::Job { layer.clone() } else { old.clone() };
    let config = image.config().value();
    let later = Image::base(BaseImage {
        name: "later".to_owned(),
        architecture: config.architecture.clone(),
        variant: None,
        config: config.config.clone(),
        layers: image.layers().iter().map(ours).collect(),
        annotations: BTreeMap::new(),
    });
    ingest.put_image(&"later:base".parse().expect("name"), &later).expect("put");
    drop(ingest);
    let (done, said) = ends(&site, &["inspect", "later:base"]);
    assert!(done && said.starts_with("note: /hone/job.json has \"later\", not known to this program"), "{said}");
}
