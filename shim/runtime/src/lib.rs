//! An OCI runtime on libcontainer, with runc's command line.
//!
//! libcontainer prepares the namespaces and the root filesystem, in this process, which is started for one
//! operation and has one thread. Everything else is Hone's own: cgroups ([`hone_cgroups`]), the container's record
//! ([`state`]), hooks ([`hooks`]), credentials, capabilities, seccomp and stdio of each process ([`init`]), and what
//! a training container gets in addition ([`training`], [`edits`]). docs/runtime.md says which faults of
//! libcontainer that mends.
//!
//! This crate knows no image, no version and no engine's API.

pub mod bundle;
pub mod cli;
pub mod edits;
pub mod error;
pub mod foreground;
pub mod hooks;
pub mod init;
pub mod launch;
pub mod log;
pub mod outside;
pub mod process;
pub mod sealed;
pub mod signal;
pub mod state;
pub mod terminal;
pub mod trace;
pub mod training;
pub mod verbs;
pub mod why;

pub use error::RuntimeError;
