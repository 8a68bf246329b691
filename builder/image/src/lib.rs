//! Images, layers, digests and the run contract, as values.
//!
//! This crate is pure: it touches no file, clock, network, environment or randomness.

pub mod digest;
pub mod job;
pub mod run;

pub use digest::Digest;
