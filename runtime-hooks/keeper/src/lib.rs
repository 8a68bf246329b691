//! Beside a running trainer: the staging directory of a run, and the keeper that watches over it.
//!
//! The runtime makes the [`staging`] directory; the keeper (`hone-keeper`) completes its records, waits until the
//! container is gone and starts `hone commit`. It decides nothing about versions: that is the commit's part.

pub mod engine;
pub mod keep;
pub mod report;
pub mod staging;

pub use staging::{Staging, StagingError};
