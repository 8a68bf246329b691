//! Every way into `hone build`: where a model and a trainer may come from, against the real tool where one runs here, else
//! against files in its documented format (KitOps, Docker Model Runner, Ollama, modctl).

mod models;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hone_contract::Digest;
use hone_tests::{World, needs};
use serde_json::json;

use models::{HEAD, built, docker_s, files, gguf, kit, layout, ollama_s, registry, tar, world};

fn refused(world: &World, base: &str) -> String {
    fs::write(world.dir().join("H"), format!("{HEAD}base: {base}\n")).expect("write");
    world.sh("hone --root root build H -t tiny:refused").fails(1)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("read")
}

#[test]
fn root_model_packs_of_all_forms_hold_the_same_model() {
    if !needs(&["zstd"]) {
        return;
    }
    let world = world();
    let want = built(&world, "{model: model}", "path");
    assert!(want.contains_key("model.safetensors") && want.contains_key("tokenizer.json"), "{want:?}");
    let artifact = json!({ "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": { "mediaType": "application/vnd.cncf.model.config.v1+json" } });
    let weight = read(&world.dir().join("model/model.safetensors"));
    let small: Vec<(String, Vec<u8>)> = want
        .keys()
        .filter(|name| *name != "model.safetensors")
        .map(|name| (name.clone(), read(&world.dir().join("model").join(name))))
        .collect();
    let mut raw = vec![("application/vnd.cncf.model.weight.v1.raw", &weight[..], Some("model.safetensors"))];
    raw.extend(
        small.iter().map(|(name, bytes)| {
            ("application/vnd.cncf.model.weight.config.v1.raw", &bytes[..], Some(name.as_str()))
        }),
    );
    layout(&world, "raw", artifact.clone(), b"{}", &raw);
    for (name, compress) in [("tar", "cat"), ("tar+gzip", "gzip -n"), ("tar+zstd", "zstd -q")] {
        let (w, c) = (
            tar(&world, "model", "model.safetensors", compress),
            tar(&world, "model", "--exclude=model.safetensors .", compress),
        );
        let (wt, ct) = (
            format!("application/vnd.cncf.model.weight.v1.{name}"),
            format!("application/vnd.cncf.model.weight.config.v1.{name}"),
        );
        layout(&world, name, artifact.clone(), b"{}", &[(&wt, &w, None), (&ct, &c, None)]);
    }
    let old = json!({ "config": { "mediaType": "application/vnd.cnai.model.config.v1+json" } });
    let whole = tar(&world, "model", ".", "cat");
    layout(&world, "old", old, b"{}", &[("application/vnd.cnai.model.weight.v1.tar", &whole, None)]);
    for name in ["raw", "tar", "tar+gzip", "tar+zstd", "old"] {
        assert_eq!(built(&world, &format!("{{model: 'oci:{name}:one'}}"), "artifact"), want, "{name}");
    }
}

#[test]
fn root_artifacts_of_others_hold_models() {
    if !needs(&["tar"]) {
        return;
    }
    let world = world();
    let want = built(&world, "{model: model}", "path");
    kit(&world);
    assert_eq!(built(&world, "{model: 'oci:kit'}", "kit"), want);
}

#[test]
fn root_docker_s_and_ollama_s_models_are_one_gguf_file() {
    if !needs(&["tar"]) {
        return;
    }
    let world = world();
    docker_s(&world);
    let found = built(&world, "{model: 'oci:dmr'}", "dmr");
    assert_eq!(found["model.gguf"], Digest::of(&gguf()));
    assert_eq!(found["LICENSE"], Digest::of(b"MIT"));
    ollama_s(&world);
    assert_eq!(
        built(&world, "{model: 'oci:ollama'}", "ollama"),
        BTreeMap::from([("model.gguf".into(), Digest::of(&gguf()))])
    );
}

#[test]
fn root_images_of_containers_hold_models() {
    if !needs(&["umoci"]) {
        return;
    }
    let world = world();
    let want = built(&world, "{model: model}", "path");
    // An image of containers, made by umoci: two layers, the second of which hides a file of the first.
    world.sh("umoci init --layout image && umoci new --image image:one && mkdir -p in/models in2/etc && cp -r model in/models/m \
        && echo junk >in/models/m/junk.json && umoci insert --image image:one in/models /models \
        && umoci insert --image image:one --whiteout /models/m/junk.json && umoci insert --image image:one in2/etc /etc").ok();
    assert_eq!(built(&world, "{model: 'oci:image:one'}", "image"), want);
    assert!(refused(&world, "{model: 'oci:image:two'}").contains("want one image with the tag two"));
    layout(
        &world,
        "none",
        json!({}),
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
        &[],
    );
    assert!(refused(&world, "{model: 'oci:none'}").contains("it holds no model"));
}

#[test]
fn root_registries_give_models() {
    if !needs(&["docker-registry", "skopeo"]) {
        return;
    }
    let world = registry();
    let want = files(&world, "path");
    let layers = |tag: &str| world.sh(&format!("hone --root root inspect --json {tag}")).json()["layers"].clone();
    // What Hone pushed, by tag, by digest, and the plain ModelPack manifest beside it.
    let digest = world.sh("hone --root root push -q tiny:path 127.0.0.1:5000/m/tiny:1").ok();
    for name in [
        "127.0.0.1:5000/m/tiny:1",
        &format!("127.0.0.1:5000/m/tiny@{}", digest.trim()),
        "127.0.0.1:5000/m/tiny:1-modelpack",
    ] {
        assert_eq!(built(&world, &format!("{{model: 'oci://{name}'}}"), "again"), want, "{name}");
        assert_eq!(layers("tiny:again")[0]["digest"], layers("tiny:path")[0]["digest"]);
    }
    assert!(refused(&world, "{model: 'oci://127.0.0.1:5000/m/tiny:nope'}").contains("127.0.0.1:5000/m/tiny"));
}

#[test]
fn root_trainers_are_images_of_a_registry_or_of_the_store() {
    if !needs(&["docker-registry", "skopeo"]) {
        return;
    }
    let world = registry();
    // A trainer by image: in a registry, then in the store.
    world.sh("mkdir -p t/bin && cp /bin/true t/bin/train && hone trainer pack t trainer --entrypoint /bin/train --cmd go --env A=1 --env B=1 --user 7 \
        && skopeo copy -q --dest-tls-verify=false oci:trainer docker://127.0.0.1:5000/t/trainer:1").ok();
    // What it is made of must be readable when somebody asks for a bill of materials.
    for (crates, want) in [("[{]", "parse /hone/share/crates.json"), ("[]", "it lists nothing")] {
        world.sh(&format!("cp -r t u && mkdir -p u/hone/share && printf '{crates}' >u/hone/share/crates.json")).ok();
        let said =
            world.sh("hone trainer pack u other --entrypoint /bin/train; code=$?; rm -r u; exit $code").fails(1);
        assert!(said.contains(want), "{said}");
    }
    let honefile = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: model}\ntrainer: {image: '127.0.0.1:5000/t/trainer:1', env: {B: '2'}}\n";
    fs::write(world.dir().join("H"), honefile).expect("write");
    world.sh("hone --root root build H -t tiny:trained").ok();
    let view = world.sh("hone --root root inspect --json tiny:trained").json();
    assert_eq!(view["command"], json!(["/bin/train", "go"]));
    world.sh("hone --root root pull 127.0.0.1:5000/t/trainer:1 -t mine:1 && sed -i 's,127.0.0.1:5000/t/trainer:1,mine:1,' H").ok();
    world.sh("hone --root root build H -t tiny:trained2").ok();
    let digest = |tag: &str| world.sh(&format!("hone --root root inspect --json {tag}")).json()["config"].clone();
    assert_eq!(digest("tiny:trained"), digest("tiny:trained2"));
    let config = world
        .sh("hone --root root save tiny:trained -o oci:saved && skopeo inspect --config oci:saved:tiny:trained")
        .json();
    assert_eq!(config["config"]["User"], "7");
    assert_eq!(config["config"]["Env"].as_array().map(|e| e.iter().filter(|v| *v == "B=2").count()), Some(1));
}

#[test]
fn root_servers_and_hubs_give_models_and_are_not_believed() {
    if !needs(&["python3"]) {
        return;
    }
    let mut world = world();
    let want = built(&world, "{model: model}", "path");
    let at = world.dir().display().to_string();
    world.sh("mkdir -p hub/org/tiny hub/org/lying && cp model/* hub/org/tiny && cp model/* hub/org/lying && mv hub/org/lying/tokenizer.json hub/org/lying/lie-tokenizer.json \
        && cp model/model.safetensors cut-m.safetensors && cp model/model.safetensors lie-m.safetensors").ok();
    world.serve();
    let sha = want["model.safetensors"].hex();
    let requests = |what: &str| {
        let all = fs::read_to_string(Path::new(&at).join("requests")).unwrap_or_default();
        all.lines().filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>()
    };
    let url = |name: &str| format!("{{model: 'http://127.0.0.1:8000/{name}', sha256: {sha}}}");
    let got = built(&world, &url("cut-m.safetensors"), "url");
    assert_eq!(got["cut-m.safetensors"].hex(), sha);
    let asked = requests("cut-m");
    assert!(asked.len() == 2 && asked[1].contains("bytes="), "taken up where it broke: {asked:?}");
    built(&world, &url("cut-m.safetensors"), "url2");
    assert_eq!(requests("cut-m").len(), 2, "what was packed before is not fetched again");
    let said = refused(&world, &url("lie-m.safetensors"));
    assert!(said.contains("got sha256:") && said.contains(&sha), "{said}");
    assert!(refused(&world, &url("absent.safetensors")).contains("404"));

    let hub = |base: &str, tag: &str| {
        fs::write(world.dir().join("H"), format!("{HEAD}base: {{model: '{base}'}}\n")).expect("write");
        world.sh(&format!("HF_ENDPOINT=http://127.0.0.1:8000 hone --root root build H -t tiny:{tag}"))
    };
    hub("hf://org/tiny@v1", "hub").ok();
    assert_eq!(files(&world, "hub"), want);
    let view = world.sh("hone --root root inspect --json tiny:hub").json();
    let said =
        |name: &str| view["annotations"][format!("org.opencontainers.image.{name}")].as_str().map(str::to_owned);
    assert_eq!(said("licenses").as_deref(), Some("mit"));
    assert_eq!(said("revision").as_deref(), Some("0123456789abcdef0123456789abcdef01234567"));
    assert_eq!(said("source").as_deref(), Some("http://127.0.0.1:8000/org/tiny"));
    let lied = hub("hf://org/lying", "lied").fails(1);
    assert!(lied.contains("lie-tokenizer.json") || lied.contains("got"), "{lied}");
    hub("hf://org/absent", "absent").fails(1);
    world
        .sh("mkdir hub/org/pickled && cp model/*.json hub/org/pickled && echo x >hub/org/pickled/pytorch_model.bin")
        .ok();
    let said = hub("hf://org/pickled", "pickled").fails(1);
    assert!(said.contains("pytorch_model.bin: it is a pickle") && said.contains("convert the model"), "{said}");
}

#[test]
fn root_platforms_share_the_model_and_a_missing_one_is_told() {
    if !needs(&["skopeo"]) {
        return;
    }
    let world = world();
    let both = "platforms: [linux/amd64, linux/arm64]\n";
    fs::write(world.dir().join("H"), format!("{HEAD}base: {{model: model}}\n{both}")).expect("write");
    world.sh("hone --root root build H -t tiny:both && hone --root root verify tiny:both").ok();
    let raw =
        world.sh("hone --root root save tiny:both -o oci:both && skopeo inspect --raw oci:both:tiny:both").json();
    let manifests = raw["manifests"].as_array().expect("manifests");
    let architectures: Vec<_> = manifests.iter().map(|m| m["platform"]["architecture"].as_str()).collect();
    assert_eq!(architectures, [Some("amd64"), Some("arm64"), Some("unknown")]);
    let weights = world.sh("ls -S both/blobs/sha256 | wc -l").ok();
    assert_eq!(
        weights.trim(),
        "10",
        "one weight, one model, one job; two configurations and manifests; the artifact's two; the index"
    );
    // A program for amd64, and the same with the machine of an ELF header for arm64.
    world.sh("mkdir -p a/bin b/bin && cp /bin/true a/bin/t && cp /bin/true b/bin/t && printf '\\267\\000' | dd of=b/bin/t bs=1 seek=18 conv=notrunc 2>/dev/null \
        && hone trainer pack a trainers --entrypoint /bin/t && hone trainer pack b trainers --append --entrypoint /bin/t").ok();
    let with = |more: &str| {
        let text = format!(
            "apiVersion: hone.dev/v1\nname: tiny\nbase: {{model: model}}\ntrainer: {{layout: trainers}}\n{more}"
        );
        fs::write(world.dir().join("H"), text).expect("write");
        world.sh("hone --root root build H -t tiny:multi")
    };
    with(both).ok();
    let view = world.sh("hone --root root inspect --json tiny:multi").json();
    assert_eq!(view["platforms"], json!(["linux/amd64", "linux/arm64"]));
    world.sh("hone --root root build -q H -t tiny:multi --sbom").ok();
    let bill = world.sh("hone --root root inspect --sbom tiny:multi").ok();
    assert!(bill.contains("SPDXRef-Program-1"), "the program of either trainer: {bill}");
    let said = with("platforms: [linux/riscv64]\n").fails(1);
    assert!(said.contains("there is none for linux/riscv64; it has linux/amd64, linux/arm64"), "{said}");
}

#[test]
fn root_files_of_each_kind_and_pickles_are_told_apart() {
    if !needs(&["setpriv"]) {
        return;
    }
    let world = world();
    world.sh("mkdir m && cp model/model.safetensors m/ && printf '\\010\\007' >m/net.onnx && cp m/net.onnx net.onnx && cp model/model.safetensors w.safetensors").ok();
    for (base, file) in [("w.safetensors", "w.safetensors"), ("net.onnx", "net.onnx"), ("m", "net.onnx")] {
        assert!(built(&world, &format!("{{model: {base}}}"), "kind").contains_key(file), "{base}");
    }
    for (name, bytes) in [("p.bin", "x"), ("p.pt", "x"), ("p.ckpt", "x"), ("p.safetensors", "\\200\\002}q")] {
        world.sh(&format!("printf '{bytes}' >{name}")).ok();
        let said = refused(&world, &format!("{{model: {name}}}"));
        assert!(
            said.contains("it is a pickle") && said.contains("convert the model to safetensors or GGUF"),
            "{said}"
        );
    }
    // A shard that the index names and nobody has.
    world.sh("cp -r model sharded && echo '{\"weight_map\":{\"x\":\"model-00002-of-00002.safetensors\"}}' >sharded/model.safetensors.index.json").ok();
    let text = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: sharded}\n";
    fs::write(world.dir().join("H"), text).expect("write");
    assert!(world.sh("hone --root root build H -t tiny:x").fails(1).contains("model-00002-of-00002.safetensors"));
    // Another directory, user, umask, day and order of files: the same digest.
    fs::write(world.dir().join("H"), format!("{HEAD}base: {{model: model}}\n")).expect("write");
    let first = world.sh("hone --root root build -q H -t tiny:same").ok();
    let second = world.sh("mkdir -p /tmp/o/deep && cd /tmp/o/deep && cp \"$OLDPWD/H\" . && mkdir model && for f in $(ls -r \"$OLDPWD/model\"); do cp \"$OLDPWD/model/$f\" model/; done \
        && chown -R 65534 /tmp/o && umask 077 && SOURCE_DATE_EPOCH=86400 setpriv --reuid 65534 --clear-groups env HOME=/tmp/o $(command -v hone) --root /tmp/o/root build -q H -t tiny:same; rm -rf /tmp/o").ok();
    assert_eq!(first, second);
}
