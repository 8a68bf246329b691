//! The documents that the frontend and its own steps pass to each other, as JSON files in filesystems that BuildKit
//! keeps. Both ends are the same program.

use std::collections::{BTreeMap, BTreeSet};

use hone_contract::Digest;
use hone_contract::job::{Base, BaseFile};
use serde::{Deserialize, Serialize};

/// Largest answer read (bytes): a model has at most ten thousand files, and their names have at most 1024 bytes.
pub const MAX_ANSWER: usize = 15 << 20;

/// This program in its image.
pub const PROGRAM: &str = "/hone-frontend";
/// The word for `hash` that links may lead out of the model's directory.
pub const FOLLOW_LINKS: &str = "--follow-links";
/// Where a step finds the build context.
pub const CONTEXT: &str = "/context";
/// Where a step finds a file that was downloaded.
pub const DOWNLOAD: &str = "/download";
/// Where a step finds what it is asked.
pub const REQUEST: &str = "/request";
/// Where a step finds the answer of `hash`.
pub const HASHES: &str = "/hashes";
/// Where a step leaves its answer.
pub const ANSWER: &str = "/answer";
/// Where a step finds or leaves an image's files.
pub const IMAGE: &str = "/image";
/// The answer's name.
pub const ANSWER_FILE: &str = "answer.json";
/// The Honefile's name in a request.
pub const HONEFILE: &str = "Honefile";
/// In a request, what is known of where a model comes from: annotations by name.
pub const ORIGIN: &str = "origin.json";
/// In a request, the git blob ids of a model's files that have one, as [`GitBlobs`].
pub const GIT_BLOBS: &str = "git-blobs.json";
/// The job's name in a request.
pub const JOB: &str = "job.json";
/// The name of a [`Laid`] in a request.
pub const LAID: &str = "laid.json";

/// What a step has to say.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// What it found.
    Found(T),
    /// What is wrong with the user's files; the same files are always refused, so this may be kept.
    Refused(String),
}

/// Git blob ids by path.
pub type GitBlobs = BTreeMap<String, [u8; 20]>;

/// The answer of `hash`: every file of the model, by path.
pub type Hashed = Vec<BaseFile>;

/// The answer of `inspect`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspected {
    /// What the job says of the model.
    pub base: Base,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// The tensors of an adapter.
    pub tensors: Option<BTreeMap<String, Vec<u64>>>,
    /// The positions of the model, when Hone's own trainer is to use it.
    pub positions: Option<u64>,
    /// Every directory of the model in the image.
    pub dirs: BTreeSet<String>,
    /// A layer each.
    pub weights: Vec<Placed>,
    /// One layer.
    pub texts: Vec<Placed>,
    /// One layer.
    pub tokenizer: Vec<Placed>,
}

/// A file of the image and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Path in the image.
    pub path: String,
    /// Path in the filesystem that it is in.
    pub from: String,
}

/// What `lay` is to add to an image: one layer.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Laid {
    /// Directories, those above first.
    pub dirs: BTreeSet<String>,
    /// Files; `from` is where the step finds them.
    pub files: Vec<Placed>,
}

/// The answer of `tree`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeFound {
    /// Of the layer that `hone build` makes of the same tree.
    pub diff_id: Digest,
    /// What its programs run on.
    pub architecture: Option<String>,
}
