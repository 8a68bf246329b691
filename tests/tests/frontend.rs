//! A Honefile from `docker build`: the same files, job and configuration as from `hone build`, kept by BuildKit's cache,
//! the same bytes from build to build, and trained by docker 28.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use hone_contract::Digest;
use hone_tests::{Docker28, Images, Tiny, jsonl, needs_docker28, stub};
use serde_json::Value;

/// A model hub that some of the worlds have.
const HUB: &str = "http://127.0.0.1:8000";

/// An image as `docker save` writes it, its layers put together.
struct Saved {
    config: Value,
    layers: usize,
    files: BTreeMap<String, Entry>,
}

/// Everything that a tar says of an entry.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    link: String,
    size: u64,
    digest: Digest,
}

fn saved(docker: &Docker28, image: &str) -> Saved {
    let dir = docker.world.folder(&format!("saved-{}", image.replace(':', "-")));
    let dir = dir.as_path();
    docker.run(&format!("docker save -o {}/image.tar {image}", dir.display())).ok();
    docker.world.sh(&format!("tar -C {0} -xf {0}/image.tar", dir.display())).ok();
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.join(name)).expect("read JSON")).expect("parse JSON")
    };
    let manifest = json("manifest.json")[0].clone();
    let layers = manifest["Layers"].as_array().expect("layers");
    let mut files = BTreeMap::new();
    for layer in layers {
        entries(&dir.join(layer.as_str().expect("a name")), &mut files);
    }
    Saved { config: json(manifest["Config"].as_str().expect("a name")), layers: layers.len(), files }
}

fn entries(layer: &Path, files: &mut BTreeMap<String, Entry>) {
    let mut archive = tar::Archive::new(File::open(layer).expect("open layer"));
    for entry in archive.entries().expect("read layer") {
        let mut entry = entry.expect("read entry");
        let path = entry.path().expect("a path").display().to_string();
        let link = entry.link_name().expect("a link").map(|link| link.display().to_string()).unwrap_or_default();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("read entry");
        let header = entry.header();
        let number = |number: std::io::Result<u64>| number.expect("a number");
        let found = Entry {
            kind: header.entry_type(),
            mode: header.mode().expect("a mode"),
            owner: (number(header.uid()), number(header.gid())),
            mtime: number(header.mtime()),
            link,
            size: bytes.len() as u64,
            digest: Digest::of(&bytes),
        };
        files.insert(path.trim_end_matches('/').to_owned(), found);
    }
}

/// Puts the syntax line into `DIR/Honefile`, builds it both ways and compares; gives the image's layers.
fn same_both_ways(docker: &Docker28, dir: &str, more: &str) -> usize {
    let honefile = docker.world.dir().join(dir).join("Honefile");
    let text = fs::read_to_string(&honefile).expect("read Honefile");
    fs::write(&honefile, Docker28::syntax() + &text).expect("write Honefile");
    docker.build("build", &format!("{more} -f {dir}/Honefile -t {dir}:base {dir}")).ok();
    let load = format!(
        "HF_ENDPOINT={HUB} HONE_ROOT=$PWD/hone hone build -q -t {dir}:hone --load docker=unix://$PWD/docker.sock {dir}"
    );
    docker.world.sh(&load).ok();
    let (ours, theirs) = (saved(docker, &format!("{dir}:hone")), saved(docker, &format!("{dir}:base")));
    let names = |saved: &Saved| saved.files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&theirs), names(&ours), "{dir}");
    for (path, entry) in &ours.files {
        assert_eq!(theirs.files[path], *entry, "{dir}: {path}");
    }
    assert!(theirs.files.contains_key("hone/job.json"));
    let config = |saved: &Saved| {
        let mut config = saved.config.clone();
        config.as_object_mut().expect("an object").remove("rootfs");
        config
    };
    assert_eq!(config(&theirs), config(&ours), "{dir}");
    again_our_own(docker, dir);
    theirs.layers
}

/// Makes Hone's own layers of `DIR:base`: those that `hone build` made of the same inputs.
fn again_our_own(docker: &Docker28, dir: &str) {
    let hone = |words: &str| docker.world.sh(&format!("HONE_ROOT=$PWD/hone hone {words}"));
    let from = docker.world.folder(&format!("from-{dir}")).join("image.tar").display().to_string();
    docker.run(&format!("docker save -o {from} {dir}:base")).ok();
    hone(&format!("build -q --from-image docker-archive:{from} -t {dir}:again")).ok();
    let blobs = |name: &str| {
        let found = hone(&format!("inspect --json {name}")).json();
        // The trainer's layer came out of docker without its compression; the configuration has its diff id.
        let ours = |layer: &&Value| layer["kind"] != "trainer";
        let layers = found["layers"].as_array().expect("layers").iter().filter(ours);
        (found["config"].clone(), layers.map(|layer| layer["digest"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(blobs(&format!("{dir}:again")), blobs(&format!("{dir}:hone")), "{dir}");
}

/// A Honefile whose model's files are links, as in Hugging Face's cache, and whose tokenizer lies elsewhere.
fn linked(dir: &Path) {
    Tiny::default().write(dir, "");
    fs::rename(dir.join("model"), dir.join("blobs")).expect("rename");
    fs::create_dir_all(dir.join("snapshots/main/more")).expect("make directory");
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        symlink(format!("../../blobs/{name}"), dir.join("snapshots/main").join(name)).expect("link");
    }
    fs::write(dir.join("snapshots/main/more/README.md"), "more").expect("write");
    fs::write(dir.join("snapshots/main/.hidden"), "hidden").expect("write");
    let text = fs::read_to_string(dir.join("Honefile")).expect("read Honefile");
    // A tokenizer by itself has no chat template.
    let text = text.replace("format: chat", "format: text");
    let text = text.replace("model: model", "model: ./snapshots/main/\n  tokenizer: blobs/tokenizer.json");
    fs::write(dir.join("Honefile"), text).expect("write Honefile");
}

#[test]
fn root_docker_build_gives_what_hone_build_gives() {
    if !needs_docker28() {
        return;
    }
    let docker = Docker28::new(Images::InGraph);
    Tiny::default().write(&docker.world.folder("tiny"), "resources: { memory: 1G }\n");
    linked(&docker.world.folder("linked"));
    stub::stub(&docker.world.folder("stub"));
    // Trainer, weight, small files, job; and a tokenizer.
    assert_eq!(same_both_ways(&docker, "tiny", ""), 4);
    let another = "--build-arg HONE_TRAINER_IMAGE=127.0.0.1:5000/hone/trainer-onnx:1";
    assert_eq!(same_both_ways(&docker, "linked", another), 5);
    assert_eq!(same_both_ways(&docker, "stub", ""), 4);
    let carried = docker.world.folder("carried");
    fs::copy(docker.world.dir().join("tiny/model/model.safetensors"), carried.join("w.safetensors")).expect("copy");
    let honefile = "apiVersion: hone.dev/v1\nname: carried\nbase: { model: w.safetensors }\ntrainer: none\n";
    fs::write(carried.join("Honefile"), honefile).expect("write Honefile");
    assert_eq!(same_both_ways(&docker, "carried", ""), 2);
}

#[test]
fn root_docker_28_trains_what_docker_build_built() {
    if !needs_docker28() {
        return;
    }
    let docker = Docker28::new(Images::InGraph);
    Tiny::default().write(&docker.world.folder("tiny"), "");
    let honefile = docker.world.dir().join("tiny/Honefile");
    let text = fs::read_to_string(&honefile).expect("read Honefile");
    fs::write(&honefile, Docker28::syntax() + &text).expect("write Honefile");
    docker.build("build", "-f tiny/Honefile -t assistant:base tiny").ok();
    jsonl(&docker.world.folder("data").join("a.jsonl"), &[("hello", "ahoy"), ("where?", "at sea")]);
    let data = docker.world.dir().join("data");
    let run = format!("docker run --rm --network none --runtime hone -v {}:/data assistant:base", data.display());
    let trained = docker.run(&run);
    trained.ok();
    trained.says("loss");
    let layers = |image: &str| {
        let found = docker.run(&format!("docker image inspect {image}")).json();
        found[0]["RootFS"]["Layers"].as_array().expect("layers").clone()
    };
    let (base, version) = (layers("assistant:base"), layers("assistant:base-v1"));
    assert_eq!(version[..base.len()], base[..], "the base's layers");
    assert_eq!(version.len(), base.len() + 1, "exactly one layer more");
    let generate =
        "docker run --rm --network none --runtime hone assistant:base-v1 generate --prompt hello --max-tokens 8";
    docker.run(generate).ok();
}

/// What became of each of this frontend's steps: `CACHED` or `DONE`.
fn steps(progress: &str) -> BTreeMap<String, String> {
    let mut steps = BTreeMap::new();
    let mut names = BTreeMap::new();
    for line in progress.lines().filter(|line| line.starts_with('#')) {
        let (number, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(name) = rest.strip_prefix("[hone] ") {
            names.insert(number.to_owned(), name.to_owned());
        }
        let end = rest.split(' ').next().unwrap_or_default();
        if let (Some(name), "CACHED" | "DONE") = (names.get(number), end) {
            steps.insert(name.clone(), end.to_owned());
        }
    }
    steps
}

#[test]
fn root_buildkit_keeps_what_did_not_change() {
    if !needs_docker28() {
        return;
    }
    let docker = Docker28::new(Images::InGraph);
    Tiny::default().write(&docker.world.folder("tiny"), "");
    let honefile = docker.world.dir().join("tiny/Honefile");
    let text = Docker28::syntax() + &fs::read_to_string(&honefile).expect("read Honefile");
    fs::write(&honefile, &text).expect("write Honefile");
    let build = |more: &str| {
        let built = docker.build("build", &format!("{more} -f tiny/Honefile -t tiny:base tiny"));
        built.ok();
        (steps(&built.text()), docker.run("docker image inspect -f {{.Id}} tiny:base").ok())
    };
    const WEIGHT: &str = "weight models/assistant/model.safetensors";
    let state = |steps: &BTreeMap<String, String>, name: &str| steps.get(name).cloned().unwrap_or_default();
    let (first, id) = build("");
    for name in ["hash the model", "check the model", WEIGHT, "the model's small files", "the job"] {
        assert_eq!(state(&first, name), "DONE", "{name} in {first:?}");
    }
    let (second, again) = build("");
    for name in ["hash the model", "check the model", WEIGHT, "the model's small files", "the job"] {
        assert_eq!(state(&second, name), "CACHED", "{name} in {second:?}");
    }
    assert_eq!(again, id);
    fs::write(&honefile, text.replace("steps: 3", "steps: 4")).expect("write Honefile");
    let (edited, other) = build("");
    assert_eq!((state(&edited, "hash the model"), state(&edited, WEIGHT)), ("CACHED".into(), "CACHED".into()));
    assert_eq!(state(&edited, "the job"), "DONE");
    assert_ne!(other, id);
    let (fresh, other_again) = build("--no-cache");
    assert_eq!((state(&fresh, "hash the model"), state(&fresh, WEIGHT)), ("DONE".into(), "DONE".into()));
    assert_eq!(other_again, other, "without a cache, the same image");
}

#[test]
fn root_docker_build_tells_what_is_wrong_and_where() {
    if !needs_docker28() {
        return;
    }
    let docker = Docker28::new(Images::InGraph);
    let dir = docker.world.folder("tiny");
    Tiny::default().write(&dir, "");
    let text = Docker28::syntax() + &fs::read_to_string(dir.join("Honefile")).expect("read Honefile");
    let wrong = |from: &str, to: &str, more: &str| {
        fs::write(dir.join("Honefile"), text.replace(from, to)).expect("write Honefile");
        docker.build("build", &format!("{more} -f tiny/Honefile tiny")).fails(1)
    };
    let said = wrong("steps: 3", "stepps: 3", "");
    assert!(said.contains("Honefile:13:3: unknown key `stepps`"), "{said}");
    assert!(said.contains("13 |   stepps: 3\n   |   ^^^^^^\n   |\n   = help: did you mean `steps`?"), "{said}");
    fs::create_dir(dir.join("pickles")).expect("make directory");
    fs::write(dir.join("pickles/pytorch_model.bin"), "x").expect("write");
    for (from, to, more, want) in [
        ("model: model", "model: nothing", "", "base.model nothing: it does not exist"),
        ("model: model", "model: ../model", "", "`../model` is outside the build context"),
        ("model: model", "model: pickles", "", "pytorch_model.bin: it is a pickle"),
        ("model: model", "model: hf://a/b", "--build-arg HF_ENDPOINT=http://127.0.0.1:9", "base.model hf://a/b: "),
        ("model: model", "model: oci://r.test/m:1", "", "is read by `hone build` only"),
        ("", "", "--build-arg HONE_TRAINER_IMAGE=127.0.0.1:5000/no:1", "trainer 127.0.0.1:5000/no:1: "),
        ("", "", "--build-arg HONE_TRAINER=x", "no such argument; there is HONE_TRAINER_IMAGE"),
        ("", "", "--platform linux/riscv64", "the build is for linux/riscv64"),
        ("", "", "--target x", "a Honefile has no stages"),
    ] {
        let said = wrong(from, to, more);
        assert!(said.contains(want), "want {want:?} in {said}");
    }
}

#[test]
fn root_buildx_gives_the_same_bytes_and_an_index_for_two_platforms() {
    if !needs_docker28() {
        return;
    }
    let docker = Docker28::new(Images::InContainerd);
    let dir = docker.world.folder("carried");
    Tiny::default().write(&dir, "");
    let name = |name: &str| docker.world.dir().join(name).display().to_string();
    let digest = |name: &str| Digest::of(&fs::read(docker.world.dir().join(name)).expect("read archive"));
    let syntax = Docker28::syntax();
    let text = fs::read_to_string(dir.join("Honefile")).expect("read Honefile");
    fs::write(dir.join("Honefile"), format!("{syntax}{text}")).expect("write Honefile");
    let mut built = Vec::new();
    for archive in ["a.tar", "b.tar"] {
        let output = format!("type=oci,dest={},rewrite-timestamp=true", name(archive));
        let more = "--no-cache --build-arg SOURCE_DATE_EPOCH=0 -f carried/Honefile carried";
        docker.build("buildx build", &format!("--output {output} {more}")).ok();
        built.push(digest(archive));
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert_eq!(built[0], built[1], "equal from build to build");

    let base = "{ model: model, source: 'https://models.test/tiny', revision: r1, license: MIT }";
    let honefile = format!("apiVersion: hone.dev/v1\nname: carried\nbase: {base}\ntrainer: none\n");
    fs::write(dir.join("Honefile"), format!("{syntax}{honefile}")).expect("write Honefile");
    let more = "--provenance=false --platform linux/amd64,linux/arm64 -f carried/Honefile carried";
    let image = "127.0.0.1:5000/carried:1";
    docker.build("buildx build", &format!("--push -t {image} {more}")).ok();
    let inspect = |architecture: &str| {
        let flags = format!("--tls-verify=false --override-arch {architecture}");
        docker.world.sh(&format!("skopeo inspect {flags} docker://{image}")).json()
    };
    let (amd64, arm64) = (inspect("amd64"), inspect("arm64"));
    assert_eq!((&amd64["Architecture"], &arm64["Architecture"]), (&"amd64".into(), &"arm64".into()));
    assert_eq!(amd64["Layers"], arm64["Layers"], "platforms share the model's layers");
    same_annotations(&docker, image);
}

/// Every platform's manifest in the registry says of the base what `hone build` says, and it survives `--from-image`.
fn same_annotations(docker: &Docker28, image: &str) {
    let hone = |words: &str| {
        docker.world.sh(&format!("HONE_ROOT=$PWD/hone HONE_INSECURE_REGISTRIES=127.0.0.1:5000 hone {words}"))
    };
    hone("build -q -t carried:hone carried").ok();
    hone(&format!("build -q --from-image docker://{image} -t carried:again")).ok();
    let ours = hone("inspect --json carried:hone").json()["annotations"].clone();
    assert_eq!(ours["org.opencontainers.image.revision"], "r1");
    assert!(ours["dev.hone.base.identity"].is_string(), "{ours}");
    assert_eq!(hone("inspect --json carried:again").json()["annotations"], ours);
    let raw =
        |name: &str| docker.world.sh(&format!("skopeo inspect --raw --tls-verify=false docker://{name}")).json();
    let index = raw(image);
    let manifests = index["manifests"].as_array().expect("manifests");
    assert_eq!(manifests.len(), 2);
    for manifest in manifests {
        let name = image.replace(":1", &format!("@{}", manifest["digest"].as_str().expect("a digest")));
        assert_eq!(raw(&name)["annotations"], ours, "{name}");
    }
}

#[test]
fn root_docker_build_downloads_a_model_and_checks_it() {
    if !needs_docker28() {
        return;
    }
    let mut docker = Docker28::new(Images::InGraph);
    let dir = docker.world.folder("far");
    Tiny::default().write(&dir, "");
    let served = docker.world.folder("served");
    fs::rename(dir.join("model/model.safetensors"), served.join("w.safetensors")).expect("rename");
    let sha256 = Digest::of(&fs::read(served.join("w.safetensors")).expect("read")).hex();
    let path = served.display().to_string();
    docker.world.daemon("python3", &["-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", &path]);
    let honefile = |sha256: &str| {
        let base = format!("base: {{ model: 'http://127.0.0.1:8000/w.safetensors', sha256: {sha256} }}");
        let text = format!("apiVersion: hone.dev/v1\nname: far\n{base}\ntrainer: none\n");
        fs::write(dir.join("Honefile"), text).expect("write Honefile");
    };
    honefile(&sha256);
    docker.world.wait_for(10, "python3 -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:8000/\")'");
    assert_eq!(same_both_ways(&docker, "far", ""), 2);
    honefile(&"0".repeat(64));
    let text = fs::read_to_string(dir.join("Honefile")).expect("read Honefile");
    fs::write(dir.join("Honefile"), Docker28::syntax() + &text).expect("write Honefile");
    docker.build("build", "-f far/Honefile far").says("digest mismatch").fails(1);
}

#[test]
fn root_docker_build_takes_a_model_of_a_hub_and_does_not_believe_it() {
    if !needs_docker28() {
        return;
    }
    let mut docker = Docker28::new(Images::InGraph);
    let dir = docker.world.folder("far");
    Tiny::default().write(&dir, "");
    docker.world.sh("mkdir -p hub/org && mv far/model hub/org/tiny && cp -r hub/org/tiny hub/org/lying").ok();
    // A model of two kinds has its weights once; what is below the top is nobody's.
    docker.world.sh("cd hub/org/tiny && echo x >x.gguf && mkdir onnx && echo x >onnx/x.json").ok();
    docker.world.sh("cd hub/org/lying && mv tokenizer.json lie-tokenizer.json").ok();
    docker.world.serve();
    let text = fs::read_to_string(dir.join("Honefile")).expect("read Honefile");
    let honefile = |model: &str, syntax: &str| {
        fs::write(dir.join("Honefile"), syntax.to_owned() + &text.replace("model: model", model)).expect("write");
    };
    honefile("model: hf://org/tiny@v1", "");
    let hub = format!("--build-arg HF_ENDPOINT={HUB}");
    // Trainer, weight, small files, job.
    assert_eq!(same_both_ways(&docker, "far", &hub), 4);
    let again = docker.build("build", &format!("{hub} -f far/Honefile -t far:base far"));
    again.ok();
    assert_eq!(steps(&again.text()).get("hash the model").map(String::as_str), Some("CACHED"));
    docker
        .world
        .sh("cd hub/org && mkdir pickled && cp tiny/*.json pickled && echo x >pickled/pytorch_model.bin")
        .ok();
    for (model, want) in [
        ("model: hf://org/pickled", "pytorch_model.bin: it is a pickle"),
        ("model: hf://org/lying", "lie-tokenizer.json: got the git blob"),
        ("model: hf://org/absent", "base.model hf://org/absent: "),
        ("model: hf://org/tiny@v2", "base.model hf://org/tiny: "),
    ] {
        honefile(model, &Docker28::syntax());
        let said = docker.build("build", &format!("{hub} -f far/Honefile far")).fails(1);
        assert!(said.contains(want), "want {want:?} in {said}");
    }
}
