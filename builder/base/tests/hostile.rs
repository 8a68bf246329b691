//! Models that somebody else made: each trick is refused, and its harmless twin is understood.

use std::fs::{self, File};
use std::path::Path;

use hone_base::{BaseModel, Sources, understand};
use hone_plan::BuildPlan;

const OWN_TRAINER: &str = "trainer: {rootfs: root, command: [train]}\n";

fn plan(trainer: &str) -> BuildPlan {
    let text = format!("apiVersion: hone.dev/v1\nname: tiny\nbase: {{model: m}}\n{trainer}");
    hone_plan::parse("Honefile", &text).expect("a plan")
}

fn look(dir: &Path, trainer: &str) -> Result<BaseModel, String> {
    let sources = Sources::at(dir).map_err(|error| error.to_string())?;
    understand(&sources, None, &plan(trainer)).map_err(|error| error.to_string())
}

/// A ModelProto whose only tensor lies at `location`.
fn onnx(location: &str) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    field(7, &field(5, &field(13, &entry)))
}

#[test]
fn an_onnx_model_that_reads_files_of_others_is_refused() {
    for location in ["/etc/shadow", "../secret", "a/../../secret"] {
        for trainer in ["trainer: none\n", OWN_TRAINER, ""] {
            let dir = tempfile::tempdir().expect("directory");
            fs::create_dir(dir.path().join("onnx")).expect("directory");
            fs::write(dir.path().join("onnx/model.onnx"), onnx(location)).expect("model");
            let said = look(dir.path(), trainer).expect_err("must be refused");
            assert!(said.contains("model.onnx: external_data location: got"), "{trainer:?}: {said}");
        }
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.onnx"), onnx("model.onnx_data")).expect("model");
    fs::write(dir.path().join("model.onnx_data"), [0; 64]).expect("data");
    let base = look(dir.path(), "trainer: none\n").expect("a model");
    assert_eq!((base.format.as_str(), base.weights.len()), ("onnx", 2));
}

#[test]
fn a_pickle_is_refused_whatever_it_is_called() {
    let pickles: [(&str, &[u8]); 3] =
        [("pytorch_model.bin", b""), ("model.safetensors", b"\x80\x04\x95"), ("x", b"PK\x03\x04")];
    for (name, content) in pickles {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("config.json"), "{}").expect("config");
        fs::write(dir.path().join(name), content).expect("pickle");
        let said = look(dir.path(), "trainer: none\n").expect_err(name);
        assert!(said.contains("it is a pickle") && said.contains("convert the model to safetensors"), "{said}");
    }
}

#[test]
fn a_weight_file_that_lies_is_refused_even_where_it_is_only_carried() {
    let lying = br#"{"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}"#;
    let lying = [&(lying.len() as u64).to_le_bytes()[..], lying].concat();
    let honest = br#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
    let honest = [&(honest.len() as u64).to_le_bytes()[..], honest, &[0; 8]].concat();
    let many = [b"GGUF\x03\0\0\0".as_slice(), &u64::MAX.to_le_bytes(), &u64::MAX.to_le_bytes()].concat();
    for (name, content) in [("model.safetensors", &lying), ("m.gguf", &many)] {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join(name), content).expect("model");
        assert!(look(dir.path(), "trainer: none\n").expect_err(name).contains("truncated"));
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.safetensors"), honest).expect("model");
    look(dir.path(), "trainer: none\n").expect("numbers of a kind that is only carried");
}

#[test]
fn a_tokenizer_of_absurd_size_or_depth_is_refused() {
    let site = |tokenizer: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("model.onnx"), onnx("w")).expect("model");
        tokenizer(&dir.path().join("tokenizer.json"));
        look(dir.path(), "trainer: none\n")
    };
    // Of 64 MiB and more, a file is a weight, and nobody parses it.
    let huge = |path: &Path| File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a sparse terabyte");
    assert_eq!(site(&huge).expect("a weight").tokenizer, None);
    let large = |path: &Path| File::create(path).and_then(|file| file.set_len(63 << 20)).expect("a sparse file");
    assert!(site(&large).expect_err("63 MiB of zeros").contains("parse tokenizer"));
    let deep = |path: &Path| fs::write(path, "[".repeat(1 << 20)).expect("write");
    assert!(site(&deep).expect_err("a million brackets").contains("parse tokenizer"));
    let ids = r#"{"model":{"vocab":{"a":18446744073709551615}},"added_tokens":[{"id":18446744073709551615}]}"#;
    assert_eq!(hone_base::tokens_of(ids.as_bytes()).expect("JSON"), Some(u64::MAX));
    let good = |path: &Path| fs::write(path, r#"{"model":{"vocab":{"a":0}}}"#).expect("write");
    assert_eq!(site(&good).expect("a model").tokenizer.as_deref(), Some("/models/tiny"));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.onnx"), onnx("w")).expect("model");
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero.onnx")).expect("link");
    std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).expect("link");
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("socket.gguf")).expect("socket"));
    assert!(
        std::process::Command::new("mkfifo").arg(dir.path().join("pipe.bin")).status().expect("mkfifo").success()
    );
    assert_eq!(look(dir.path(), "trainer: none\n").expect("a model").weights.len(), 1);
}
