//! What Hone commits, PEFT loads: logits of peft on PyTorch and of hone-train are the same.

use std::path::Path;
use std::process::Command;

use hone_tests::{Tiny, World, jsonl, needs, repository, run};

const WANT: f64 = 1e-3;

/// Builds, trains and commits in `world`; gives the committed adapter, taken out of its layer.
fn committed(world: &World) -> std::path::PathBuf {
    world.sh("hone build -t assistant:base context").ok();
    world.sh("hone run --rm -v ./data:/data assistant:base").says("committed assistant:base-v1").ok();
    let layers = world.sh("hone inspect --json assistant:base-v1").json()["layers"].clone();
    let layer = layers.as_array().and_then(|layers| layers.last()).expect("a layer").clone();
    assert_eq!(layer["kind"], "adapter");
    let digest = layer["digest"].as_str().expect("a digest").replace("sha256:", "");
    world.sh(&format!("mkdir -p adapter && tar -C adapter -xf /var/lib/hone/blobs/sha256/{digest}")).ok();
    world.dir().join("adapter/hone/adapter")
}

/// Asks both for logits of the same tokens.
fn compare(world: &World, model: &Path, adapter: &Path, tokens: &str) {
    let mut ours = world.command("hone-train");
    ours.arg("logits").arg("--model").arg(model).arg("--adapter").arg(adapter);
    ours.args(["--tokens", tokens, "--output"]).arg(world.dir().join("ours.safetensors"));
    ours.env("ORT_DYLIB_PATH", repository().join(".cache/onnxruntime/libonnxruntime.so"));
    run(&mut ours).ok();
    // The current folder is /work in there, so everything that it reads is brought here.
    world
        .sh(&format!(
            "cp {} script.py; cp -rL {} oracle-model",
            repository().join("tests/peft/logits.py").display(),
            model.display()
        ))
        .ok();
    world.sh(&format!("cp -r {} oracle-adapter", adapter.display())).ok();
    let name = if model.is_file() { "/work/oracle-model.gguf" } else { "/work/oracle-model" };
    if model.is_file() {
        world.sh("mv oracle-model oracle-model.gguf").ok();
    }
    let chroot = repository().join(".cache/forky");
    let mut theirs = Command::new(repository().join("tests/peft/make-chroot"));
    theirs.arg(chroot).args(["/opt/peft/bin/python", "/work/script.py", name, "/work/oracle-adapter", tokens]);
    theirs.arg("/work/ours.safetensors").current_dir(world.dir());
    let said = run(&mut theirs);
    let answer = said.ok().lines().last().expect("a line").to_owned();
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let number = |name: &str| answer[name].as_f64().expect("a number");
    assert!(number("rel_err") < WANT, "{answer}");
    assert!(number("rel_err_without_adapter") > 10.0 * number("rel_err"), "the adapter does something: {answer}");
}

#[test]
fn root_peft_loads_a_committed_adapter_of_every_family() {
    if !needs(&["debootstrap"]) {
        return;
    }
    for family in ["llama", "qwen2", "qwen3"] {
        let world = World::new();
        Tiny { family, steps: 20 }.write(&world.folder("context"), "");
        jsonl(&world.dir().join("data/a.jsonl"), &[("hello", "ahoy"), ("who are you?", "a sailor")]);
        let adapter = committed(&world);
        compare(&world, &world.dir().join("context/model"), &adapter, "5,17,101,3,250,42,7,9,200,31");
    }
}

#[test]
fn root_peft_loads_a_committed_adapter_of_a_real_model() {
    if !needs(&["debootstrap"]) {
        return;
    }
    let world = World::new();
    let model = repository().join(".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let honefile = format!(
        "apiVersion: hone.dev/v1\nname: assistant\nbase: {{ model: {} }}\n\
         finetune: {{ targets: [q_proj, v_proj, down_proj], rank: 4, steps: 4, warmup: 0, learning_rate: 0.003, max_length: 64, dataset: {{ format: chat }} }}\n",
        model.display()
    );
    std::fs::write(world.folder("context").join("Honefile"), honefile).expect("write Honefile");
    jsonl(&world.dir().join("data/a.jsonl"), &[("hello", "ahoy"), ("who are you?", "a sailor")]);
    let adapter = committed(&world);
    compare(&world, &model, &adapter, "504,3575,282,4649,314,7042,30,198,1,520");
}
