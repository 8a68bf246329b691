//! The reference trainer's program: reads the job, trains or generates, tells the person who started it.
//!
//! Exit codes: 0 done, 1 an error (told once, on standard error), 2 a wrong command line, 128 + signal stopped.

mod cli;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use hone_train::runtime;

fn main() -> ExitCode {
    let command = cli::Command::parse();
    match runtime::silence().and_then(|()| cli::run(command)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Standard error may be closed; there is no one left to tell then.
            let _ = writeln!(std::io::stderr(), "hone-train: {}", chain(&error));
            ExitCode::from(1)
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
