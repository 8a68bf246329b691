//! `man`: the manual pages of this program and of its commands. Hidden: `./x install` and `./x package` ask for it.

use std::path::Path;

use clap::CommandFactory as _;
use hone_commands::manual::{self, ExitStatus};

use crate::cli::Cli;
use crate::error::{Result, RuntimeError};

/// runc's codes, which engines know.
const EXIT_STATUS: ExitStatus = &[
    ("0", "Done."),
    ("1", "An error, told in one line on standard error or in the log; a command line that is not understood."),
];
const RUN: ExitStatus = &[
    ("1", "An error, told in one line on standard error or in the log; or the container's own code."),
    ("other", "The code of the container's process; 128 + N when signal N ended it."),
];
const EXEC: ExitStatus = &[
    ("255", "An error, told in one line on standard error or in the log; or the process's own code."),
    ("other", "The code of the process; 128 + N when signal N ended it."),
];

/// Writes the pages.
///
/// # Errors
/// When a page cannot be written.
pub fn man(dir: &Path) -> Result<()> {
    let codes = |page: &str| match page {
        "hone-runtime-run" => RUN,
        "hone-runtime-exec" => EXEC,
        _ => EXIT_STATUS,
    };
    manual::write(Cli::command(), "8", &codes, dir).map_err(RuntimeError::io("write manual pages to", dir))
}
