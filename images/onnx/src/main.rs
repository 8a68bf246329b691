//! The reference trainer's program: reads the job, trains or generates, tells the person who started it.
//!
//! Exit codes: 0 done, 1 an error (told once, on standard error), 2 a wrong command line, 128 + signal stopped; 141 when nobody
//! reads the answer any more, as a shell says of a program that SIGPIPE ended.

mod cli;

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use hone_contract::chain;
use hone_train::{TrainError, runtime};

/// 128 + SIGPIPE.
const NO_READER: u8 = 141;

fn main() -> ExitCode {
    let command = cli::Command::parse();
    match runtime::silence().and_then(|()| cli::run(command)) {
        Ok(code) => ExitCode::from(code),
        Err(error) if unread(&error) => ExitCode::from(NO_READER),
        Err(error) => {
            hone_contract::tell(std::io::stderr(), &format!("hone-train: {}", chain(&error)));
            ExitCode::from(1)
        }
    }
}

/// Whoever read the answer (`hone-train generate | head -1`) has gone away: nothing to tell, and nobody to tell it to.
fn unread(error: &TrainError) -> bool {
    match error {
        TrainError::Io { path, source, .. } => {
            path == Path::new("/dev/stdout") && source.kind() == ErrorKind::BrokenPipe
        }
        _ => false,
    }
}
