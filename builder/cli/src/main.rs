//! `hone`: build images, look at them, and manage the versions that training makes of them.
//!
//! Owns the command line, the exit code and everything that is printed; the libraries print nothing. A verb that
//! is not here is a program `hone-<verb>` beside this one, executed as git does with its verbs: what runs
//! containers stays out of this program.

mod args;
mod build;
mod commit;
mod contents;
mod download;
mod external;
mod failure;
mod layout;
mod net;
mod out;
mod output;
mod progress;
mod push;
mod root;
mod sbom;
mod ship;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match verbs::run(args::Args::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("hone: {}", failure::chain(&*failure));
            ExitCode::FAILURE
        }
    }
}
