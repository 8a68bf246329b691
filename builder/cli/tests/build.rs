//! `hone build`, as a user meets it: what it makes, that it makes the same everywhere, and what it refuses.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use common::gguf::Gguf;
use common::{LLAMA, Site, elf, tokenizer};
use serde_json::{Value, json};

const NONE: &str = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: tiny.gguf}\ntrainer: none\n";
const ONNX: &str = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: tiny.gguf}\n";

fn kinds(view: &Value) -> Vec<&str> {
    view["layers"].as_array().expect("layers").iter().map(|l| l["kind"].as_str().expect("kind")).collect()
}

#[test]
fn a_gguf_file_becomes_a_model_image() {
    let site = Site::new();
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    site.write("Honefile", NONE);
    let said = site.ok(&["build", "-t", "tiny:base"]);
    let view = site.json(&["inspect", "--json", "tiny:base"]);
    assert_eq!(kinds(&view), ["weight", "job"]);
    let digest = view["digest"].as_str().expect("digest");
    assert!(said.starts_with(&format!("tiny:base {digest} (")), "{said}");
    // The framing, the job, the configuration and the model's artifact together: a change here gives every model image a new digest.
    assert_eq!(digest, "sha256:b876cd0a5f7d0a1fab19b8a0812bf6933859c5187c76fd6f80251997c4e6f935");
    assert_eq!(view["layers"][0]["digest"], view["layers"][0]["diff_id"]);
    assert_eq!(view["lineage"], "tiny:base");
    assert_eq!(view["base"], json!(null));
    let rows = site.json(&["images", "--json"]);
    assert_eq!(rows[0]["reference"], "tiny:base");
    assert!(site.ok(&["images"]).contains("tiny:base"));
}

#[test]
fn a_model_directory_becomes_a_trainable_image() {
    let mut site = Site::new();
    site.llama_image();
    let view = site.json(&["inspect", "--json", "assistant:base"]);
    assert_eq!(kinds(&view), ["trainer", "weight", "model", "job"]);
    assert_eq!(view["command"], json!(["/hone/bin/hone-train", "train"]));
    assert_eq!(view["architecture"], "amd64");
    assert_eq!(view["model"]["family"], "llama");
    let image = site.store().resolve("assistant:base").expect("resolve").image;
    let job = site.store().job_of(&image).expect("job layer").expect("job");
    let base = job.base.expect("base");
    assert_eq!(base.path, "/models/assistant");
    assert_eq!(base.tokenizer.as_deref(), Some("/models/assistant"));
    let paths: Vec<&str> = base.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(base.files[1].digest, common::digest_of(&site.path("model/model.safetensors")));
    let tensors = job.adapter.tensors.expect("tensors");
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    assert_eq!(tensors[name][0], 4);
    assert!(job.trainer.expect("trainer").readonly_root);
    assert_eq!(job.finetune.expect("finetune").steps, Some(20));
}

/// Builds in a directory of its own, with the given umask and times; gives the digest.
fn digest_under(umask: &str, time: &str, place: &str) -> String {
    let mut site = Site::new();
    site.with_trainer();
    let dir = site.path(place);
    fs::create_dir_all(&dir).expect("directory");
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    let script = format!(
        "umask {umask}; cd '{place}' && cp ../tiny.gguf . 2>/dev/null || cp ../../tiny.gguf .
         mkdir -p root/bin root/etc && printf x > root/etc/file && printf y > root/bin/sh && chmod u+x root/bin/sh
         ln -s ../etc/file root/bin/link
         printf '{}' > tokenizer.json
         printf 'apiVersion: hone.dev/v1\\nname: t\\nbase: {{model: tiny.gguf, tokenizer: tokenizer.json}}\\n' > A
         printf 'apiVersion: hone.dev/v1\\nname: t\\nbase: {{model: tiny.gguf}}\\ntrainer: {{rootfs: root, command: [sh]}}\\n' > B
         find . -exec touch -h -d '{time}' {{}} +",
        tokenizer(16)
    );
    assert!(Command::new("sh").arg("-c").arg(script).current_dir(site.dir.path()).status().expect("sh").success());
    let built = site.ok(&["build", "-q", &format!("{place}/A"), "-t", "a:x"]);
    let own = site.ok(&["build", "-q", &format!("{place}/B"), "-t", "b:x"]);
    format!("{built}{own}")
}

#[test]
fn the_same_inputs_give_the_same_digest_whatever_place_umask_and_times() {
    let first = digest_under("022", "2001-02-03 04:05:06", "here");
    assert_eq!(first, digest_under("077", "2026-01-01 00:00:00", "another/place"));
    assert_eq!(first.lines().count(), 2);
}

#[test]
fn building_again_is_the_same_image_and_leaves_nothing_beside_it() {
    let site = Site::new();
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    site.write("Honefile", NONE);
    let first = site.ok(&["build", "-q", "-t", "tiny:base"]);
    let blobs = site.files("blobs/sha256");
    assert_eq!(site.ok(&["build", "-q", "-t", "tiny:base"]), first);
    assert_eq!(site.files("blobs/sha256"), blobs);
    // Another model under the same name: what only the old one needed goes.
    site.write("tiny.gguf", Gguf::llama(17, 17).bytes());
    assert_ne!(site.ok(&["build", "-q", "-t", "tiny:base"]), first);
    let now = site.files("blobs/sha256");
    assert_eq!(now.len(), blobs.len());
    assert!(blobs.iter().all(|b| !now.contains(b)), "{now:?}");
}

#[test]
fn progress_is_lines_or_json_and_quiet_prints_the_digest_alone() {
    let site = Site::new();
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    site.write("Honefile", NONE);
    let output = site.command(&["build", "-t", "tiny:base"]).output().expect("hone");
    let lines = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(lines.starts_with("tiny.gguf ") && lines.contains("\njob "), "{lines}");
    let output = site.command(&["build", "-t", "tiny:base", "--progress", "json"]).output().expect("hone");
    for line in String::from_utf8(output.stderr).expect("UTF-8").lines() {
        let event: Value = serde_json::from_str(line).expect("one object a line");
        assert!(["begin", "end"].contains(&event["event"].as_str().expect("event")), "{event}");
    }
    let built: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&built["event"], &built["reference"]), (&json!("built"), &json!("tiny:base")));
    let output = site.command(&["build", "-q", "-t", "tiny:base"]).output().expect("hone");
    assert!(output.stderr.is_empty());
    assert_eq!(output.stdout, format!("{}\n", built["digest"].as_str().expect("digest")).into_bytes());
}

/// `created` of an image's configuration, and of each of its history's steps.
fn created(site: &Site, name: &str) -> Vec<String> {
    let image = site.store().resolve(name).expect("resolve").image;
    let config = image.config().value();
    let all = config.history.iter().map(|step| &step.created).chain([&config.created]);
    all.map(|time| time.clone().expect("a time")).collect()
}

#[test]
fn an_image_says_that_it_was_made_when_its_builder_wants() {
    let mut site = Site::new();
    site.llama_image();
    let made = |site: &Site, time: &str| {
        site.ok(&["build", ".", "-t", "t:x", "--created", time]);
        created(site, "t:x")
    };
    let plain = site.ok(&["build", ".", "-q", "-t", "assistant:base"]);
    assert!(created(&site, "assistant:base").iter().all(|time| time == "1970-01-01T00:00:00Z"));
    assert_eq!(site.ok(&["build", ".", "-q", "-t", "t:x", "--created", "0"]), plain, "the default's digest");
    for time in ["2026-11-23T03:00:00Z", "1795402800"] {
        assert!(made(&site, time).iter().all(|time| time == "2026-11-23T03:00:00Z"), "{time}");
    }
    assert!(made(&site, "now").iter().all(|time| time.as_str() > "2025"));
    // The layers are the same, whatever the time is, and the model's artifact agrees.
    site.ok(&["build", ".", "-t", "t:x", "--created", "2026-11-23T03:00:00Z"]);
    let (old, new) = (site.json(&["inspect", "--json", "assistant:base"]), site.json(&["inspect", "--json", "t:x"]));
    assert_ne!(old["digest"], new["digest"]);
    for (a, b) in old["layers"].as_array().expect("layers").iter().zip(new["layers"].as_array().expect("layers")) {
        assert_eq!(a["digest"], b["digest"]);
    }
    assert!(site.ok(&["verify", "t:x"]).contains("ok"));
    // A version says what its base says.
    site.stage("run1", "t:x", common::exited(0));
    site.ok(&["commit", "run1"]);
    assert!(created(&site, "t:x-v1").iter().all(|time| time == "2026-11-23T03:00:00Z"));
    let mut command = site.command(&["build", ".", "-t", "t:x", "--created", "SOURCE_DATE_EPOCH"]);
    let output = command.env_remove("SOURCE_DATE_EPOCH").output().expect("hone");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("the variable SOURCE_DATE_EPOCH is not set"), "{said}");
    site.env("SOURCE_DATE_EPOCH", "1700000000");
    assert!(made(&site, "SOURCE_DATE_EPOCH").iter().all(|time| time == "2023-11-14T22:13:20Z"));
    // The variable alone decides nothing: who wants the same digest everywhere need not clear it.
    assert_eq!(site.ok(&["build", ".", "-q", "-t", "assistant:base"]), plain);
}

/// Builds `honefile` in a site made by `prepare`, wants a refusal, and nothing left of it; gives the message.
fn refused(honefile: &str, prepare: impl FnOnce(&mut Site)) -> String {
    let mut site = Site::new();
    site.write("Honefile", honefile);
    prepare(&mut site);
    let said = site.fails(&["build", ".", "-t", "tiny:base"]);
    site.assert_empty();
    said
}

#[test]
fn a_missing_model_is_refused() {
    let said = refused(NONE, |_| {});
    assert_eq!(said, "hone: base.model ./tiny.gguf: it does not exist; the path is relative to the Honefile");
}

#[test]
fn a_truncated_model_is_refused() {
    let whole = Gguf::llama(16, 16).bytes();
    let last = whole.len() - 4096;
    let said = refused(NONE, |site| drop(site.write("tiny.gguf", &whole[..last])));
    let want = "hone: ./tiny.gguf: truncated: tensor blk.0.ffn_down.weight ends at byte";
    assert!(said.starts_with(want), "{said}");
    let said = refused(NONE, |site| drop(site.write("tiny.gguf", &whole[..100])));
    assert!(said.starts_with("hone: ./tiny.gguf: truncated: "), "{said}");
    let said = refused(NONE, |site| drop(site.write("tiny.gguf", "")));
    assert!(said.starts_with("hone: ./tiny.gguf: truncated: "), "{said}");
}

#[test]
fn an_unknown_architecture_is_refused_by_the_built_in_trainer_only() {
    let mut model = Gguf::llama(16, 16);
    model.text("general.architecture", "mamba");
    let bytes = model.bytes();
    let said = refused(ONNX, |site| {
        site.with_trainer();
        site.write("tiny.gguf", &bytes);
    });
    let want = "hone: ./tiny.gguf: architecture mamba is not supported; supported: llama, qwen2, qwen3";
    assert_eq!(said, want);
    let site = Site::new();
    site.write("Honefile", NONE);
    site.write("tiny.gguf", bytes);
    site.ok(&["build", "-t", "tiny:base"]);
}

#[test]
fn an_unknown_quantization_is_refused() {
    let mut model = Gguf::llama(16, 16);
    model.tensors[3].2 = 14;
    let said = refused(ONNX, |site| {
        site.with_trainer();
        site.write("tiny.gguf", model.bytes());
    });
    assert!(said.contains("tensor blk.0.attn_q.weight"), "{said}");
}

#[test]
fn a_tokenizer_that_does_not_fit_is_refused() {
    let said = refused(ONNX, |site| {
        site.with_trainer();
        site.write("tiny.gguf", Gguf::llama(17, 16).bytes());
    });
    assert_eq!(
        said,
        "hone: ./tiny.gguf: the tokenizer has 17 tokens, the model's embedding only 16; it belongs to another model"
    );
    let said = refused(ONNX, |site| {
        site.with_trainer();
        site.write("tiny.gguf", Gguf::llama(0, 16).bytes());
    });
    assert!(said.contains("tokenizer"), "{said}");
    let apart = ONNX.replace("tiny.gguf}", "tiny.gguf, tokenizer: tok}");
    let said = refused(&apart, |site| {
        site.with_trainer();
        site.write("tiny.gguf", Gguf::llama(0, 16).bytes());
        site.write("tok/tokenizer.json", tokenizer(99));
    });
    let want = "hone: ./tok/tokenizer.json: the tokenizer has 99 tokens, the model's embedding only 16; it belongs to another model";
    assert_eq!(said, want);
    let said = refused(&apart, |site| {
        site.with_trainer();
        site.write("tiny.gguf", Gguf::llama(0, 16).bytes());
        site.write("tok/vocab.json", "{}");
    });
    assert_eq!(said, "hone: base.tokenizer ./tok: want tokenizer.json, or a directory that holds it");
}

#[test]
fn a_tokenizer_apart_has_a_layer_of_its_own() {
    let mut site = Site::new();
    site.with_trainer();
    site.write("Honefile", ONNX.replace("tiny.gguf}", "tiny.gguf, tokenizer: tok}"));
    site.write("tiny.gguf", Gguf::llama(0, 16).bytes());
    site.write("tok/tokenizer.json", tokenizer(16));
    site.write("tok/tokenizer_config.json", "{}");
    site.write("tok/notes.txt", "not a tokenizer's");
    site.ok(&["build", "-t", "tiny:base"]);
    let view = site.json(&["inspect", "--json", "tiny:base"]);
    assert_eq!(kinds(&view), ["trainer", "weight", "tokenizer", "job"]);
    let image = site.store().resolve("tiny:base").expect("resolve").image;
    let mut tar = tar::Archive::new(
        site.store().open_layer(&image.layers()[2], &hone_store::Budget::of_image(&image)).expect("layer"),
    );
    let names: Vec<String> = tar
        .entries()
        .expect("entries")
        .map(|e| e.expect("entry").path().expect("path").display().to_string())
        .collect();
    assert_eq!(
        names,
        ["hone/", "hone/tokenizer/", "hone/tokenizer/tokenizer.json", "hone/tokenizer/tokenizer_config.json"]
    );
}

#[test]
fn pickles_are_refused() {
    let said = refused("apiVersion: hone.dev/v1\nname: t\nbase: {model: m}\ntrainer: none\n", |site| {
        site.llama_dir("m", 32);
        site.write("m/pytorch_model.bin", "x");
    });
    assert_eq!(
        said,
        "hone: ./m/pytorch_model.bin: it is a pickle, and loading one can run any code; convert the model to safetensors or GGUF, or remove the file"
    );
    let said = refused(NONE, |site| drop(site.write("tiny.gguf", b"PK\x03\x04 renamed")));
    assert!(said.contains("it is a pickle"), "{said}");
}

#[test]
fn a_link_that_leads_out_of_the_model_is_packed_only_when_that_is_asked_for() {
    let honefile = "apiVersion: hone.dev/v1\nname: t\nbase: {model: m}\ntrainer: none\n";
    let prepare = |site: &Site| {
        site.llama_dir("m", 32);
        site.write("secret/id_rsa", "-----BEGIN OPENSSH PRIVATE KEY-----");
        symlink("../secret/id_rsa", site.path("m/merges.txt")).expect("link");
    };
    let said = refused(honefile, |site| prepare(site));
    assert!(
        said.starts_with("hone: ./m/merges.txt: this link leads out of the directory, to SITE/secret/id_rsa; "),
        "{said}"
    );
    assert!(said.contains("follow_links: true"), "{said}");
    let site = Site::new();
    prepare(&site);
    site.write("Honefile", honefile.replace("model: m", "model: m, follow_links: true"));
    site.ok(&["build", "-t", "tiny:base"]);
    // So are a tokenizer's.
    let apart = honefile.replace("model: m", "model: m, tokenizer: tok");
    let said = refused(&apart, |site| {
        site.llama_dir("m", 32);
        site.write("tok/tokenizer.json", tokenizer(16));
        site.write("secret/id_rsa", "secret");
        symlink("../secret/id_rsa", site.path("tok/merges.txt")).expect("link");
    });
    assert!(said.contains("tok/merges.txt: this link leads out of the directory"), "{said}");
}

#[test]
fn nothing_waits_for_a_fifo() {
    let fifo = |site: &Site, name: &str| {
        assert!(Command::new("mkfifo").arg(site.path(name)).status().expect("mkfifo").success());
    };
    let said = refused(NONE, |site| fifo(site, "tiny.gguf"));
    assert_eq!(said, "hone: ./tiny.gguf: it is a FIFO, and a model's files are regular files; remove it");
    let site = Site::new();
    fifo(&site, "Honefile");
    let said = site.fails(&["build", ".", "-t", "tiny:base"]);
    assert_eq!(said, "hone: read Honefile ./Honefile: it is a FIFO, want a regular file");
    // One that is named is the user's own: `hone build <(make-honefile)`.
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    let script =
        format!("'{}' build <(printf '{}') -t tiny:base", env!("CARGO_BIN_EXE_hone"), NONE.replace('\n', "\\n"));
    let script = script.replace("tiny.gguf", &site.path("tiny.gguf").display().to_string());
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).env("HONE_ROOT", site.path("root"));
    let output = shell.output().expect("bash");
    assert!(output.status.success(), "{output:?}");
}

/// `oras push REF m.gguf`: the layer says that it is a tar, and its name that it is not.
#[test]
fn a_file_that_oras_pushed_is_the_model() {
    let site = Site::new();
    let gguf = Gguf::llama(16, 16).bytes();
    let blob = |bytes: &[u8]| {
        let digest = hone_contract::Digest::of(bytes);
        site.write(&format!("l/blobs/sha256/{}", digest.hex()), bytes);
        (digest, bytes.len())
    };
    let build = |tag: &str, title: Value| {
        let ((config, _), (layer, size)) = (blob(b"{}"), blob(&gguf));
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.unknown.artifact.v1",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size,
                "annotations": title}]});
        let (digest, size) = blob(manifest.to_string().as_bytes());
        site.write("l/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        site.write(
            "l/index.json",
            json!({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size}]})
            .to_string(),
        );
        site.write("Honefile", NONE.replace("tiny.gguf", "'oci:l'"));
        site.command(&["build", "-q", "-t", tag]).output().expect("hone")
    };
    let output = build("tiny:oras", json!({"org.opencontainers.image.title": "tiny.gguf"}));
    assert!(output.status.success(), "{output:?}");
    site.write("tiny.gguf", &gguf);
    site.write("Honefile", NONE);
    let base = |tag: &str| {
        site.store().job_of(&site.store().resolve(tag).expect("resolve").image).expect("layer").expect("job").base
    };
    site.ok(&["build", "-q", "-t", "tiny:path"]);
    assert_eq!(base("tiny:oras"), base("tiny:path"));
    let output = build("tiny:other", json!({}));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("is called a tar") && said.contains("and is none, it is a GGUF file"), "{said}");
}

#[test]
fn a_honefile_in_utf_16_is_read() {
    let site = Site::new();
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    site.write("Honefile", NONE);
    let want = site.ok(&["build", "-q", "-t", "tiny:base"]);
    let units: Vec<u8> = NONE.replace('\n', "\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    site.write("Honefile", [b"\xff\xfe".as_slice(), &units].concat());
    assert_eq!(site.ok(&["build", "-q", "-t", "tiny:base"]), want);
    site.write("Honefile", b"name: caf\xe9\n");
    let said = site.fails(&["build", "-t", "tiny:base"]);
    assert_eq!(said, "hone: ./Honefile: it is neither UTF-8 nor UTF-16 text; save it as UTF-8");
}

#[test]
fn an_unknown_key_is_shown_with_line_and_caret() {
    let said = refused("apiVersion: hone.dev/v1\nname: tiny\nfinetune:\n  lerning_rate: 1\n", |_| {});
    let want = "\
hone: ./Honefile:4:3: unknown key `lerning_rate`
  |
4 |   lerning_rate: 1
  |   ^^^^^^^^^^^^
  |
  = help: did you mean `learning_rate`? known keys here: ";
    assert!(said.starts_with(want), "{said}");
}

#[test]
fn a_missing_honefile_and_a_missing_trainer_say_what_to_do() {
    let site = Site::new();
    assert_eq!(
        site.fails(&["build", "nowhere", "-t", "a:b"]),
        "hone: read Honefile nowhere: No such file or directory (os error 2)"
    );
    let mut site = Site::new();
    site.env("HONE_TRAINERS", "/nonexistent");
    site.write("Honefile", ONNX);
    let said = site.fails(&["build", "-t", "a:b"]);
    assert!(said.starts_with("hone: trainer onnx: not found in /nonexistent/onnx, "), "{said}");
    assert!(said.contains("`./x build` makes it"), "{said}");
}

#[test]
fn a_missing_shard_is_named() {
    let said = refused(LLAMA, |site| {
        site.with_trainer();
        site.llama_dir("model", 32);
        let index = r#"{"weight_map":{"a":"model.safetensors","b":"model-00002.safetensors"}}"#;
        site.write("model/model.safetensors.index.json", index);
    });
    assert_eq!(
        said,
        "hone: base.model ./model: model-00002.safetensors is missing; model.safetensors.index.json names it"
    );
}

#[test]
fn a_root_file_system_of_ones_own_trains() {
    let site = Site::new();
    let sh = site.write("rootfs/bin/sh", elf());
    fs::set_permissions(sh, fs::Permissions::from_mode(0o4755)).expect("mode");
    site.write(
        "Honefile",
        "apiVersion: hone.dev/v1\nname: own\ntrainer:\n  rootfs: rootfs\n  command: [python, train.py]\n  workdir: /app\n  env: {A: b}\n  user: 1000:1000\n",
    );
    site.ok(&["build", "-t", "own:base"]);
    let view = site.json(&["inspect", "--json", "own:base"]);
    assert_eq!(kinds(&view), ["trainer", "job"]);
    assert_eq!(view["command"], json!(["python", "train.py"]));
    let image = site.store().resolve("own:base").expect("resolve").image;
    let config = &image.config().value().config;
    assert_eq!(config.working_dir.as_deref(), Some("/app"));
    assert_eq!(config.user.as_deref(), Some("1000:1000"));
    assert!(config.env.as_ref().expect("env").contains(&"A=b".to_owned()));
    let job = site.store().job_of(&image).expect("layer").expect("job");
    assert!(job.trains(&["python".to_owned(), "train.py".to_owned()]));
    assert_eq!(job.adapter.tensors, None);
    site.write("rootfs/hone/job.json", "{}");
    let said = site.fails(&["build", "-t", "own:base"]);
    assert_eq!(
        said,
        "hone: trainer.rootfs: /hone/job.json: this place in the image belongs to Hone; remove it from the root filesystem"
    );
}

#[test]
fn packing_a_trainer_twice_gives_the_same_bytes_and_never_destroys_other_things() {
    let mut site = Site::new();
    site.with_trainer();
    let first = fs::read(site.path("trainers/onnx/index.json")).expect("index");
    site.ok(&["trainer", "pack", "trainer", "trainers/onnx"]);
    assert_eq!(fs::read(site.path("trainers/onnx/index.json")).expect("index"), first);
    let mut names: Vec<_> =
        fs::read_dir(site.path("trainers/onnx")).expect("layout").map(|e| e.expect("entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
    site.write("precious/data", "mine");
    let said = site.fails(&["trainer", "pack", "trainer", "precious"]);
    assert_eq!(said, "hone: pack trainer trainer: write precious: something else is there, not an OCI layout");
    assert_eq!(fs::read(site.path("precious/data")).expect("data"), b"mine");
}

#[test]
fn a_damaged_trainer_is_refused() {
    let mut site = Site::new();
    site.with_trainer();
    let blobs = site.path("trainers/onnx/blobs/sha256");
    let zstd = |path: &PathBuf| fs::read(path).expect("blob").starts_with(b"\x28\xb5\x2f\xfd");
    let layer = fs::read_dir(&blobs).expect("blobs").map(|e| e.expect("entry").path()).find(zstd).expect("a layer");
    let mut bytes = fs::read(&layer).expect("blob");
    *bytes.last_mut().expect("byte") ^= 1;
    fs::remove_file(&layer).expect("remove");
    fs::write(&layer, bytes).expect("write");
    site.write("Honefile", ONNX);
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    let said = site.fails(&["build", "-t", "tiny:base"]);
    assert!(said.starts_with("hone: read blob sha256:") && said.contains(", want sha256:"), "{said}");
    site.assert_empty();
}

#[test]
fn skopeo_reads_the_store_and_saved_layouts() {
    let site = Site::new();
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    site.write("Honefile", NONE);
    let digest = site.ok(&["build", "-q", "-t", "tiny:base"]);
    site.ok(&["save", "tiny:base", "-o", "oci:saved"]);
    for layout in ["root", "saved"] {
        let output = Command::new("skopeo")
            .args(["inspect", "--format", "{{.Digest}}", &format!("oci:{layout}:tiny:base")])
            .current_dir(site.dir.path())
            .output()
            .expect("skopeo is installed");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), digest, "{layout}");
    }
}

#[test]
fn what_will_be_refused_on_the_device_is_noted_at_build() {
    let mut site = Site::new();
    site.with_trainer();
    site.write("Honefile", ONNX);
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    let output = site.command(&["build", "-t", "tiny:base"]).output().expect("hone");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let last = said.lines().last().expect("a line");
    assert!(output.status.success() && last.starts_with("note: the model has no chat template"), "{said}");
    let output = site.command(&["build", "-q", "-t", "tiny:base"]).output().expect("hone");
    assert!(output.status.success() && output.stderr.is_empty());
}
