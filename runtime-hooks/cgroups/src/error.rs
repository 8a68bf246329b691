//! What goes wrong with a control group, with the file it went wrong at.

use std::io;
use std::path::PathBuf;

use hone_contract::{quoted, quoted_path};

/// A cgroup operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The host's hierarchies cannot be read.
    #[error("find cgroup hierarchies in \"{}\"", quoted_path(path))]
    Detect {
        /// The file that was read.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nothing is mounted.
    #[error("find cgroup hierarchies: none is mounted, want cgroup v1 or v2 at /sys/fs/cgroup")]
    NoHierarchy,
    /// A directory cannot be made.
    #[error("create cgroup \"{}\"", quoted_path(path))]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of a cgroup cannot be read.
    #[error("read \"{}\"", quoted_path(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A value is refused by the kernel.
    #[error("write \"{}\" to \"{}\": {source}", quoted(value), quoted_path(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A limit was asked for, and nothing on this host can enforce it.
    #[error(
        "limit {controller}: its controller is not available on this host (for {file}); enable it or drop the limit"
    )]
    NoController {
        /// The controller.
        controller: &'static str,
        /// The file that would have been written.
        file: String,
    },
    /// The limits contradict each other.
    #[error("convert limits: {0}")]
    BadLimits(String),
    /// Somebody else's processes are in it.
    #[error("container's cgroup is not empty: {count} process(es) found in \"{}\"", quoted_path(path))]
    NotEmpty {
        /// How many.
        count: usize,
        /// The cgroup's name.
        path: PathBuf,
    },
    /// Processes put into it would never run.
    #[error("container's cgroup unexpectedly frozen: \"{}\"", quoted_path(path))]
    Frozen {
        /// The cgroup's name.
        path: PathBuf,
    },
    /// The freezer did not come to rest.
    #[error("freeze \"{}\": still \"{}\" after {seconds} s", quoted_path(path), quoted(got))]
    FreezeTimeout {
        /// The file that tells the state.
        path: PathBuf,
        /// Its last content.
        got: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A directory cannot be removed.
    #[error("remove cgroup \"{}\": {source}", quoted_path(path))]
    Remove {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The device filter of cgroup v2 was refused.
    #[error("attach device filter to \"{}\": {source}", quoted_path(path))]
    DeviceFilter {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}
