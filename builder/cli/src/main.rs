//! `hone`: build images, look at them, and manage the versions that training makes of them.
//!
//! Owns the command line, the exit codes (docs/cli.md) and everything that is printed; the libraries print nothing. A verb that
//! is not here is a program `hone-<verb>` beside this one, executed as git does with its verbs: what runs
//! containers stays out of this program.

mod answer;
mod args;
mod created;
mod debug;
mod deliver;
mod external;
mod failure;
mod layout;
mod mended;
mod net;
mod output;
mod platforms;
mod progress;
mod root;
mod secret;
mod template;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

/// A command line that is not understood; clap's own code for one.
const USAGE: u8 = 2;
/// 128 + SIGPIPE: what a shell says of a listing whose reader went away.
const NO_READER: u8 = 141;

fn main() -> ExitCode {
    let args = args::Args::parse();
    debug::listen(args.debug);
    match verbs::run(args) {
        Ok(code) => code,
        Err(failure) if failure.is::<output::NoReader>() => ExitCode::from(NO_READER),
        Err(failure) => {
            output::fail(&failure);
            if failure.is::<external::NoVerb>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}
