//! Training runs: what they leave, how they stop and go on, and what they refuse.

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Tiny, chat_line, said};
use hone_train::train::Step;

fn progress(out: &Path) -> Vec<Step> {
    let text = fs::read_to_string(out.join("progress.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn weights(out: &Path) -> Vec<u8> {
    fs::read(out.join("adapter/adapter_model.safetensors")).unwrap()
}

#[test]
fn a_run_leaves_an_adapter_and_its_progress() {
    let tiny = Tiny::new();
    let (code, text) = said(&mut tiny.train("out", &["--epochs", "20", "--batch-size", "4"]));
    assert_eq!(code, 0, "{text}");
    let out = tiny.path("out");
    let steps = progress(&out);
    assert_eq!((steps.len(), steps[49].step, steps[49].steps), (50, 50, 50));
    assert!(steps[49].loss < 0.7 * steps[0].loss, "{} {}", steps[0].loss, steps[49].loss);
    assert!(steps[0].learning_rate > steps[49].learning_rate && steps[49].tokens > steps[48].tokens);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!((config["peft_type"].as_str(), config["r"].as_u64()), (Some("LORA"), Some(8)));
    assert_eq!(config["target_modules"], serde_json::json!(["q_proj", "k_proj", "v_proj", "o_proj"]));
    assert!(text.contains("tokens/s") && text.contains("left") && text.contains("step 50/50"), "{text}");
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["adapter", "progress.jsonl"]);
}

#[test]
fn the_same_run_gives_the_same_adapter_and_another_seed_another() {
    let tiny = Tiny::new();
    for (out, seed) in [("a", "3"), ("b", "3"), ("c", "4")] {
        assert_eq!(said(&mut tiny.train(out, &["--steps", "5", "--seed", seed])).0, 0);
    }
    assert_eq!(weights(&tiny.path("a")), weights(&tiny.path("b")));
    assert_ne!(weights(&tiny.path("a")), weights(&tiny.path("c")));
}

/// Waits until `step` steps are done.
fn wait_for(out: &Path, step: usize) {
    let begin = Instant::now();
    while fs::read_to_string(out.join("progress.jsonl")).map_or(0, |text| text.lines().count()) < step {
        assert!(begin.elapsed() < Duration::from_secs(60), "no progress");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_stopped_run_goes_on_as_if_it_had_not_stopped() {
    let tiny = Tiny::new();
    let more = ["--steps", "300", "--batch-size", "3", "--gradient-accumulation", "2"];
    assert_eq!(said(&mut tiny.train("whole", &more)).0, 0);
    for (at, name, code) in [(3, "TERM", 143), (40, "INT", 130)] {
        let mut child = tiny.train("parts", &more).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&tiny.path("parts"), at);
        signal(child.id(), name);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code));
        assert!(tiny.path("parts/checkpoint/state.safetensors").is_file());
        assert!(!tiny.path("parts/adapter").exists());
    }
    let (code, text) = said(&mut tiny.train("parts", &more));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("continuing from the checkpoint at step"), "{text}");
    assert_eq!(weights(&tiny.path("whole")), weights(&tiny.path("parts")));
    let losses = |out: &str| progress(&tiny.path(out)).iter().map(|s| (s.step, s.loss)).collect::<Vec<_>>();
    assert_eq!(losses("whole"), losses("parts"));
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let tiny = Tiny::new();
    let more = ["--steps", "200", "--checkpoint-steps", "5"];
    assert_eq!(said(&mut tiny.train("whole", &more)).0, 0);
    let mut child = tiny.train("parts", &more).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&tiny.path("parts"), 12);
    signal(child.id(), "KILL");
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let (code, text) = said(&mut tiny.train("parts", &more));
    assert!(code == 0 && text.contains("continuing"), "{text}");
    assert_eq!(weights(&tiny.path("whole")), weights(&tiny.path("parts")));
    assert_eq!(progress(&tiny.path("parts")).len(), 200);
}

#[test]
fn another_job_does_not_take_up_a_checkpoint() {
    let tiny = Tiny::new();
    let mut child = tiny.train("out", &["--steps", "300"]).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&tiny.path("out"), 2);
    signal(child.id(), "TERM");
    child.wait().unwrap();
    let (code, text) = said(&mut tiny.train("out", &["--steps", "300", "--rank", "4"]));
    assert!(code == 1 && text.contains("another run") && text.contains("state.safetensors"), "{code} {text}");
}

#[test]
fn training_goes_on_from_an_adapter_that_fits() {
    let tiny = Tiny::new();
    assert_eq!(said(&mut tiny.train("out", &["--steps", "40"])).0, 0);
    let before = progress(&tiny.path("out"));
    fs::rename(tiny.path("out/adapter"), tiny.path("first")).unwrap();
    assert_eq!(said(&mut tiny.train("next", &["--steps", "5"])).0, 0);
    assert!(progress(&tiny.path("next"))[0].loss < 0.9 * before[0].loss);
    let (code, text) = said(&mut tiny.train("other", &["--steps", "5", "--rank", "4"]));
    assert!(code == 1 && text.contains("rank 8") && text.contains("rank 4"), "{text}");
}

/// Runs and expects one line of error with these words, exit code 1, and no adapter.
fn refused(tiny: &Tiny, more: &[&str], words: &[&str]) {
    let (code, text) = said(&mut tiny.train("out", &[&["--steps", "3"], more].concat()));
    assert_eq!(code, 1, "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("hone-train: "), "{text}");
    for word in words {
        assert!(last.contains(word), "{last:?} lacks {word:?}");
    }
    assert!(!tiny.path("out/adapter").exists());
}

#[test]
fn bad_data_is_named_by_file_and_line() {
    let tiny = Tiny::new();
    let good = chat_line("q", "a");
    let bad: [(&str, &str); 6] = [
        ("{\"messages\": [", "a.jsonl:2: EOF"),
        ("not json", "a.jsonl:2: expected"),
        (r#"{"text": "hello"}"#, "a.jsonl:2: missing field `messages`"),
        (r#"{"messages": [{"role": "user", "content": "q"}]}"#, "a.jsonl:2: no message of role assistant"),
        (r#"{"messages": [{"role": "user"}]}"#, "missing field `content`"),
        (r#"{"messages": []}"#, "a.jsonl:2: no message"),
    ];
    for (line, words) in bad {
        tiny.write("data/a.jsonl", &format!("{good}{line}\n{good}"));
        refused(&tiny, &[], &[words]);
    }
    fs::write(tiny.path("data/a.jsonl"), b"\xff\xfe\n").unwrap();
    refused(&tiny, &[], &["a.jsonl:1: not UTF-8"]);
    for empty in ["", "\n\n"] {
        tiny.write("data/a.jsonl", empty);
        refused(&tiny, &[], &["no example", "messages"]);
    }
    tiny.write("data/a.jsonl", &good);
    refused(&tiny, &["--max-length", "3"], &["none with an answer within 3 tokens"]);
    fs::remove_file(tiny.path("data/a.jsonl")).unwrap();
    refused(&tiny, &[], &["no *.jsonl file"]);
    refused(&tiny, &["--data", "/nowhere/data"], &["/nowhere/data", "No such file"]);
}

#[test]
fn root_data_that_the_user_may_not_read_says_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let tiny = Tiny::new();
    if std::os::unix::fs::MetadataExt::uid(&fs::metadata(tiny.data()).unwrap()) != 0 {
        eprintln!("skipped: only root can start a program as another user");
        return;
    }
    fs::set_permissions(tiny.path("."), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(tiny.path("data/a.jsonl"), fs::Permissions::from_mode(0o600)).unwrap();
    // The program may lie where that user cannot go, so a copy is started.
    fs::copy(env!("CARGO_BIN_EXE_hone-train"), tiny.path("hone-train")).unwrap();
    fs::copy(common::library(), tiny.path("libonnxruntime.so")).unwrap();
    let given = tiny.train("out", &["--steps", "1"]);
    let mut command = Command::new(tiny.path("hone-train"));
    command.args(given.get_args()).env("ORT_DYLIB_PATH", tiny.path("libonnxruntime.so")).uid(65534);
    let (code, text) = said(&mut command);
    assert_eq!(code, 1, "{text}");
    for word in ["read data", "a.jsonl", "user 65534 may not", "chmod -R a+rX", "--user"] {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
}

#[test]
fn other_formats_train_too_and_are_checked() {
    let tiny = Tiny::new();
    tiny.write("data/a.jsonl", "{\"text\": \"one two three\"}\n{\"text\": \"four\"}\n");
    assert_eq!(said(&mut tiny.train("text", &["--format", "text", "--steps", "2"])).0, 0);
    refused(&tiny, &["--format", "alpaca"], &["a.jsonl:1: missing field `instruction`"]);
    tiny.write("data/a.jsonl", "{\"instruction\": \"add\", \"input\": \"1 1\", \"output\": \"2\"}\n");
    assert_eq!(said(&mut tiny.train("alpaca", &["--format", "alpaca", "--steps", "2"])).0, 0);
    tiny.write("model/tokenizer_config.json", "{}");
    assert_eq!(said(&mut tiny.train("plain", &["--format", "alpaca", "--steps", "2"])).0, 0);
    tiny.write("data/a.jsonl", &chat_line("q", "a"));
    refused(&tiny, &[], &["chat template", "none"]);
    refused(&tiny, &["--format", "csv"], &["finetune.dataset.format", "csv", "text, chat or alpaca"]);
}

#[test]
fn bad_models_and_tokenizers_are_refused() {
    let tiny = Tiny::new();
    let whole = fs::read(tiny.path("model/model.safetensors")).unwrap();
    fs::write(tiny.path("model/model.safetensors"), &whole[..whole.len() - 8]).unwrap();
    refused(&tiny, &[], &["model.safetensors: truncated: tensor", "file has"]);
    fs::remove_file(tiny.path("model/model.safetensors")).unwrap();
    refused(&tiny, &[], &["no *.safetensors"]);
    fs::write(tiny.path("model/model.safetensors"), &whole).unwrap();
    let config = fs::read_to_string(tiny.path("model/config.json")).unwrap();
    tiny.write("model/config.json", &config.replace("\"llama\"", "\"falcon\""));
    refused(&tiny, &[], &["config.json", "architecture", "falcon", "llama, qwen2, qwen3"]);
    tiny.write("model/config.json", &config.replace("\"intermediate_size\": 160", "\"intermediate_size\": 192"));
    refused(&tiny, &[], &["gate_proj.weight", "got shape [160, 64], want [192, 64]"]);
    tiny.write("model/config.json", &config);
    let more: Vec<String> = (0..100).map(|i| format!("word{i}")).collect();
    tiny.write("model/tokenizer.json", &common::tokenizer(&more).to_string());
    refused(&tiny, &[], &["does not fit the model: it has 359 tokens, the model 320"]);
    tiny.write("model/tokenizer.json", "{}");
    refused(&tiny, &[], &["tokenizer.json: is not usable"]);
    fs::remove_file(tiny.path("model/tokenizer.json")).unwrap();
    refused(&tiny, &[], &["tokenizer.json", "No such file"]);
    refused(&tiny, &["--model", "/nowhere"], &["/nowhere", "No such file"]);
}

#[test]
fn bad_settings_are_refused() {
    let tiny = Tiny::new();
    refused(&tiny, &["--targets", "q_proj,query"], &["target query is unknown", "q_proj, k_proj"]);
    refused(&tiny, &["--rank", "0"], &["rank: got 0"]);
    refused(&tiny, &["--batch-size", "0"], &["finetune.batch_size", "at least 1"]);
    refused(&tiny, &["--learning-rate=-1"], &["finetune.learning_rate"]);
    refused(&tiny, &["--schedule", "step"], &["constant, linear or cosine"]);
    refused(&tiny, &["--max-length", "100000"], &["max_length", "128 positions"]);
    let (code, text) = said(common::hone_train().args(["train", "--job", "/nowhere/job.json"]));
    assert!(code == 1 && text.contains("/nowhere/job.json") && text.contains("--model"), "{text}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_without_an_adapter() {
    let tiny = Tiny::new();
    let more = ["--learning-rate", "1e30", "--schedule", "constant", "--steps", "30"];
    let (code, text) = said(&mut tiny.train("out", &more));
    assert!(code == 1 && text.contains("not a finite number") && text.contains("learning_rate"), "{text}");
    assert!(!tiny.path("out/adapter").exists());
}

#[test]
fn the_job_is_obeyed() {
    let tiny = Tiny::new();
    let digest = format!("sha256:{}", "0".repeat(64));
    let job = serde_json::json!({
        "contract": 1, "name": "tiny",
        "base": {"identity": digest, "path": tiny.model(), "format": "safetensors", "files": [], "tokenizer": tiny.model()},
        "finetune": {"method": "lora", "rank": 2, "alpha": 4.0, "targets": ["down_proj"], "dataset": {"format": "chat"},
            "steps": 4, "batch_size": 2, "gradient_accumulation": 1, "learning_rate": 0.01, "schedule": "cosine",
            "warmup": 1, "max_length": 64, "seed": 9},
        "resources": {}, "adapter": {"commit": true, "tag": "{tag}-v{n}", "max_bytes": 1_000_000},
    });
    tiny.write("job.json", &job.to_string());
    let mut command = common::hone_train();
    command.arg("train").arg("--job").arg(tiny.path("job.json")).arg("--data").arg(tiny.data());
    command.arg("--out").arg(tiny.path("out")).arg("--adapter").arg(tiny.path("none"));
    let (code, text) = said(&mut command);
    assert_eq!(code, 0, "{text}");
    assert_eq!(progress(&tiny.path("out")).len(), 4);
    let config = fs::read_to_string(tiny.path("out/adapter/adapter_config.json")).unwrap();
    assert!(config.contains("\"tiny\"") && config.contains("down_proj") && !config.contains("q_proj"), "{config}");
    // The job's system message is read with every chat: more tokens in each step.
    tiny.write("job.json", &job.to_string().replace("\"chat\"}", "\"chat\",\"system\":\"Be brief.\"}"));
    let before = progress(&tiny.path("out"))[3].tokens;
    command.arg("--out").arg(tiny.path("other"));
    let (code, text) = said(&mut command);
    assert_eq!(code, 0, "{text}");
    assert!(progress(&tiny.path("other"))[3].tokens > before, "{before}");
    tiny.write("job.json", &job.to_string().replace("\"contract\":1", "\"contract\":2"));
    let (code, text) = said(&mut command);
    assert!(code == 1 && text.contains("contract 2"), "{text}");
}

#[test]
fn a_full_disk_is_said_so() {
    let error = hone_train::tensors::write_bytes(Path::new("/dev/full"), b"x").unwrap_err().to_string();
    assert!(error.contains("/dev/full") && error.contains("the disk is full"), "{error}");
}
