//! `hone run`: the embedded engine. Image in the store -> snapshot -> bundle -> container, no daemon.
//!
//! What is left when it returns: unpacked layers (shared by all runs) and, after a run that became no version, its
//! staging directory. Nothing else is kept, so `--rm` changes nothing; it is accepted because fingers type it.
//!
//! Refused here: libcontainer (hone-runtime is started for that), deciding what becomes a version (the keeper's
//! `hone commit` does).

mod bundle;
mod container;
mod data;
mod error;
mod identity;
mod outcome;
mod rootfs;
mod run;
mod seccomp;
mod snapshot;
mod unpack;
mod user;

use std::process::ExitCode;

use clap::Parser;
use hone_commands::run::Args;

/// What docker exits with when the fault is its own.
const OWN_FAULT: u8 = 125;

/// Says something on standard error, whether or not somebody listens: a container and its commit go on without.
fn tell(message: &str) {
    hone_contract::tell(std::io::stderr(), message);
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run::run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tell(&format!("hone run: {}", hone_contract::chain(&error)));
            ExitCode::from(OWN_FAULT)
        }
    }
}
