//! What every program of Hone agrees on, as values: digests and names, the job and the records of a run, what a base
//! and a trainer are by content, what a LoRA adapter is, how a stranger's words and sizes are shown, how an error is
//! said with its causes, how far long work is, and how messages are told.
//!
//! This crate is pure, and uses no other of Hone's: it touches no file, clock, network, environment or randomness.

pub mod chain;
pub mod digest;
pub mod hashing;
pub mod identity;
pub mod job;
pub mod json;
mod keys;
pub mod lora;
pub mod pinned;
pub mod progress;
pub mod quote;
pub mod reference;
pub mod rules;
pub mod run;
pub mod size;
pub mod tell;
pub mod unknown;

pub use chain::chain;
pub use digest::Digest;
pub use hashing::Hashing;
pub use pinned::Pinned;
pub use quote::{Quoted, printable, quoted, quoted_bytes, quoted_path};
pub use reference::Reference;
pub use size::size;
pub use tell::{cut, tell, tell_json, tell_styled};
