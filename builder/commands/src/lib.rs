//! Command lines as values: that of `hone run`, which `hone` completes and describes and `hone-run` reads, and the
//! manual pages of any.
//!
//! Refused here: doing what a command line says.

pub mod manual;
pub mod run;
