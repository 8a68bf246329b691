//! A tiny model in a world of its own: built from where a test says, in layouts as others write them, in a registry.

use std::collections::BTreeMap;
use std::fs;

use hone_contract::Digest;
use hone_store::Store;
use hone_tests::{Tiny, World};
use serde_json::{Value, json};

/// What begins a Honefile for a model that is only carried.
pub const HEAD: &str = "apiVersion: hone.dev/v1\nname: tiny\ntrainer: none\n";

/// A world with the model, whose files are too old to be read twice.
pub fn world() -> World {
    let world = World::new();
    Tiny::default().write(world.dir(), "");
    world.sh("for f in model/*; do touch -d @1000000000 $f; done").ok();
    world
}

/// Builds a Honefile with this base; gives the files of the model by name.
pub fn built(world: &World, base: &str, tag: &str) -> BTreeMap<String, Digest> {
    fs::write(world.dir().join("H"), format!("{HEAD}base: {base}\n")).expect("write");
    world.sh(&format!("hone --root root build H -t tiny:{tag}")).ok();
    world.sh(&format!("hone --root root verify tiny:{tag}")).ok();
    files(world, tag)
}

/// The files of an image's model by name.
pub fn files(world: &World, tag: &str) -> BTreeMap<String, Digest> {
    let store = Store::at(world.dir().join("root"));
    let image = store.resolve(&format!("tiny:{tag}")).expect("image").image;
    let job = store.job_of(&image).expect("job layer").expect("a job");
    job.base.expect("a base").files.into_iter().map(|f| (f.path, f.digest)).collect()
}

/// Writes a layout of one manifest over these blobs; gives nothing, the layout is `DIR/NAME`.
pub fn layout(world: &World, name: &str, mut manifest: Value, config: &[u8], layers: &[(&str, &[u8], Option<&str>)]) {
    let dir = world.folder(&format!("{name}/blobs/sha256"));
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(dir.join(digest.hex()), bytes).expect("write blob");
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let kind =
        manifest["config"]["mediaType"].as_str().unwrap_or("application/vnd.oci.image.config.v1+json").to_owned();
    manifest["config"] = put(&kind, config);
    manifest["layers"] = layers
        .iter()
        .map(|(media_type, bytes, path)| {
            let mut layer = put(media_type, bytes);
            if let Some(path) = path {
                layer["annotations"] = json!({ "org.cncf.model.filepath": path });
            }
            layer
        })
        .collect();
    let media_type =
        manifest["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json").to_owned();
    manifest["mediaType"] = json!(media_type);
    manifest["schemaVersion"] = json!(2);
    let mut root = put(&media_type, manifest.to_string().as_bytes());
    root["annotations"] = json!({ "org.opencontainers.image.ref.name": "one" });
    let index = json!({ "schemaVersion": 2, "manifests": [root] });
    let top = world.folder(name);
    fs::write(top.join("index.json"), index.to_string()).expect("write");
    fs::write(top.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("write");
}

/// `tar` of these paths in the world, piped through a compressor.
pub fn tar(world: &World, dir: &str, paths: &str, compress: &str) -> Vec<u8> {
    world.sh(&format!("tar --sort=name -C {dir} -c {paths} | {compress} >out.tar")).ok();
    fs::read(world.dir().join("out.tar")).expect("read")
}

/// A world with a registry, which holds the model as `m/tiny:1`.
pub fn registry() -> World {
    let mut world = world();
    built(&world, "{model: model}", "path");
    let at = world.dir().display().to_string();
    fs::write(
        world.dir().join("r.yml"),
        format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {at}/reg}}}}\nhttp: {{addr: \"127.0.0.1:5000\"}}\n"
        ),
    )
    .expect("write");
    world.daemon("docker-registry", &["serve", &format!("{at}/r.yml")]);
    world.wait_for(10, "hone --root root push tiny:path 127.0.0.1:5000/m/tiny:1");
    world
}

/// A KitOps ModelKit of the model, as the layout `kit`.
pub fn kit(world: &World) {
    let whole = tar(world, ".", "model", "gzip -n");
    let kit = json!({ "config": { "mediaType": "application/vnd.kitops.modelkit.config.v1+json" } });
    let kitfile = br#"{"manifestVersion":"1.0","package":{"name":"tiny"},"model":{"path":"model"}}"#;
    let layers: [(&str, &[u8], Option<&str>); 2] = [
        ("application/vnd.kitops.modelkit.model.v1.tar+gzip", &whole, None),
        ("application/vnd.kitops.modelkit.code.v1.tar+gzip", b"no tar at all", None),
    ];
    layout(world, "kit", kit, kitfile, &layers);
}

/// A GGUF header of version 3 with nothing in it: enough of one to be carried.
pub fn gguf() -> Vec<u8> {
    [&b"GGUF\x03\0\0\0"[..], &[0; 16]].concat()
}

/// A model of Docker Model Runner, as the layout `dmr`.
pub fn docker_s(world: &World) {
    let docker = json!({ "config": { "mediaType": "application/vnd.docker.ai.model.config.v0.1+json" } });
    let layers: [(&str, &[u8], Option<&str>); 2] =
        [("application/vnd.docker.ai.gguf.v3", &gguf(), None), ("application/vnd.docker.ai.license", b"MIT", None)];
    layout(world, "dmr", docker, b"{}", &layers);
}

/// A model of Ollama, as the layout `ollama`.
pub fn ollama_s(world: &World) {
    let ollama = json!({ "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json" } });
    let layers: [(&str, &[u8], Option<&str>); 2] = [
        ("application/vnd.ollama.image.model", &gguf(), None),
        ("application/vnd.ollama.image.template", b"{{ .Prompt }}", None),
    ];
    layout(world, "ollama", ollama, b"{}", &layers);
}
