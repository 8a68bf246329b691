//! The job: `/hone/job.json`, the one file that makes an image a Hone image (docs/contract.md).
//!
//! Written by the builder, read by runtimes and trainers of other versions than its own. Unknown keys are kept and named;
//! what a reader must know is in [`Job::requires`], and one that does not know it refuses the job: it must not be half
//! understood. Nothing in it is trusted beyond what it may ask for: a job can narrow what the caller allowed, never widen
//! it. Every value is one that a Honefile could have given it ([`crate::rules`]); what reads a [`Job`], from wherever, has
//! one that was checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::digest::Digest;
use crate::json::BadJson;
use crate::keys;
use crate::reference::{BadReference, Reference};
use crate::rules;
use crate::unknown::{Unknown, named};

/// The contract version that this code writes and reads.
pub const CONTRACT: u32 = 1;
/// What a job may require of its reader, and this code does.
pub const UNDERSTOOD: [&str; 0] = [];
/// Where the job lies in an image's root filesystem.
pub const JOB_PATH: &str = "/hone/job.json";
/// Where a version's adapter lies in its root filesystem.
pub const ADAPTER_DIR: &str = "/hone/adapter";
/// Where the tokenizer lies when it is not inside the model's own files.
pub const TOKENIZER_DIR: &str = "/hone/tokenizer";
/// The staging directory as the trainer sees it.
pub const OUT_DIR: &str = "/hone/out";
/// What versions are called when nobody says otherwise: a name made of the base's tag.
pub const USUAL_TAG: &str = "{tag}-v{n}";
/// Where a trainer looks for the user's data, in this order.
pub const DATA_DIRS: [&str; 2] = ["/data", "/app/data"];
/// A job larger than this is refused unread (bytes).
pub const MAX_JOB_BYTES: u64 = 4 << 20;

/// What to train, on what, how, within which limits.
///
/// serde's own reading and writing are inherent (`remote`): whoever asks for a job as a value of anything gets it through
/// the trait below, which checks it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Job {
    /// The contract version, [`CONTRACT`].
    pub contract: u32,
    /// What a reader must know beyond contract 1, by name: it refuses the job otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub requires: Vec<String>,
    /// The Honefile's `name`.
    pub name: String,
    /// The base model; absent when the image carries none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<Base>,
    /// Who trains; absent in a model-only image.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trainer: Option<Trainer>,
    /// How to train.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finetune: Option<Finetune>,
    /// Limits asked for.
    #[serde(default)]
    pub resources: Resources,
    /// What a run may leave behind.
    pub adapter: AdapterSpec,
    /// Keys that this code does not know, where it can do without. They are written again, and nothing is done about them.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// The base model inside the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// sha256 over the lines `<digest> <size> <path>\n` of `files`, sorted by path.
    pub identity: Digest,
    /// The model's directory: `/models/<name>`.
    pub path: String,
    /// `gguf`, `safetensors`, `onnx` or `other`.
    pub format: String,
    /// The model family (`llama`, `qwen2`, `qwen3`), when known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<String>,
    /// Every file of the model directory, sorted by path.
    pub files: Vec<BaseFile>,
    /// Where the tokenizer is: a directory with tokenizer.json, or the GGUF file that carries one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokenizer: Option<String>,
}

/// One file of the base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    /// Name relative to [`Base::path`].
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// sha256 of the raw file.
    pub digest: Digest,
}

/// The program that trains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trainer {
    /// The built-in's name, or `rootfs`.
    pub name: String,
    /// sha256 over the trainer's layer diff ids, one a line, in order.
    pub digest: Digest,
    /// The whole command line that trains (entrypoint and arguments); a container that runs another is not
    /// expected to leave an adapter.
    pub command: Vec<String>,
    /// The runtime makes the root filesystem read-only while this trainer trains.
    pub readonly_root: bool,
}

/// The Honefile's `finetune`, every default resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finetune {
    /// `lora`.
    pub method: String,
    /// LoRA rank r.
    pub rank: u32,
    /// LoRA alpha; the update is scaled by alpha / rank (Hu et al. 2021, arXiv 2106.09685).
    pub alpha: f64,
    /// Module names, e.g. `q_proj`.
    pub targets: Vec<String>,
    /// What the data looks like.
    pub dataset: Dataset,
    /// Optimizer steps; when absent, `epochs` decides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub steps: Option<u64>,
    /// Passes over the data; used when `steps` is absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epochs: Option<f64>,
    /// Examples in one forward and backward pass.
    pub batch_size: u32,
    /// Passes summed before one optimizer step.
    pub gradient_accumulation: u32,
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// `constant`, `linear` or `cosine` decay after warm-up.
    pub schedule: String,
    /// Warm-up, in optimizer steps.
    pub warmup: u64,
    /// Tokens an example is cut to.
    pub max_length: u32,
    /// Seed of adapter initialisation and data order.
    pub seed: u64,
}

/// The shape of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// `text`, `chat` or `alpaca`, as JSON lines.
    pub format: String,
    /// A system message for every chat that has none of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system: Option<String>,
}

/// Limits the job asks for; they only ever tighten what the caller set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors, e.g. 1.5.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<f64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pids: Option<u64>,
}

/// What a finished run may leave, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterSpec {
    /// Whether a successful run becomes a version.
    pub commit: bool,
    /// Tag of new versions; `{tag}` is the base's tag, `{n}` the version number.
    pub tag: String,
    /// The exact tensors expected, name -> shape, in PEFT's names; absent when the trainer is a user's own
    /// and the model is not understood: then any finite LoRA pair passes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tensors: Option<BTreeMap<String, Vec<u64>>>,
    /// The adapter's files may not be larger than this, together (bytes).
    pub max_bytes: u64,
}

/// Bytes that are not a job of this contract.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Larger than [`MAX_JOB_BYTES`].
    #[error("read job: {got} bytes, want at most {MAX_JOB_BYTES}")]
    TooLarge {
        /// Its size in bytes.
        got: u64,
    },
    /// Not the JSON that the contract asks for.
    #[error("parse job")]
    Json(#[source] BadJson),
    /// A value that no Honefile could have given it.
    #[error("read job: {key}: {why}")]
    Value {
        /// Its key, as in a Honefile.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A contract this program does not know.
    #[error("read job: contract {got}, this program knows {CONTRACT}: update hone")]
    Contract {
        /// The version found.
        got: u32,
    },
    /// What it requires is not known here.
    #[error("read job: it requires {}, not known to this program: update hone", named(got))]
    Requires {
        /// What is not known.
        got: Vec<String>,
    },
    /// Keys that are not known here, and cannot be passed over or kept.
    #[error("read job: {why}")]
    Unknown {
        /// Which, and why not.
        why: String,
    },
}

impl From<serde_json::Error> for JobError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.into())
    }
}

impl Job {
    /// Parses `/hone/job.json`.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, JobError> {
        if bytes.len() as u64 > MAX_JOB_BYTES {
            return Err(JobError::TooLarge { got: bytes.len() as u64 });
        }
        // First of all: what follows may look otherwise to who does not know it.
        #[derive(Deserialize)]
        struct Version {
            contract: u32,
            #[serde(default)]
            requires: Vec<String>,
        }
        let Version { contract, requires } = serde_json::from_slice(bytes)?;
        check_version(contract, &requires)?;
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let mut unknown = Unknown::default();
        let mut job = Self::deserialize(serde_ignored::Deserializer::new(&mut json, &mut |path| unknown.see(&path)))?;
        json.end()?;
        if !unknown.is_empty() {
            unknown.take_from(serde_json::from_slice(bytes)?);
            job.unknown = unknown;
        }
        job.check()?;
        Ok(job)
    }

    /// Whether it asks for nothing that is not known here, and every value is one that a Honefile could have given it; of
    /// a job that was read, that is so.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn check(&self) -> Result<(), JobError> {
        check_version(self.contract, &self.requires)?;
        self.unknown.check(keys::refused).map_err(|why| JobError::Unknown { why })?;
        rules::check(self).map_err(|(key, why)| JobError::Value { key, why })
    }

    /// The file's bytes: pretty JSON with a final newline, the same for the same job.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// What to tell who is about to use it, when not all of it is known here.
    pub fn note(&self) -> Option<String> {
        self.unknown.note(JOB_PATH)
    }

    /// Whether `args`, a container's command line, is the one that trains.
    pub fn trains(&self, args: &[String]) -> bool {
        self.trainer.as_ref().is_some_and(|t| !t.command.is_empty() && t.command == args)
    }
}

fn check_version(contract: u32, requires: &[String]) -> Result<(), JobError> {
    if contract != CONTRACT {
        return Err(JobError::Contract { got: contract });
    }
    let got: Vec<_> = requires.iter().filter(|name| !UNDERSTOOD.contains(&name.as_str())).cloned().collect();
    if got.is_empty() { Ok(()) } else { Err(JobError::Requires { got }) }
}

impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let document = Value::deserialize(deserializer)?;
        let mut unknown = Unknown::default();
        let mut see = |path: serde_ignored::Path<'_>| unknown.see(&path);
        let job = Self::deserialize(serde_ignored::Deserializer::new(&document, &mut see));
        let mut job = job.map_err(|error| D::Error::custom(BadJson::from(error)))?;
        unknown.take_from(document);
        job.unknown = unknown;
        job.check().map_err(D::Error::custom)?;
        Ok(job)
    }
}

impl Serialize for Job {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        if self.unknown.is_empty() {
            return Self::serialize(self, serializer);
        }
        let mut document = Self::serialize(self, serde_json::value::Serializer).map_err(S::Error::custom)?;
        self.unknown.put_into(&mut document);
        document.serialize(serializer)
    }
}

impl AdapterSpec {
    /// What version `number` of a lineage is called.
    ///
    /// # Errors
    /// When the two make no tag.
    pub fn version_name(&self, lineage: &Reference, number: u64) -> Result<Reference, BadReference> {
        let tag = self.tag.replace("{tag}", lineage.tag()).replace("{n}", &number.to_string());
        lineage.with_tag(&tag)
    }

    /// Whether some version of a lineage is called so.
    pub fn names(&self, lineage: &Reference, name: &Reference) -> bool {
        let before = self.tag.split_once("{n}").map(|(before, _)| before.replace("{tag}", lineage.tag()));
        let Some(rest) = before.and_then(|before| name.tag().strip_prefix(&before)) else { return false };
        // Digits may follow the number in the template, too.
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (1..=digits).any(|end| {
            let number = rest[..end].parse();
            number.is_ok_and(|number| self.version_name(lineage, number).as_ref() == Ok(name))
        })
    }

    /// One that says no more than how versions are called.
    pub fn tagged(tag: &str) -> Self {
        Self { commit: true, tag: tag.to_owned(), tensors: None, max_bytes: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_lineage_s_versions_are_known() {
        let name = |text: &str| text.parse::<Reference>().expect("name");
        let names = |tag: &str, called: &str| AdapterSpec::tagged(tag).names(&name("a:base"), &name(called));
        for (tag, called) in [
            (USUAL_TAG, "a:base-v1"),
            (USUAL_TAG, "a:base-v1000000"),
            ("{n}.0", "a:3.0"),
            ("v{n}0", "a:v1000"),
            ("{n}-{tag}-{n}", "a:7-base-7"),
            ("base-v1{n}", "a:base-v12"),
        ] {
            assert!(names(tag, called), "{tag} {called}");
        }
        for (tag, called) in [
            (USUAL_TAG, "a:base"),
            (USUAL_TAG, "a:base-v"),
            (USUAL_TAG, "a:base-v01"),
            (USUAL_TAG, "a:base-v1x"),
            (USUAL_TAG, "a:base-v99999999999999999999999"),
            (USUAL_TAG, "b:base-v1"),
            ("v{n}0", "a:v11"),
            ("{n}-{n}", "a:7-8"),
        ] {
            assert!(!names(tag, called), "{tag} {called}");
        }
    }
}
