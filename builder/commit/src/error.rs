//! Why a run is no version: because it never can be, or because something is not so yet.

use std::io;
use std::path::PathBuf;

use hone_contract::{Digest, Reference};
use hone_engines::Error as EngineError;
use hone_ship::ShipError;
use hone_store::StoreError;

/// A run that is no version.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It never will be one; that is recorded, and nothing is removed.
    #[error("run {id}: nothing was committed: {reason}")]
    Refused {
        /// The run.
        id: String,
        /// One sentence for the user.
        reason: String,
    },
    /// It never will be one, and the next to ask finds that out anew.
    #[error("run {id}: nothing was committed: {reason}; and this could not be recorded")]
    Unrecorded {
        /// The run.
        id: String,
        /// One sentence for the user.
        reason: String,
        /// Why it was not recorded.
        #[source]
        source: Box<StoreError>,
    },
    /// It may be one yet: nothing is recorded, and the same call goes on from there.
    #[error("commit run {id}")]
    Pending {
        /// The run.
        id: String,
        /// What is not so yet.
        #[source]
        source: Box<Pending>,
    },
    /// A directory that no run left.
    #[error("{}: no run.json in it, so it is not a run's staging directory", .0.display())]
    NoRun(PathBuf),
    /// No directory.
    #[error("staging {}: not found; `hone staging ls` lists what is there", .0.display())]
    NotFound(PathBuf),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What may come right by itself, or by what a person does: everything is kept.
#[derive(Debug, thiserror::Error)]
pub enum Pending {
    /// The run has not ended.
    #[error("the run still goes on")]
    Running,
    /// What the image that ran is, is not known here, or it has no name.
    #[error("not committed yet: {0}")]
    Image(String),
    /// An engine could not be asked.
    #[error("not committed yet: ask {what}")]
    Ask {
        /// Whom, for what.
        what: String,
        /// Why not.
        #[source]
        source: Box<EngineError>,
    },
    /// What an engine says of an image is not understood.
    #[error("read configuration of image {image}")]
    Described {
        /// The image.
        image: Digest,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The version is there, and the engine that ran it does not know it.
    #[error("{version} is in the local store; run `hone commit` again to publish it")]
    Unpublished {
        /// The version.
        version: Reference,
        /// Why.
        #[source]
        source: Box<ShipError>,
    },
    /// A file of the staging directory could not be read.
    #[error("{op} {object}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        object: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Pending {
    /// Adds operation and object to a failed system call's error.
    pub(crate) fn io(op: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let object = object.into();
        move |source| Self::Io { op, object, source }
    }
}

/// Why a step did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It never will: one sentence for the user.
    #[error("{0}")]
    Refused(String),
    /// It may, later.
    #[error(transparent)]
    Pending(#[from] Pending),
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Pending(error.into())
    }
}
