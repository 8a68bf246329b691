//! Control groups of one container: make them, limit them, read them, freeze, kill and remove them.
//!
//! cgroup v1, v2 and the hybrid of both, told apart controller by controller: each controller is used where the
//! kernel has it. A [`Cgroup`] is a name below every hierarchy of the host; it holds no state but that name, so
//! any later process finds the same directories again.
//!
//! What is written where is decided by pure functions ([`v1`], [`v2`], [`devices`]); [`Cgroup`] does the writing.
//! This crate does not talk to systemd: names in its form (`slice:prefix:name`) become the directories that
//! systemd would have made ([`container_path`]).

mod cgroup;
pub mod devices;
mod error;
mod freezer;
mod hierarchy;
mod path;
mod setting;
mod stats;
mod tree;
pub mod v1;
pub mod v2;

pub use cgroup::Cgroup;
pub use error::CgroupError;
pub use hierarchy::{Hierarchies, Hierarchy};
pub use path::{PathError, container_path};
pub use setting::Setting;
pub use stats::{Cpu, CpuUsage, Memory, MemoryUsage, Pids, Stats, Throttling};
