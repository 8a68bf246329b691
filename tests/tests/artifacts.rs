//! What is in registries and layouts, ours and other people's: artifacts of others by reference, models in several
//! files, a registry as the place a build goes to, and the ModelPack manifests that Hone writes.

mod models;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hone_contract::Digest;
use hone_tests::{Docker28, Images, Tiny, World, jsonl, needs, needs_docker28, podman, rootfs, stub};
use serde_json::{Map, Value, json};

use models::{HEAD, built, docker_s, files, gguf, kit, ollama_s, registry};

/// Puts a layout's only manifest and its blobs into a registry as they are, and prints the manifest's digest: skopeo
/// takes no type of Ollama's, and Hone is not asked to send what it then reads.
const PUT: &str = r#"
import json, sys, urllib.request as url
name, at = sys.argv[1], "http://127.0.0.1:5000/v2/others/" + sys.argv[1]
def ask(method, where, data=b"", kind="application/octet-stream"):
    return url.urlopen(url.Request(where, data, {"Content-Type": kind}, method=method)).headers
def blob(descriptor):
    return open(f"{name}/blobs/" + descriptor["digest"].replace(":", "/"), "rb").read()
root = json.load(open(name + "/index.json"))["manifests"][0]
manifest = json.loads(blob(root))
for part in [manifest["config"]] + manifest["layers"]:
    to = ask("POST", at + "/blobs/uploads/")["Location"]
    ask("PUT", to + ("&" if "?" in to else "?") + "digest=" + part["digest"], blob(part))
print(ask("PUT", at + "/manifests/1", blob(root), root["mediaType"])["Docker-Content-Digest"])
"#;

#[test]
fn root_artifacts_of_others_are_models_in_registries_too() {
    if !needs(&["docker-registry", "python3"]) {
        return;
    }
    let world = registry();
    fs::write(world.dir().join("put.py"), PUT).expect("write");
    kit(&world);
    docker_s(&world);
    ollama_s(&world);
    let gguf = BTreeMap::from([("model.gguf".to_owned(), Digest::of(&gguf()))]);
    let licensed = [gguf.clone(), BTreeMap::from([("LICENSE".to_owned(), Digest::of(b"MIT"))])].into_iter().flatten();
    for (name, want) in [("kit", files(&world, "path")), ("dmr", licensed.collect()), ("ollama", gguf)] {
        let digest = world.sh(&format!("python3 put.py {name}")).ok();
        for base in [
            format!("oci:{name}"),
            format!("oci://127.0.0.1:5000/others/{name}:1"),
            format!("oci://127.0.0.1:5000/others/{name}@{digest}"),
        ] {
            assert_eq!(built(&world, &format!("{{model: '{base}'}}"), "other"), want, "{base}");
        }
    }
}

/// Writes some tensors of a safetensors file as a file of their own; gives their names and their bytes' length.
fn shard(from: &[u8], to: &Path, take: impl Fn(usize) -> bool) -> (Vec<String>, usize) {
    let start = 8 + u64::from_le_bytes(from[..8].try_into().expect("eight bytes")) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&from[8..start]).expect("a header");
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__").enumerate();
    let (mut own, mut data) = (Map::new(), Vec::new());
    for (_, (name, mut tensor)) in tensors.filter(|(n, _)| take(*n)) {
        let offset = |n: usize| start + tensor["data_offsets"][n].as_u64().expect("an offset") as usize;
        let bytes = &from[offset(0)..offset(1)];
        tensor["data_offsets"] = json!([data.len(), data.len() + bytes.len()]);
        data.extend_from_slice(bytes);
        own.insert(name, tensor);
    }
    let names = own.keys().cloned().collect();
    own.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut header = Value::from(own).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    fs::write(to, bytes).expect("write shard");
    (names, data.len())
}

/// Makes the only weight file of a Hugging Face directory two, with an index.
fn split(model: &Path) {
    let whole = model.join("model.safetensors");
    let bytes = fs::read(&whole).expect("read weights");
    fs::remove_file(whole).expect("remove weights");
    let (mut map, mut total) = (Map::new(), 0);
    for n in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", n + 1);
        let (names, size) = shard(&bytes, &model.join(&name), |tensor| tensor % 2 == n);
        assert!(names.len() > 5, "each has a part of the model");
        map.extend(names.into_iter().map(|tensor| (tensor, json!(name))));
        total += size;
    }
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    fs::write(model.join("model.safetensors.index.json"), index.to_string()).expect("write index");
}

#[test]
fn root_a_model_in_two_files_is_two_layers_and_trains() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    for name in ["one", "two"] {
        Tiny { steps: 2, ..Tiny::default() }.write(&world.folder(name), "");
    }
    split(&world.dir().join("two/model"));
    jsonl(&world.folder("data").join("a.jsonl"), &[("hello", "ahoy"), ("where?", "at sea")]);
    let losses = |name: &str| {
        world.sh(&format!("hone build -q -t {name}:base {name} && hone verify {name}:base")).says("ok (").ok();
        let ran = world.sh(&format!("hone run --rm -v ./data:/data {name}:base"));
        ran.says(&format!("committed {name}:base-v1")).ok();
        let text = ran.text();
        let losses: Vec<_> = text.split("  ").filter(|part| part.starts_with("loss ")).map(str::to_owned).collect();
        assert_eq!(losses.len(), 2, "{ran}");
        losses
    };
    // How many files hold the weights changes nothing of what is learned.
    assert_eq!(losses("two"), losses("one"));
    let layers = |name: &str| {
        let view = world.sh(&format!("hone inspect --json {name}:base")).json();
        view["layers"].as_array().expect("layers").iter().filter(|l| l["kind"] == "weight").count()
    };
    assert_eq!((layers("one"), layers("two")), (1, 2));
    world.sh("hone verify two:base-v1 && hone run --rm two:base-v1 generate --prompt hello --max-tokens 4").ok();
}

#[test]
fn root_a_registry_is_a_place_to_build_and_to_save_to() {
    if !needs(&["docker-registry", "skopeo"]) {
        return;
    }
    let world = registry();
    fs::write(world.dir().join("H"), format!("{HEAD}base: {{model: model}}\n")).expect("write");
    let built = "hone --root root build -q H -t tiny:built -o docker://127.0.0.1:5000/a:1";
    let digest = world.sh(built).ok();
    world.sh("hone --root root save tiny:built -o docker://127.0.0.1:5000/deep/b:2").ok();
    for name in ["127.0.0.1:5000/a:1", "127.0.0.1:5000/deep/b:2"] {
        let raw = world.sh(&format!("skopeo inspect --raw --tls-verify=false docker://{name}"));
        assert_eq!(Digest::of(raw.stdout.as_bytes()).to_string(), digest, "{raw}");
        let model = world.sh(&format!("skopeo inspect --raw --tls-verify=false docker://{name}-modelpack")).json();
        assert_eq!(model["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
        world.sh(&format!("rm -rf root2; hone --root root2 pull {name} && hone --root root2 verify {name}")).ok();
        let view = world.sh(&format!("hone --root root2 inspect --json {name}")).json();
        assert_eq!(view["digest"], json!(digest), "{name}");
    }
}

/// The manifest and the configuration under a tag of a layout.
fn documents(layout: &Path, tag: &str) -> (Value, Value) {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("read")).expect("parse") };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_else(|| panic!("no digest in {descriptor}"));
        read(&layout.join("blobs").join(digest.replace(':', "/")))
    };
    let index = read(&layout.join("index.json"));
    let named = |d: &&Value| d["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let manifests = index["manifests"].as_array().expect("manifests");
    let manifest = blob(manifests.iter().find(named).unwrap_or_else(|| panic!("no {tag} in {index}")));
    let config = blob(&manifest["config"]);
    (manifest, config)
}

/// An object's keys.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

/// The decisive rules of model-spec (schema/config-schema.json, specs-go/v1); all of them are tried in builder/image.
fn obeys(layout: &Path, tag: &str) -> Vec<Value> {
    let (manifest, config) = documents(layout, tag);
    for (place, want) in [
        ("/mediaType", "application/vnd.oci.image.manifest.v1+json"),
        ("/artifactType", "application/vnd.cncf.model.manifest.v1+json"),
        ("/config/mediaType", "application/vnd.cncf.model.config.v1+json"),
    ] {
        assert_eq!(manifest.pointer(place), Some(&json!(want)), "{tag}: {place}");
    }
    assert_eq!(keys(&config), ["config", "descriptor", "modelfs"], "{tag}");
    let texts = "createdAt family name docURL sourceURL version revision vendor title description";
    let known = |value: &Value, known: &str| {
        let all: Vec<_> = known.split(' ').collect();
        assert!(keys(value).iter().all(|key| all.contains(key)), "{tag}: {value}");
    };
    known(&config["descriptor"], &format!("{texts} authors datasetsURL licenses"));
    known(&config["config"], "architecture format paramSize precision quantization transformerConfig capabilities");
    assert_eq!(keys(&config["modelfs"]), ["diffIds", "type"], "{tag}");
    assert_eq!(config["modelfs"]["type"], "layers", "{tag}");
    let layers = manifest["layers"].as_array().expect("layers").clone();
    let types = ["application/vnd.cncf.model.weight.v1.tar", "application/vnd.cncf.model.weight.config.v1.tar"];
    for layer in &layers {
        assert!(types.contains(&layer["mediaType"].as_str().expect("a type")), "{tag}: {layer}");
        assert!(layer["annotations"]["org.cncf.model.filepath"].is_string(), "{tag}: {layer}");
    }
    let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
    assert_eq!(config["modelfs"]["diffIds"], Value::from(digests), "{tag}: bare tars, a diff id a layer");
    layers
}

#[test]
fn root_what_is_written_as_model_pack_obeys_its_schema() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    stub::stub(&world.folder("stub"));
    stub::mode(&world.folder("data"), "good");
    world.sh("hone --root root build -q -t stub:base -o oci:built stub").ok();
    world.sh("hone --root root run --rm -v ./data:/data stub:base").says("committed stub:base-v1").ok();
    world.sh("hone --root root save stub:base-v1 -o oci:saved").ok();
    let base = obeys(&world.dir().join("built"), "stub:base-modelpack");
    let version = obeys(&world.dir().join("saved"), "stub:base-v1-modelpack");
    assert_eq!(version[..base.len()], base[..], "a version is its base");
    assert_eq!(version.len(), base.len() + 1, "and the adapter");
    let image = world.sh("hone --root root inspect --json stub:base-v1").json()["layers"].clone();
    let adapter = image.as_array().and_then(|layers| layers.last()).expect("a layer");
    assert_eq!((&adapter["kind"], &adapter["digest"]), (&json!("adapter"), &version[base.len()]["digest"]));
}

#[test]
fn root_podman_s_images_are_read_as_they_were_built() {
    if !needs(&["podman"]) {
        return;
    }
    let world = podman();
    Tiny::default().write(world.dir(), "");
    rootfs::busybox(&world.folder("bbroot"));
    let trainer = "trainer: {rootfs: bbroot, command: [sh, -c, 'ls /models/tiny']}";
    let honefile = format!("apiVersion: hone.dev/v1\nname: tiny\nbase: {{model: model}}\n{trainer}\n");
    fs::write(world.dir().join("H"), honefile).expect("write");
    world.sh("hone --root root build -q H -t tiny:base --load podman").ok();
    world.sh("podman run --rm --network none tiny:base").says("model.safetensors").ok();
    let config = |root: &str, name: &str| {
        world.sh(&format!("hone --root {root} inspect --json {name}")).json()["config"].clone()
    };
    let built = config("root", "tiny:base");
    assert_eq!(format!("sha256:{}", world.sh("podman image inspect --format '{{.Id}}' tiny:base").ok()), built);
    let loaded = world.sh("hone --root root2 load podman:tiny:base").ok();
    let (name, digest) = loaded.split_once(' ').expect("a name and a digest");
    assert_eq!((config("root2", name), config("root2", digest)), (built.clone(), built.clone()));
    world.sh("hone --root root2 load podman:tiny:base -t other:1").ok();
    world.sh("hone --root root2 verify other:1").ok();
    assert_eq!(config("root2", "other:1"), built);
    world.sh("hone --root root2 run --rm other:1").says("model.safetensors").ok();
}

/// A docker 28 beside a tiny model with the built-in trainer and two examples.
fn docker28(images: Images) -> Docker28 {
    let docker = Docker28::new(images);
    Tiny { steps: 2, ..Tiny::default() }.write(&docker.world.folder("tiny"), "");
    jsonl(&docker.world.folder("data").join("a.jsonl"), &[("hello", "ahoy"), ("where?", "at sea")]);
    docker
}

#[test]
fn root_docker_28_loads_and_runs_an_oci_archive() {
    if !needs_docker28() {
        return;
    }
    for images in [Images::InGraph, Images::InContainerd] {
        let docker = docker28(images);
        let build = "HONE_ROOT=$PWD/hone hone build -q -t assistant:base -o oci-archive:a.tar tiny";
        let digest = docker.world.sh(build).ok();
        let view = docker.world.sh("HONE_ROOT=$PWD/hone hone inspect --json assistant:base").json();
        assert_eq!(view["layers"][0]["media_type"], "application/vnd.oci.image.layer.v1.tar+zstd");
        docker.run("docker load -i a.tar").says("Loaded image: assistant:base").ok();
        // One calls an image by its configuration, the other by what the name stands for.
        let want = if images == Images::InGraph { view["config"].clone() } else { json!(digest) };
        let found = docker.run("docker image inspect assistant:base").json();
        assert_eq!(found[0]["Id"], want, "{images:?}");
        assert_eq!(found[0]["RootFS"]["Layers"], diff_ids(&view), "{images:?}");
        docker.run("docker run --rm --network none assistant:base --help").says("Usage: hone-train <COMMAND>").ok();
    }
}

/// Of an image as `hone inspect` shows it.
fn diff_ids(view: &Value) -> Value {
    view["layers"].as_array().expect("layers").iter().map(|layer| layer["diff_id"].clone()).collect()
}

#[test]
fn root_docker_28_trains_what_was_loaded() {
    if !needs_docker28() {
        return;
    }
    for images in [Images::InGraph, Images::InContainerd] {
        let docker = docker28(images);
        let hone = |words: &str| docker.world.sh(&format!("HONE_ROOT=$PWD/hone hone {words}"));
        hone("build -q -t assistant:base --load docker=unix://$PWD/docker.sock tiny").ok();
        docker.run("docker run --rm --network none assistant:base --help").says("Usage: hone-train <COMMAND>").ok();
        let data = docker.world.dir().join("data");
        let run = format!("docker run --rm --network none --runtime hone -v {}:/data", data.display());
        docker.run(&format!("{run} assistant:base")).says("step 2/2").ok();
        // And from the version the next, which has one adapter, too.
        docker.run(&format!("{run} assistant:base-v1")).says("step 2/2").ok();
        let view = |image: &str| hone(&format!("inspect --json {image}")).json();
        let ids = |image: &str| {
            let found = docker.run(&format!("docker image inspect {image}")).json();
            let ids = found[0]["RootFS"]["Layers"].clone();
            assert_eq!(ids, diff_ids(&view(image)), "{image}, {images:?}");
            ids.as_array().expect("layers").clone()
        };
        let base = ids("assistant:base");
        for version in ["assistant:base-v1", "assistant:base-v2"] {
            let ids = ids(version);
            let (_, below) = ids.split_last().expect("layers");
            assert_eq!(below, base, "exactly one layer more: {version}, {images:?}");
            docker.run(&format!("{run} {version} generate --prompt hello --max-tokens 4")).ok();
        }
        assert_ne!(ids("assistant:base-v1"), ids("assistant:base-v2"), "{images:?}");
        let log = hone("log assistant:base");
        assert!(log.ok().contains("candidate") && !log.stdout.contains("stale"), "{images:?}: {log}");
        hone("verify assistant:base-v1 && HONE_ROOT=$PWD/hone hone verify assistant:base-v2").ok();
    }
}
