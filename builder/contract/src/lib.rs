//! What every program of Hone agrees on, as values; today: how a stranger's words are shown, and how messages are told.
//!
//! This crate is pure, and uses no other: it touches no file, clock, network, environment or randomness.

pub mod quote;
pub mod tell;

pub use quote::{Quoted, printable, quoted, quoted_bytes, quoted_path};
pub use tell::{cut, tell, tell_json};
