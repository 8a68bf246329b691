//! Tools of the black-box tests: programs as a user starts them, engines in a world of their own, small models.
//!
//! Nothing here looks into the code under test; everything goes through command lines and files. Failures panic,
//! with what was run and what it printed: this crate is only ever a test's.

mod containerd;
mod docker;
mod docker28;
mod model;
mod podman;
mod programs;
mod ran;
pub mod rootfs;
pub mod stub;
mod world;

pub use containerd::containerd;
pub use docker::docker;
pub use docker28::{Docker28, Images, needs_docker28};
pub use model::{Tiny, jsonl};
pub use podman::podman;
pub use programs::{bin, copy, repository, x};
pub use ran::{Ran, run};
pub use world::{World, needs};
