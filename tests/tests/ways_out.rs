//! Every way out of the store, each read by the tool that people use, and what `hone verify` says when somebody lies.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hone_contract::Digest;
use hone_tests::{
    Tiny, World, bin, containerd, docker, needs, needs_docker28, podman, repository, rootfs, run, stub,
};
use serde_json::{Value, json};

/// A busybox image with a model that needs no training, so that engines have something to run.
fn build(world: &World, more: &str) -> String {
    Tiny::default().write(world.dir(), "");
    if !world.dir().join("bbroot/bin").exists() {
        rootfs::busybox(&world.folder("bbroot"));
    }
    let honefile = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: model, license: MIT, source: 'https://example.com/tiny'}\n\
        trainer: {rootfs: bbroot, command: [sh, -c, 'ls /models/tiny']}\n";
    fs::write(world.dir().join("H"), honefile).expect("write");
    world.sh(&format!("hone --root root build -q H -t tiny:base {more}")).ok().trim().to_owned()
}

fn inspect(world: &World, name: &str) -> Value {
    world.sh(&format!("hone --root root inspect --json {name}")).json()
}

fn registry(world: &mut World, more: &str) {
    let at = world.dir().display().to_string();
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {at}/reg}}}}\nhttp: {{addr: \"127.0.0.1:5000\"}}\n{more}"
    );
    fs::write(world.dir().join("r.yml"), text).expect("write");
    world.daemon("docker-registry", &["serve", &format!("{at}/r.yml")]);
    world.wait_for(10, "grep -q 1388 /proc/net/tcp");
}

#[test]
fn root_layouts_and_archives_are_read_by_the_tools_of_the_field() {
    if !needs(&["skopeo", "podman", "umoci"]) {
        return;
    }
    let world = podman();
    let digest = build(&world, "-o oci:layout -o oci-archive:a.tar -o docker-archive:d.tar");
    let view = inspect(&world, "tiny:base");
    assert_eq!(view["digest"], json!(digest));
    let raw = world.sh("skopeo inspect --raw oci:layout:tiny:base").json();
    assert_eq!(raw["manifests"][0]["digest"], view["manifest"]);
    assert_eq!(raw["manifests"][1]["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    let model = world.sh("skopeo inspect --raw oci:layout:tiny:base-modelpack").json();
    assert_eq!(model["artifactType"], raw["manifests"][1]["artifactType"]);
    assert_eq!(world.sh("skopeo inspect oci:layout:tiny:base").json()["Labels"]["dev.hone.name"], "tiny");
    world.sh("hone --root root save tiny:base -o oci-archive:- | cmp - a.tar").ok();
    let manifest = view["manifest"].as_str().expect("digest").replace(':', "/");
    let manifest = world.sh(&format!("cat layout/blobs/{manifest}")).json();
    let said = |key: &str| manifest["annotations"][format!("org.opencontainers.image.{key}")].clone();
    assert_eq!([said("source"), said("licenses")], [json!("https://example.com/tiny"), json!("MIT")]);
    let ls = "ls /models/tiny/model.safetensors /hone/job.json";
    for from in ["oci:layout:tiny:base", "oci-archive:a.tar", "docker-archive:d.tar"] {
        world.sh("podman rmi -af; true").ok();
        let id = world.sh(&format!("podman pull -q {from}")).ok();
        world.sh(&format!("podman run --rm --network none {} {ls}", id.trim())).ok();
    }
    world.sh("podman rmi -af; podman load -q -i a.tar").ok();
    // And back: each form holds the same image.
    for from in ["oci:layout:tiny:base", "oci-archive:a.tar"] {
        world
            .sh(&format!(
                "rm -rf root2; hone --root root2 load {from} -t tiny:base && hone --root root2 verify tiny:base"
            ))
            .ok();
        let again = world.sh("hone --root root2 inspect --json tiny:base").json();
        assert_eq!(again["digest"], view["digest"], "{from}");
    }
    world.sh("rm -rf root2; hone --root root2 load docker-archive:d.tar").ok();
    assert_eq!(world.sh("hone --root root2 inspect --json tiny:base").json()["config"], view["config"]);
}

#[test]
fn root_archives_go_to_pipes_and_devices_as_they_are() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    build(&world, "-o oci-archive:a.tar -o docker-archive:d.tar");
    world.sh("hone --root root build -q H -t tiny:base -o oci-archive:- | cmp - a.tar").ok();
    world
        .sh("hone --root root build H -t tiny:base -o docker-archive:- 2>steps | cmp - d.tar && grep -w job steps")
        .ok();
    // A FIFO and a device are written to and stay what they are; a file that is there is replaced.
    world.sh("mkfifo f; cmp f a.tar & hone --root root save tiny:base -o oci-archive:f && wait $! && test -p f").ok();
    world.sh("mknod full c 1 7; hone --root root save tiny:base -o oci-archive:full").fails(1);
    world.sh("test -c full && echo x >b.tar && hone --root root save tiny:base -o oci-archive:b.tar && cmp a.tar b.tar").ok();
}

#[test]
fn root_umoci_unpacks_what_we_write() {
    if !needs_docker28() {
        return;
    }
    let world = World::new();
    build(&world, "");
    // umoci takes no index that holds more than one manifest.
    world.sh("hone --root root save --no-index tiny:base -o oci:layout").ok();
    let (chroot, dir) = (repository().join("tests/engines/make-chroot"), world.dir().display().to_string());
    let root = repository().join(".cache/forky-engines");
    let unpack = format!("umoci unpack --image {dir}/layout:tiny:base {dir}/unpacked");
    world.sh(&format!("CHROOT_BINDS={dir} {} {} {unpack}", chroot.display(), root.display())).ok();
    world.sh("cmp unpacked/rootfs/models/tiny/model.safetensors model/model.safetensors").ok();
    assert!(world.dir().join("unpacked/rootfs/hone/job.json").is_file() && bin().is_dir());
}

#[test]
fn root_oci_image_tool_finds_nothing_wrong() {
    if !needs(&["oci-image-tool", "umoci"]) {
        return;
    }
    let world = World::new();
    Tiny::default().write(world.dir(), "");
    let honefile = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: model}\ntrainer: none\n";
    fs::write(world.dir().join("H"), honefile).expect("write");
    world
        .sh("hone --root root build -q H -t tiny:base && hone --root root save --no-index tiny:base -o oci:one")
        .ok();
    // The tool is of 2018 and knows no zstd: it is given an image without a trainer, whose layers are all bare tars.
    world.sh("oci-image-tool validate --type image --ref name=tiny:base one").ok();
    world.sh("umoci unpack --image one:tiny:base unpacked && cmp unpacked/rootfs/models/tiny/config.json model/config.json").ok();
    let twin = "cp -r one bad && f=$(ls -S bad/blobs/sha256 | head -1) && chmod u+w bad/blobs/sha256/$f && printf X | dd of=bad/blobs/sha256/$f bs=1 conv=notrunc";
    world.sh(twin).ok();
    assert_ne!(world.sh("oci-image-tool validate --type image --ref name=tiny:base bad").code, 0);
}

#[test]
fn root_containerd_and_docker_take_images_and_run_them() {
    if !needs(&["containerd", "ctr", "runc", "docker", "dockerd"]) {
        return;
    }
    let world = containerd();
    build(&world, "-o oci-archive:a.tar");
    let ctr = |args: &str| world.sh(&format!("export CONTAINERD_ADDRESS=$PWD/containerd.sock; {args}"));
    ctr("hone --root root save tiny:base -o containerd=edge").ok();
    let name = "docker.io/library/tiny:base";
    let out = ctr(&format!("ctr -n edge run --rm --snapshotter native {name} one ls /models/tiny")).ok();
    assert!(out.contains("model.safetensors"), "{out}");
    ctr("ctr -n other images import --no-unpack a.tar").ok();
    ctr("rm -rf root2; hone --root root2 load containerd=edge:tiny:base && hone --root root2 verify tiny:base").ok();
    assert_eq!(
        world.sh("hone --root root2 inspect --json tiny:base").json()["digest"],
        inspect(&world, "tiny:base")["digest"]
    );

    let world = docker();
    build(&world, "--load docker -o docker-archive:d.tar");
    let config = inspect(&world, "tiny:base")["config"].clone();
    assert_eq!(world.sh("docker image inspect tiny:base").json()[0]["Id"], config);
    world.sh("docker run --rm --network none tiny:base").says("model.safetensors");
    world
        .sh("docker rmi tiny:base && docker load -i d.tar && docker run --rm --network none tiny:base")
        .says("model.safetensors");
    world.sh("rm -rf root2; hone --root root2 load docker:tiny:base").ok();
    assert_eq!(world.sh("hone --root root2 inspect --json tiny:base").json()["config"], config);
}

#[test]
fn root_registries_hold_what_was_pushed_for_everyone() {
    if !needs(&["docker-registry", "skopeo", "podman"]) {
        return;
    }
    let mut world = podman();
    registry(&mut world, "");
    let digest = build(&world, "--sbom");
    let name = "127.0.0.1:5000/team/tiny";
    world.sh(&format!("hone --root root push tiny:base {name}:base")).says("were there");
    world.sh(&format!("hone --root root push tiny:base {name}:base")).says("0 blobs sent");
    let raw = |tag: &str| world.sh(&format!("skopeo inspect --raw --tls-verify=false docker://{name}:{tag}"));
    assert_eq!(Digest::of(raw("base").ok().as_bytes()).to_string(), digest);
    assert_eq!(raw("base-modelpack").json()["config"]["mediaType"], "application/vnd.cncf.model.config.v1+json");
    world.sh(&format!("podman pull -q --tls-verify=false {name}:base")).ok();
    world.sh(&format!("podman run --rm --network none {name}:base")).says("model.safetensors");
    world.sh(&format!("hone --root root2 pull {name}:base -t tiny:base && hone --root root2 verify tiny:base")).ok();
    assert_eq!(world.sh("hone --root root2 inspect --json tiny:base").json()["digest"], json!(digest));
    let bill = "hone --root root2 inspect --sbom tiny:base";
    assert_eq!(world.sh(bill).ok(), world.sh("hone --root root inspect --sbom tiny:base").ok(), "it came along");
    // Of this registry, which keeps no referrers, under the tag of the digest.
    let referrers = raw(&digest.replace(':', "-")).json();
    assert_eq!(referrers["manifests"][0]["artifactType"], "application/spdx+json");
    // A blob that the registry changed is refused, and nothing is named.
    let weight = inspect(&world, "tiny:base")["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .find(|l| l["kind"] == "weight")
        .expect("weight")["digest"]
        .clone();
    let hex = weight.as_str().expect("digest").trim_start_matches("sha256:").to_owned();
    world.sh(&format!("printf X | dd of=$(echo reg/docker/registry/v2/blobs/sha256/*/{hex}/data) bs=1 seek=5000 conv=notrunc 2>/dev/null")).ok();
    let said = world.sh(&format!("hone --root root3 pull {name}:base -t tiny:base")).fails(1);
    assert!(said.contains(&format!("want sha256:{hex}")), "{said}");
    world.sh("hone --root root3 inspect tiny:base").fails(1);
}

#[test]
fn root_credentials_are_docker_s_and_interrupted_transfers_go_on() {
    if !needs(&["docker-registry", "htpasswd"]) {
        return;
    }
    let mut world = World::new();
    let at = world.dir().display().to_string();
    world.sh("htpasswd -Bbn me secret >users && head -c 67108864 /dev/urandom >w.data && printf 'apiVersion: hone.dev/v1\\nname: w\\nbase: {model: w.data}\\ntrainer: none\\n' >H").ok();
    registry(&mut world, &format!("auth: {{htpasswd: {{realm: r, path: {at}/users}}}}\n"));
    world.sh("hone --root root build -q H -t w:base").ok();
    let push = |env: &str| world.sh(&format!("{env} hone --root root push -q w:base 127.0.0.1:5000/w/w:base"));
    let said = push("DOCKER_CONFIG=$PWD/none HOME=$PWD").fails(1);
    assert!(said.contains("docker login 127.0.0.1:5000"), "{said}");
    world.sh("mkdir -p wrong right help path && printf '{\"auths\":{\"127.0.0.1:5000\":{\"auth\":\"%s\"}}}' $(printf me:wrong | base64) >wrong/config.json \
        && printf '{\"auths\":{\"127.0.0.1:5000\":{\"auth\":\"%s\"}}}' $(printf me:secret | base64) >right/config.json \
        && echo '{\"credHelpers\":{\"127.0.0.1:5000\":\"test\"}}' >help/config.json \
        && printf '#!/bin/sh\\ncat >/dev/null; echo \"{\\\\\"ServerURL\\\\\":\\\\\"127.0.0.1:5000\\\\\",\\\\\"Username\\\\\":\\\\\"me\\\\\",\\\\\"Secret\\\\\":\\\\\"secret\\\\\"}\"\\n' >path/docker-credential-test && chmod +x path/docker-credential-test").ok();
    assert!(push("DOCKER_CONFIG=$PWD/wrong").fails(1).contains("docker login 127.0.0.1:5000"));
    killed(&world, "env DOCKER_CONFIG=$PWD/right hone --root root push -q w:base 127.0.0.1:5000/w/w:base", "reg");
    world.sh("test ! -e reg/docker/registry/v2/repositories/w/w/_manifests/tags").ok();
    push("DOCKER_CONFIG=$PWD/right").ok();
    push("DOCKER_CONFIG=$PWD/help PATH=$PWD/path:$PATH").ok();
    let pull = "env DOCKER_CONFIG=$PWD/right hone --root root2 pull -q 127.0.0.1:5000/w/w:base -t w:base";
    killed(&world, pull, "root2/partial");
    world.sh("hone --root root2 inspect w:base").fails(1);
    assert_eq!(world.sh("grep -c 'status=206' docker-registry.log").stdout.trim(), "0");
    world.sh(pull).ok();
    // What had come was used: the rest alone was asked for.
    assert_eq!(world.sh("grep -c 'status=206' docker-registry.log").ok(), "1");
    world.sh("hone --root root2 verify w:base && test -z \"$(ls root2/partial)\"").ok();
}

/// Kills a transfer when some MiB of it, but not all of its 64, are in a file below `dir`.
fn killed(world: &World, command: &str, dir: &str) {
    let script = format!(
        "{command} & p=$!; while [ -z \"$(find {dir} -type f -size +4096k -size -60000k 2>/dev/null)\" ]; do kill -0 $p || exit 1; done; \
        kill -9 $p; wait $p; test $? = 137"
    );
    world.sh(&script).ok();
}

/// Rewrites the image's manifest with jq, under its right digest, and the index over it, in a copy of the store.
fn rewritten(edit: &str) -> String {
    rewritten_at(0, edit, "")
}

/// The same for the `n`th manifest of the index, which is then changed, too.
fn rewritten_at(n: u8, edit: &str, index: &str) -> String {
    format!(
        "cp -r root bad && cd bad/blobs/sha256 && old=$(jq -r '.manifests[] | select(.annotations).digest' ../../index.json | cut -d: -f2) \
            && m=$(jq -r '.manifests[{n}].digest' $old | cut -d: -f2) && jq -c '{edit}' $m >n && d=$(sha256sum n | cut -c1-64) && s=$(stat -c %s n) && mv n $d \
            && jq -c \".manifests[{n}].digest=\\\"sha256:$d\\\" | .manifests[{n}].size=$s{index}\" $old >i && e=$(sha256sum i | cut -c1-64) && t=$(stat -c %s i) && mv i $e \
            && jq -c \".manifests[0].digest=\\\"sha256:$e\\\" | .manifests[0].size=$t\" ../../index.json >x && mv x ../../index.json"
    )
}

/// Ways to spoil a store, and what is then said.
fn lies(weight: &str) -> Vec<(String, &'static str)> {
    vec![
        (
            format!(
                "cp -r root bad && chmod u+w bad/blobs/sha256/{weight} && printf X | dd of=bad/blobs/sha256/{weight} bs=1 seek=5000 conv=notrunc 2>/dev/null"
            ),
            "want sha256:",
        ),
        (format!("cp -r root bad && truncate -s -512 bad/blobs/sha256/{weight}"), "bytes, want"),
        (format!("cp -r root bad && rm -f bad/blobs/sha256/{weight}"), "it is not in the store"),
        (rewritten(".annotations[\"dev.hone.base.size\"]=\"7\""), "dev.hone.base.size: got"),
        (rewritten(".annotations[\"dev.hone.base.identity\"]=\"sha256:00\""), "dev.hone.base.identity: got"),
        (
            rewritten(
                "(.layers[] | select(.annotations[\"dev.hone.layer.kind\"]==\"weight\").annotations[\"org.cncf.model.filepath\"])=\"/models/x\"",
            ),
            "org.cncf.model.filepath: got",
        ),
        (
            rewritten(
                "(.layers[] | select(.annotations[\"dev.hone.layer.kind\"]==\"weight\").annotations[\"dev.hone.file.digest\"])=\"sha256:11\"",
            ),
            "dev.hone.file.digest: got",
        ),
        (
            rewritten(
                "(.layers[] | select(.annotations[\"dev.hone.layer.kind\"]==\"trainer\").annotations[\"dev.hone.layer.kind\"])=\"other\"",
            ),
            "trainer: got",
        ),
    ]
}

/// The same for what readers of the index and of the model's artifact are told.
fn lies_of_the_index() -> Vec<(String, &'static str)> {
    vec![
        (
            rewritten_at(0, ".", " | .manifests[0].platform.architecture=\\\"riscv64\\\""),
            "got linux/riscv64, want linux/amd64",
        ),
        (
            rewritten_at(1, ".layers[0].annotations[\"org.cncf.model.filepath\"]=\"models/x\"", ""),
            "got models/x, want models/",
        ),
        (
            rewritten_at(1, ".layers[0].annotations[\"org.cncf.model.file.metadata+json\"]=\"{}\"", ""),
            "got {}, want {",
        ),
    ]
}

#[test]
fn root_every_lie_is_told_by_verify() {
    if !needs(&["jq"]) {
        return;
    }
    let world = World::new();
    build(&world, "");
    world.sh("hone --root root verify tiny:base").says("ok");
    let view = inspect(&world, "tiny:base");
    let layer = |kind: &str| {
        let layers = view["layers"].as_array().expect("layers").iter();
        layers.clone().find(|l| l["kind"] == kind).expect(kind)["digest"]
            .as_str()
            .expect("digest")
            .replace("sha256:", "")
    };
    let weight = layer("weight");
    for (spoil, says) in lies(&weight).into_iter().chain(lies_of_the_index()) {
        world.sh("rm -rf bad").ok();
        world.sh(&spoil).ok();
        let ran = world.sh("hone --root bad verify tiny:base");
        assert!(ran.code == 1 && ran.text().contains(says), "{spoil}\nwant {says}\n{ran}");
    }
}

#[test]
fn root_bills_of_materials_are_the_same_twice_and_have_the_date_that_was_given() {
    if !needs(&["jq"]) {
        return;
    }
    let world = World::new();
    for (format, key, date) in [
        ("spdx", ".creationInfo.created", "1970-01-01T00:00:00Z"),
        ("cyclonedx", ".metadata.timestamp", "1970-01-01T00:00:00Z"),
    ] {
        build(&world, &format!("--sbom={format}"));
        let one = world.sh("hone --root root inspect --sbom tiny:base").ok();
        assert_eq!(world.sh(&format!("hone --root root inspect --sbom tiny:base | jq -r {key}")).ok().trim(), date);
        for name in ["model.safetensors", "job.json", "busybox"] {
            assert!(one.contains(name), "{format}: {name}");
        }
        // It goes along in a layout, out and in.
        world
            .sh("rm -rf l root2; hone --root root save tiny:base -o oci:l && hone --root root2 load oci:l:tiny:base")
            .ok();
        assert_eq!(world.sh("hone --root root2 inspect --sbom tiny:base").ok(), one);
        world.sh("rm -rf root").ok();
        build(&world, &format!("--sbom={format}"));
        assert_eq!(world.sh("hone --root root inspect --sbom tiny:base").ok(), one);
        world.sh("rm -rf root").ok();
        world.sh(&format!("SOURCE_DATE_EPOCH=86400 hone --root root build -q H -t tiny:base --sbom={format}")).ok();
        let dated = || world.sh(&format!("hone --root root inspect --sbom tiny:base | jq -r {key}")).ok();
        assert_eq!(dated().trim(), "1970-01-02T00:00:00Z");
        // Of one kind an image has one, the last; and one of the other kind beside it.
        build(&world, &format!("--sbom={format}"));
        assert_eq!(dated().trim(), date);
        build(&world, "--sbom=spdx");
        build(&world, "--sbom=cyclonedx");
        let count = "jq '[.manifests[] | select(.artifactType)] | length' root/index.json";
        assert_eq!(world.sh(count).ok().trim(), "2");
        world.sh("rm -rf root").ok();
    }
    assert_eq!(run(std::process::Command::new(bin().join("hone")).args(["build", "--sbom=word"])).code, 2);
}

/// Gives `bytes` the place of the blob `old` of the store `root`, and every document above it its new digest, up to the
/// index: a lie of which no digest tells. Sizes must stay.
fn swap(root: &Path, old: &str, bytes: &[u8]) {
    let blobs = root.join("blobs/sha256");
    assert_eq!(fs::metadata(blobs.join(old)).expect("a blob").len(), bytes.len() as u64, "sizes stay");
    let names: Vec<_> = fs::read_dir(&blobs).expect("list").map(|e| e.expect("entry").file_name()).collect();
    let documents: BTreeMap<String, String> = names
        .iter()
        .filter_map(|name| Some((name.to_str()?.to_owned(), fs::read_to_string(blobs.join(name)).ok()?)))
        .filter(|(name, text)| text.starts_with('{') && name != old)
        .collect();
    let mut renamed = BTreeMap::from([(old.to_owned(), Digest::of(bytes).hex())]);
    let rewritten = |text: &str, renamed: &BTreeMap<String, String>| {
        renamed.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    // Documents name each other in no circle: in as many rounds as they are deep, nothing changes any more.
    loop {
        let before = renamed.clone();
        for (name, text) in &documents {
            let text = rewritten(text, &before);
            renamed.extend((text != documents[name]).then(|| (name.clone(), Digest::of(text.as_bytes()).hex())));
        }
        if renamed == before {
            break;
        }
    }
    fs::write(blobs.join(&renamed[old]), bytes).expect("write");
    for (name, text) in documents.iter().filter(|(name, _)| renamed.contains_key(*name)) {
        fs::write(blobs.join(&renamed[name]), rewritten(text, &renamed)).expect("write");
    }
    let index = fs::read_to_string(root.join("index.json")).expect("read index");
    fs::write(root.join("index.json"), rewritten(&index, &renamed)).expect("write index");
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<_> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "there is no {from}");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// What is changed in which blob, and what is then said.
fn hidden_lies(view: &Value) -> Vec<(String, String, String, &'static str)> {
    let hex = |value: &Value| value.as_str().expect("digest").trim_start_matches("sha256:").to_owned();
    let layer = |kind: &str| {
        let layers = view["layers"].as_array().expect("layers");
        hex(&layers.iter().find(|l| l["kind"] == kind).expect(kind)["digest"])
    };
    let identity = hex(&view["model"]["identity"]);
    let other: String = identity.chars().rev().collect();
    let (job, weight, config) = (layer("job"), layer("weight"), hex(&view["config"]));
    let lie = |blob: &str, from: &str, to: &str, says| (blob.to_owned(), from.to_owned(), to.to_owned(), says);
    vec![
        lie(&job, &identity, &other, "base identity: got sha256:"),
        // Two letters exchanged: the header's checksum still holds.
        lie(
            &weight,
            "tiny/model.safe",
            "tiny/mdoel.safe",
            "/models/tiny/model.safetensors is not in it; job.json names it",
        ),
        lie(
            &config,
            "\"dev.hone.name\":\"tiny\"",
            "\"dev.hone.name\":\"tony\"",
            "label dev.hone.name: got tony, want tiny",
        ),
        lie(
            &config,
            "ls /models/tiny",
            "rm /models/tiny",
            "command: got sh -c rm /models/tiny, want sh -c ls /models/tiny",
        ),
        lie(&config, "dev.hone.contract", "dev.gone.contract", "label dev.hone.contract: got , want 1"),
    ]
}

#[test]
fn root_a_lie_under_right_digests_is_told_by_verify() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    build(&world, "--sbom");
    let view = inspect(&world, "tiny:base");
    for (blob, from, to, says) in hidden_lies(&view) {
        world.sh("rm -rf bad && cp -r root bad && chmod -R u+w bad").ok();
        let bytes = fs::read(world.dir().join("root/blobs/sha256").join(&blob)).expect("read");
        swap(&world.dir().join("bad"), &blob, &replaced(&bytes, &from, &to));
        let ran = world.sh("hone --root bad verify tiny:base");
        assert!(ran.code == 1 && ran.text().contains(says), "want {says}\n{ran}");
    }
    let config = view["config"].as_str().expect("digest").replace("sha256:", "");
    // The twin: the same way, and nothing that anybody claims is changed.
    world.sh("rm -rf bad && cp -r root bad && chmod -R u+w bad").ok();
    let bytes = fs::read(world.dir().join("root/blobs/sha256").join(&config)).expect("read");
    swap(&world.dir().join("bad"), &config, &replaced(&bytes, "PATH=/usr/local/sbin", "PATH=/usr/tropic/bin"));
    world.sh("hone --root bad verify tiny:base").says("ok (").ok();
    // The bill of materials is a claim, too.
    let bill = world.sh("grep -l spdxVersion root/blobs/sha256/*").ok().replace("root/", "bad/");
    world.sh(&format!("rm -rf bad && cp -r root bad && chmod u+w {bill} && sed -i s/MIT/GPL/ {bill}")).ok();
    world.sh("hone --root bad verify tiny:base").says("referrer sha256:").fails(1);
}

#[test]
fn root_what_is_built_is_verified_whatever_it_is() {
    if !needs(&["docker-registry"]) {
        return;
    }
    let mut world = World::new();
    registry(&mut world, "");
    Tiny::default().write(world.dir(), "");
    let head = "apiVersion: hone.dev/v1\nname: m\nbase: {model: model}\ntrainer: none\nplatforms: [linux/amd64, linux/arm64]\n";
    fs::write(world.dir().join("M"), head).expect("write");
    world.sh("hone --root root build -q -t onnx:base Honefile && hone --root root build -q -t multi:base M").ok();
    stub::stub(&world.folder("stub"));
    stub::mode(&world.folder("data"), "good");
    world.sh("hone --root root build -q -t stub:base stub").ok();
    world.sh("hone --root root run --rm -v ./data:/data stub:base").ok();
    for name in ["onnx:base", "multi:base", "stub:base", "stub:base-v1"] {
        world.sh(&format!("hone --root root verify {name}")).says(&format!("{name}: ok (")).ok();
    }
    assert_eq!(inspect(&world, "multi:base")["platforms"], json!(["linux/amd64", "linux/arm64"]));
    // The version's layers are its base's and one more, and both say so.
    let shown = world.sh("hone --root root inspect stub:base-v1").ok();
    assert!(shown.lines().any(|l| l.contains("weight") && l.contains(" % ") && l.contains("shared with")), "{shown}");
    let last = shown.lines().last().expect("a line");
    assert!(last.contains("adapter") && !last.contains("shared"), "{shown}");
    // A version goes to a registry where its base is with the adapter alone.
    world.sh("hone --root root push stub:base 127.0.0.1:5000/a/stub:base").ok();
    let pushed = world.sh("hone --root root push --progress plain stub:base-v1 127.0.0.1:5000/a/stub:base-v1");
    let sent: Vec<_> = pushed.stderr.lines().filter(|l| l.ends_with("pushed")).collect();
    assert!(sent.len() == 1 && sent[0].contains("adapter"), "{pushed}");
    world.sh("hone --root root2 pull 127.0.0.1:5000/a/stub:base-v1 && hone --root root2 verify 127.0.0.1:5000/a/stub:base-v1").ok();
    // The image for one processor alone is not the whole of what the name stands for.
    let name = "127.0.0.1:5000/a/multi:base";
    world.sh(&format!("hone --root root push multi:base {name} && hone --root root2 pull {name}")).ok();
    let part = world.sh(&format!("hone --root root2 verify {name}"));
    part.says("it is not here; `hone pull --all-platforms` fetches it").says("1 claim is wrong").fails(1);
    world.sh(&format!("hone --root root2 push {name} 127.0.0.1:5000/b/multi:base")).says("--all-platforms").fails(1);
    world.sh(&format!("hone --root root2 pull --all-platforms {name} && hone --root root2 verify {name}")).ok();
}
