//! docker, podman and containerd as sources and sinks of images, and where they learn of Hone's runtime.
//!
//! docker and podman are reached through their own command lines: those are the one interface that the same user, with
//! the same rights and the same configuration, certainly has. An engine is sent only the layers that it lacks. To docker on this
//! machine they go over its socket, because its command line takes longer to start than docker takes to load a version.
//! containerd has no command line for others, and is asked by its API: the only async runtime, behind `containerd/client`.
//!
//! Refused here: reading Hone's store (a caller brings a [`hone_archive::Shipment`]), deciding what a version is, retrying.

mod command;
mod containerd;
mod context;
mod docker;
mod engine;
mod error;
mod held;
pub mod install;
mod podman;
mod saved;
mod watch;

pub use containerd::Containerd;
pub use docker::Docker;
pub use engine::{Engine, Found, of};
pub use error::Error;
pub use podman::Podman;
