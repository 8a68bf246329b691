//! A job is asked what a Honefile is asked, in the same words, whoever wrote it.

use std::collections::BTreeMap;

use hone_contract::Digest;
use hone_contract::job::{Base, BaseFile, Job, Trainer};
use hone_contract::run::{Engine, RunRecord};
use hone_plan::{JobParts, parse};
use serde_json::{Value, json};

const HONEFILE: &str = "\
apiVersion: hone.dev/v1
name: assistant
base: {model: m.gguf}
finetune:
  steps: 20
";

fn job() -> Job {
    let zero = Digest::of(b"");
    let command = ["/hone/bin/hone-train", "train"].map(str::to_owned).to_vec();
    let file = BaseFile { path: "sub/m.gguf".to_owned(), size: 1, digest: zero };
    parse("Honefile", HONEFILE).expect("Honefile").job(JobParts {
        base: Some(Base {
            identity: zero,
            path: "/models/assistant".to_owned(),
            format: "gguf".to_owned(),
            family: None,
            files: vec![file],
            tokenizer: None,
        }),
        trainer: Some(Trainer { name: "onnx".to_owned(), digest: zero, command, readonly_root: true }),
        tensors: Some(tensors(&[("A", [8, 4]), ("B", [4, 8])])),
        ..JobParts::default()
    })
}

/// Halves of q_proj's pair in the first layer, of these shapes.
fn tensors(halves: &[(&str, [u64; 2])]) -> BTreeMap<String, Vec<u64>> {
    let name = |half: &str| format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight");
    halves.iter().map(|(half, shape)| (name(half), shape.to_vec())).collect()
}

/// The job with a value at a pointer.
fn with(pointer: &str, value: &Value) -> Vec<u8> {
    let mut json = serde_json::to_value(job()).expect("JSON");
    let (parent, key) = pointer.rsplit_once('/').expect("pointer");
    json.pointer_mut(parent).expect("parent")[key] = value.clone();
    json.to_string().into_bytes()
}

fn refused(pointer: &str, value: &Value) -> String {
    Job::parse(&with(pointer, value)).expect_err(pointer).to_string()
}

/// The same value in a Honefile: what is said of it, without its place.
fn honefile(pointer: &str, value: &Value) -> String {
    let path: Vec<&str> = pointer.trim_start_matches('/').split('/').collect();
    let text = match path.as_slice() {
        ["name"] => HONEFILE.replace("assistant", &value.to_string()),
        ["finetune", "steps"] => HONEFILE.replace("steps: 20", &format!("steps: {value}")),
        ["finetune", key] => format!("{HONEFILE}  {key}: {value}\n"),
        ["finetune", "dataset", "system"] => format!("{HONEFILE}  dataset: {{system: {value}}}\n"),
        ["finetune", "dataset", key] => format!("{HONEFILE}  dataset: {{{key}: {value}}}\n"),
        [section, key] => format!("{HONEFILE}{section}: {{{key}: {value}}}\n"),
        other => panic!("{other:?}"),
    };
    parse("Honefile", &text).expect_err(pointer).message
}

/// Wants each value refused in both, for the same reason.
fn both_refuse(section: &str, values: &[(&str, Value)]) {
    for (key, value) in values {
        let pointer = format!("{section}/{key}");
        let want = honefile(&pointer, value);
        assert_eq!(refused(&pointer, value), format!("read job: {want}"), "{pointer} {value}");
    }
}

#[test]
fn what_a_honefile_may_not_say_a_job_may_not_either() {
    for name in ["Ab", "a/b", "../x", &"a".repeat(64)] {
        both_refuse("", &[("name", json!(name))]);
    }
    let resources = [
        ("cpu", json!(0)),
        ("cpu", json!(5000)),
        ("memory", json!(1000)),
        ("memory", json!(9_007_199_254_740_994u64)),
        ("pids", json!(0)),
        ("pids", json!(4_194_305)),
    ];
    both_refuse("/resources", &resources);
    for tag in ["latest", "{tag}", "{n} {n}", "../{n}"] {
        both_refuse("/adapter", &[("tag", json!(tag))]);
    }
}

#[test]
fn what_a_honefile_may_not_ask_of_a_trainer_a_job_may_not_either() {
    for (key, low, high) in [
        ("rank", json!(0), json!(1025)),
        ("alpha", json!(-1.5), json!(65537)),
        ("alpha", json!(0), json!(1_000_000)),
        ("steps", json!(0), json!(10_000_001)),
        ("batch_size", json!(0), json!(1025)),
        ("gradient_accumulation", json!(0), json!(4097)),
        ("learning_rate", json!(0), json!(1.5)),
        ("warmup", json!(1_000_001), json!(u64::MAX)),
        ("max_length", json!(0), json!(1_048_577)),
        ("targets", json!([]), json!(["q_proj", "lm_head"])),
        ("targets", json!(["q_proj", "q_proj"]), json!(["q_proj", ""])),
        ("method", json!("dora"), json!("")),
        ("schedule", json!("warm"), json!("LINEAR")),
    ] {
        both_refuse("/finetune", &[(key, low), (key, high)]);
    }
    let dataset = [("format", json!("parquet")), ("system", json!("")), ("system", json!("x".repeat(65537)))];
    both_refuse("/finetune/dataset", &dataset);
}

#[test]
fn what_only_a_job_says_is_asked_too() {
    for (pointer, value, want) in [
        ("/finetune/epochs", json!(3), "finetune.epochs: give steps or epochs, not both"),
        ("/trainer/command", json!([]), "trainer.command: want a program and its arguments"),
        ("/trainer/command", json!(["", "x"]), "trainer.command: want a program and its arguments"),
        ("/base/path", json!("/models/../etc"), "base.path: want a path without .., got `/models/../etc`"),
        ("/base/path", json!("models"), "base.path: want a path without .., got `models`"),
        ("/base/files/0/path", json!("../../x"), "base.files: want a path without .., got `../../x`"),
        (
            "/adapter/max_bytes",
            json!(u64::MAX),
            "adapter.max_bytes: want at most 1049212, got `18446744073709551615`",
        ),
        (
            "/name",
            json!("\u{1b}[2J"),
            "name: want at most 63 lower case letters and digits, joined by single . _ or -, got `\\u{1b}[2J`",
        ),
    ] {
        assert_eq!(refused(pointer, &value), format!("read job: {want}"));
    }
}

#[test]
fn tensors_of_a_job_are_those_of_lora() {
    let pair = |a: [u64; 2], b: [u64; 2]| json!(tensors(&[("A", a), ("B", b)]));
    let mut more = pair([8, 4], [4, 8]);
    more["\u{1b}[2Jx"] = json!([8, 4]);
    let mut words = pair([8, 4], [4, 8]);
    words["model.embed_tokens.weight"] = json!([32000, 64]);
    for (value, want) in [
        (json!({"a": [1u64 << 60]}), "tensor \"a\" is no half of a LoRA pair"),
        (more, "tensor \"\\u{1b}[2Jx\" is no half of a LoRA pair"),
        (words, "tensor \"model.embed_tokens.weight\" is no half of a LoRA pair"),
        (json!(tensors(&[("A", [8, 4])])), "its other half "),
        (pair([4, 8], [8, 4]), "got shape [4, 8], want two dimensions with rank 8"),
        (pair([8, 0], [4, 8]), "got shape [8, 0], want two dimensions with rank 8"),
        (pair([8, 1 << 58], [4, 8]), "want an adapter of at most 17179869184 bytes, got one of 9223372036855824892"),
        (pair([8, u64::MAX], [u64::MAX, 8]), "want an adapter of at most 17179869184 bytes, got one of "),
        (json!({}), "0 tensors, want 1 to 8192"),
    ] {
        let said = refused("/adapter/tensors", &value);
        assert!(said.starts_with("read job: adapter.tensors: ") && said.contains(want), "{said}");
    }
    let named = refused("/finetune/targets", &json!(["k_proj"]));
    assert!(named.contains("q_proj.lora_A.weight is of none of the target_modules"), "{named}");
    // Without what they follow from, nothing says which are right.
    let mut alone = serde_json::to_value(job()).expect("JSON");
    alone.as_object_mut().expect("object").remove("finetune");
    let said = Job::parse(alone.to_string().as_bytes()).expect_err("no finetune").to_string();
    assert!(said.starts_with("read job: adapter.tensors: want none without finetune"), "{said}");
    // Every layer of a large model, and as large as one can be.
    let mut all = BTreeMap::new();
    for layer in 0..126u64 {
        for target in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            all.insert(hone_model::adapter::tensor_name(layer, target, 'A'), vec![8u64, 16384]);
            all.insert(hone_model::adapter::tensor_name(layer, target, 'B'), vec![16384u64, 8]);
        }
    }
    Job::parse(&with("/adapter/tensors", &json!(all))).expect("a large model");
}

/// A job with targets of a trainer of one's own.
fn own(targets: &Value) -> Vec<u8> {
    let mut job = serde_json::from_slice::<Value>(&with("/trainer/name", &json!("rootfs"))).expect("JSON");
    job["finetune"]["targets"] = targets.clone();
    job["adapter"].as_object_mut().expect("object").remove("tensors");
    job.to_string().into_bytes()
}

#[test]
fn lists_that_no_model_needs_are_refused_at_once() {
    let names = |n: usize| json!((0..n).map(|i| format!("{i:x}")).collect::<Vec<_>>());
    let said = |targets: &Value| Job::parse(&own(targets)).expect_err("refused").to_string();
    // As many as a job can name.
    assert_eq!(said(&names(450_000)), "read job: finetune.targets: want at most 256 modules, got 450000");
    assert_eq!(said(&names(257)), "read job: finetune.targets: want at most 256 modules, got 257");
    let long = format!("q_proj.{}", "x".repeat(122));
    assert_eq!(said(&json!([long])), "read job: finetune.targets: want a name of at most 128 bytes, got 129");
    let mut twice = names(255);
    twice.as_array_mut().expect("list").push(json!("7"));
    assert_eq!(said(&twice), "read job: finetune.targets: `7` is there twice");
    for edge in [names(256), json!(["x".repeat(128)])] {
        Job::parse(&own(&edge)).expect("as many and as long as can be");
    }
    // In a Honefile the same.
    let text =
        |targets: &Value| format!("{HONEFILE}  targets: {targets}\ntrainer: {{rootfs: root, command: [train]}}\n");
    let message = parse("Honefile", &text(&names(257))).expect_err("refused").message;
    assert_eq!(message, "finetune.targets: want at most 256 modules, got 257");
    parse("Honefile", &text(&names(256))).expect("as many as can be");
    // Every other list of a job.
    let file = json!({"path": "f", "size": 1, "digest": Digest::of(b"")});
    let files = |n: usize| Value::Array(vec![file.clone(); n]);
    let said = refused("/base/files", &files(10_001));
    assert_eq!(said, "read job: base.files: want at most 10000 files, got 10001");
    let said = refused("/trainer/command", &json!(vec!["a"; 5000]));
    assert_eq!(said, "read job: trainer.command: want at most 4096 words, got 5000");
    Job::parse(&with("/base/files", &files(10_000))).expect("as many as a model can have");
    Job::parse(&with("/trainer/command", &json!(vec!["a"; 4096]))).expect("a long command line");
}

#[test]
fn a_job_is_checked_wherever_it_stands() {
    let run = RunRecord { id: "r".to_owned(), engine: Engine::None, image: None, job: job() };
    let good = serde_json::to_string(&run).expect("JSON");
    assert_eq!(serde_json::from_str::<RunRecord>(&good).expect("a run record"), run);
    let bad = good.replace("{tag}-v{n}", "latest");
    let error = serde_json::from_str::<RunRecord>(&bad).expect_err("an endless search").to_string();
    assert!(error.starts_with("read job: adapter.tag: want `{n}` in it"), "{error}");
}

#[test]
fn jobs_that_are_right_are_read_back() {
    assert_eq!(Job::parse(&job().to_bytes()).expect("a job"), job());
    for edge in [
        ("/finetune/seed", json!(u64::MAX)),
        ("/finetune/learning_rate", json!(1)),
        ("/resources/memory", json!(4 << 20)),
        ("/adapter/tag", json!("{n}")),
        ("/adapter/tag", json!("v{n}.{tag}")),
        ("/name", json!("a.b-c_d1")),
    ] {
        Job::parse(&with(edge.0, &edge.1)).unwrap_or_else(|error| panic!("{}: {error}", edge.0));
    }
    let mut ranked: Value = serde_json::from_slice(&with("/finetune/rank", &json!(1024))).expect("JSON");
    ranked["adapter"]["tensors"] = json!(tensors(&[("A", [1024, 4]), ("B", [4, 1024])]));
    Job::parse(ranked.to_string().as_bytes()).expect("the largest rank");
    // Jobs as they were written before: nothing but what is required, and a trainer of one's own with modules of its own.
    let old = include_bytes!("../../../tests/fuzz/seeds/manifest/job");
    assert_eq!(Job::parse(old).expect("an old job").name, "a");
    Job::parse(&own(&json!(["c_attn", "lm_head"]))).expect("a trainer of one's own");
    // A key of another day is kept; one that must be understood is named in `requires` (contract/tests/versions.rs).
    let mut later = serde_json::to_value(job()).expect("JSON");
    later["later"] = json!(1);
    assert!(Job::parse(later.to_string().as_bytes()).expect("kept").note().is_some());
    later["requires"] = json!(["later"]);
    assert!(Job::parse(later.to_string().as_bytes()).is_err());
}
