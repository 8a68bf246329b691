//! Records of one training run: what the runtime writes into its staging directory, and what the keeper and
//! `hone commit` add (docs/contract.md, "Staging").

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::job::Job;

/// Name of the run record in a staging directory.
pub const RUN_FILE: &str = "run.json";
/// Name of the exit record.
pub const EXIT_FILE: &str = "exit.json";
/// Name of the outcome record.
pub const OUTCOME_FILE: &str = "outcome.json";
/// Name of the file whose flock says that the run's keeper lives.
pub const LOCK_FILE: &str = "keeper.lock";
/// Name of the directory bound at `/hone/out`.
pub const OUT_NAME: &str = "out";

/// `run.json`: written by the runtime at create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Container id.
    pub id: String,
    /// Which engine ran it.
    pub engine: Engine,
    /// The image, as far as it is known yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<ImageRef>,
    /// The job as read from the image.
    pub job: Job,
}

/// Who asked for the container, and how to reach them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Engine {
    /// `hone run`: the image is in the local store.
    Embedded,
    /// dockerd at this address (`unix:///run/docker.sock`).
    Docker {
        /// Value for `docker --host`.
        host: String,
    },
    /// podman with this storage.
    Podman {
        /// `podman --root`.
        graphroot: String,
        /// `podman --runroot`.
        runroot: String,
    },
    /// Nobody we know: versions go to the local store only.
    None,
}

/// The image that a container was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// As the user named it, e.g. `assistant:base`.
    pub reference: String,
    /// Digest of the image's configuration (docker's image id).
    pub config: Digest,
}

/// `exit.json`: how the training process ended. Without it nothing is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// The kernel killed it, or a process beside it, for memory.
    #[serde(default)]
    pub oom: bool,
    /// When, in milliseconds since 1970.
    pub finished_ms: u64,
}

/// `outcome.json`: how far the commit came (staged, sealed, committed, published), or why it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Outcome {
    /// The adapter layer is a blob of the store.
    Sealed {
        /// Its diff id, which is its digest.
        layer: Digest,
    },
    /// The version exists in the store.
    Committed {
        /// `assistant:base-v1`.
        reference: String,
        /// Version number in its lineage.
        version: u64,
        /// Digest of the version's image configuration.
        config: Digest,
    },
    /// The engine that ran the container has it, too.
    Published {
        /// `assistant:base-v1`.
        reference: String,
        /// Version number in its lineage.
        version: u64,
        /// Digest of the version's image configuration.
        config: Digest,
    },
    /// Nothing was committed.
    Refused {
        /// One sentence: what, where, what to do.
        reason: String,
    },
}
