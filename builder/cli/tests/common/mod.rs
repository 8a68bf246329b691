//! A site to test in: a directory of its own, a store in it, and the program, as a user would type it.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod gguf;
pub mod registry;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hone_contract::job::Job;
use hone_contract::run::{EXIT_FILE, Engine, ExitRecord, ImageRef, RUN_FILE, RunRecord};
use hone_contract::{Digest, Reference};
use hone_store::Store;
use serde_json::Value;

/// Golden models and adapters, shared with the trainer's tests.
pub fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(family)
}

/// Says why a test is not run here.
///
/// # Panics
/// In CI (`CI` is set): nothing is skipped there.
#[allow(clippy::print_stderr, reason = "a test's runner reads it")]
pub fn skipped(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and in CI nothing is skipped");
    eprintln!("skipped: {reason}");
}

/// A place of its own, removed in the end.
pub struct Site {
    pub dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Site {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("temporary directory"), env: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub fn store(&self) -> Store {
        Store::at(self.root())
    }

    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.push((name.to_owned(), value.into()));
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        fs::write(&path, content).expect("file");
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone"));
        command.current_dir(self.dir.path()).args(args);
        command.env("HONE_ROOT", self.root()).env_remove("HONE_TRAINERS").envs(self.env.iter().cloned());
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("start hone")
    }

    /// Runs and wants success; gives standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "hone {args:?}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// Runs and wants exit code 1; gives what was said, with the site's directory written as `SITE`.
    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert_eq!(output.status.code(), Some(1), "hone {args:?}: {output:?}");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        text.replace(&self.dir.path().display().to_string(), "SITE").trim_end().to_owned()
    }

    /// Every file of the store below a directory, by name.
    pub fn files(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root().join(dir)) else {
            return Vec::new();
        };
        let mut names: Vec<String> =
            entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Nothing was built, and nothing half built is left.
    pub fn assert_empty(&self) {
        assert_eq!(self.json(&["images", "--json"]), serde_json::json!([]));
        assert!(self.files("blobs/sha256").is_empty(), "blobs: {:?}", self.files("blobs/sha256"));
        assert!(self.files("tmp").is_empty(), "temporaries: {:?}", self.files("tmp"));
    }

    /// A trainer layout called `onnx`, small, in place of the real one.
    pub fn with_trainer(&mut self) {
        let tool = self.write("trainer/hone/bin/hone-train", elf());
        fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).expect("mode");
        self.write("trainer/hone/lib/libonnxruntime.so", "library");
        self.ok(&["trainer", "pack", "trainer", "trainers/onnx"]);
        self.env("HONE_TRAINERS", self.path("trainers").display().to_string());
    }

    /// A Hugging Face style model directory of the golden llama, with a tokenizer of `tokens` tokens.
    pub fn llama_dir(&self, name: &str, tokens: usize) {
        for file in ["config.json", "model.safetensors"] {
            self.write(&format!("{name}/{file}"), fs::read(golden("llama").join(file)).expect("golden file"));
        }
        self.write(&format!("{name}/tokenizer.json"), tokenizer(tokens));
    }

    /// Builds `assistant:base` of the golden llama, trained as its golden adapter was.
    pub fn llama_image(&mut self) {
        self.with_trainer();
        self.llama_dir("model", 32);
        self.write("Honefile", LLAMA);
        self.ok(&["build", ".", "-t", "assistant:base"]);
    }

    /// What a runtime leaves of a run of `image` that exited with `exit`; the adapter is the golden one.
    pub fn stage(&self, id: &str, image: &str, exit: Option<ExitRecord>) -> PathBuf {
        let dir = self.root().join("staging").join(id);
        fs::create_dir_all(dir.join("out/adapter")).expect("staging");
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            let from = golden("llama/adapter_final").join(file);
            fs::write(dir.join("out/adapter").join(file), fs::read(from).expect("golden")).expect("copy");
        }
        self.write_run(&dir, id, image, Engine::Embedded, |_| {});
        if let Some(exit) = exit {
            fs::write(dir.join(EXIT_FILE), serde_json::to_vec(&exit).expect("JSON")).expect("exit");
        }
        dir
    }

    pub fn write_run(&self, dir: &Path, id: &str, image: &str, engine: Engine, edit: impl FnOnce(&mut Job)) {
        let reference: Reference = image.parse().expect("reference");
        let found = self.store().image(&reference).expect("store").expect("image");
        let mut job = self.store().job_of(&found).expect("job layer").expect("job");
        edit(&mut job);
        let config = found.config().digest();
        let image = Some(ImageRef { reference: image.to_owned(), config });
        let run = RunRecord { id: id.to_owned(), engine, image, job };
        fs::write(dir.join(RUN_FILE), serde_json::to_vec(&run).expect("JSON")).expect("run record");
    }
}

/// A clean exit.
pub fn exited(code: i32) -> Option<ExitRecord> {
    Some(ExitRecord { code, signal: None, oom: false, finished_ms: 1_795_402_800_000 })
}

/// A Honefile for the golden llama and its golden adapter.
pub const LLAMA: &str = "\
apiVersion: hone.dev/v1
name: assistant
base:
  model: model
finetune:
  rank: 4
  alpha: 8
  targets: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]
  steps: 20
";

/// A tokenizer.json with so many tokens.
pub fn tokenizer(tokens: usize) -> String {
    let vocabulary: Vec<String> = (0..tokens).map(|i| format!("\"t{i}\":{i}")).collect();
    format!("{{\"model\":{{\"type\":\"BPE\",\"vocab\":{{{}}},\"merges\":[]}}}}", vocabulary.join(","))
}

/// The first bytes of a program for 64-bit x86.
pub fn elf() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64, 0);
    bytes[18] = 62;
    bytes
}

/// A `docker` that knows the image `name` of the site's store, and takes what is loaded into it.
pub fn docker_with(site: &mut Site, name: &str) {
    let image = site.store().resolve(name).expect("resolve").image;
    let config = image.config().value();
    let inspected = serde_json::json!([{
        "Id": image.config().digest(), "Architecture": config.architecture, "Os": config.os,
        "Config": config.config, "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
    }]);
    let answer = site.write("inspect.json", inspected.to_string());
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n *'image ls'*) echo {} ;;\n *'image inspect'*) cat {} ;;\n *load*) cat >/dev/null ;;\n *) exit 9 ;;\nesac\n",
        image.config().digest(),
        answer.display(),
    );
    let program = site.write("bin/docker", script);
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("mode");
    let path = std::env::var("PATH").unwrap_or_default();
    site.env("PATH", format!("{}:{path}", site.path("bin").display()));
}

pub fn digest_of(path: &Path) -> Digest {
    Digest::of(&fs::read(path).expect("file"))
}
