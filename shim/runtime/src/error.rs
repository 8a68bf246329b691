//! What goes wrong, in the words that engines already understand.
//!
//! docker, containerd and podman read a runtime's error text to choose exit codes (127 for "executable file not
//! found in $PATH", 126 for "permission denied") and to tell a missing container from a broken one, so texts that
//! runc has are runc's.

use std::io;
use std::path::PathBuf;

use hone_contract::{quoted, quoted_path};

use crate::state::Status;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such container.
    #[error("container does not exist")]
    NotFound,
    /// The id is taken.
    #[error("container with given ID already exists")]
    Exists,
    /// The id is empty or holds other letters.
    #[error("invalid container ID format")]
    BadId,
    /// The bundle has no configuration.
    #[error("JSON specification file config.json not found")]
    NoConfig,
    /// `start` of a container that runs.
    #[error("cannot start an already running container")]
    AlreadyRunning,
    /// `start` of a container that ended.
    #[error("cannot start a container that has stopped")]
    HasStopped,
    /// `kill` or `pause` of a container that does not run.
    #[error("container not running")]
    NotRunning,
    /// `resume` of a container that runs.
    #[error("container not paused")]
    NotPaused,
    /// `exec` into a container that ended.
    #[error("cannot exec in a stopped container")]
    ExecStopped,
    /// `exec` into a frozen container.
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    /// `delete` of a container that runs.
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped {
        /// The container.
        id: String,
        /// Its state.
        status: Status,
    },
    /// `kill` with a word that is no signal.
    #[error("unknown signal \"{}\"", quoted(.0))]
    UnknownSignal(String),
    /// Arguments that cannot be used together, or a value that cannot be read.
    #[error("{0}")]
    Usage(String),
    /// A file or a call failed.
    #[error("{operation} \"{}\"", quoted_path(path))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A kernel call failed that concerns no file.
    #[error("{operation}")]
    Call {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("parse \"{}\"", quoted_path(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration asks for what cannot be given.
    #[error("read config.json: {0}")]
    Spec(String),
    /// The container's process could not be set up.
    #[error("unable to start container process: {0}")]
    Init(String),
    /// A hook failed.
    #[error("unable to start container process: error during container init: {0}")]
    Hook(String),
    /// A process that ran for this one failed and has told why.
    #[error("{0}")]
    Told(String),
    /// libcontainer failed.
    #[error("unable to start container process: error during container init: {0}")]
    Libcontainer(String),
    /// The container's cgroup.
    #[error("unable to apply cgroup configuration")]
    Cgroup(#[from] hone_cgroups::CgroupError),
    /// The configuration's cgroupsPath.
    #[error(transparent)]
    CgroupPath(#[from] hone_cgroups::PathError),
    /// The job in the image is not one.
    #[error("read /hone/job.json of the image")]
    Job(#[from] hone_contract::job::JobError),
    /// The job in the image cannot be read.
    #[error("read the image's job")]
    JobFile(#[from] hone_sys::RootedError),
    /// The staging directory.
    #[error("prepare the run's staging directory")]
    Staging(#[from] hone_keeper::StagingError),
    /// A training container that would not be fenced as it must be.
    #[error("fence training container: {0}")]
    Fence(String),
    /// The keeper did not start.
    #[error("start hone-keeper: {0}")]
    Keeper(String),
    /// The keeper of a finished run goes on for longer than `delete` waits.
    #[error("delete container: its commit is still running after {seconds} s; it goes on, `hone log` will tell")]
    KeeperTimeout {
        /// How long was waited.
        seconds: u64,
    },
}

impl RuntimeError {
    /// For `map_err`: a failed operation on a path.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// For `map_err`: a failed kernel call.
    pub fn call<E: Into<io::Error>>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Call { operation, source: source.into() }
    }
}

/// What every function here returns.
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;
