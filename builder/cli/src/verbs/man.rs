//! `hone man DIR`: the manual pages of `hone` and of its verbs. Hidden: `./x install` and `./x package` ask for it.

use std::path::PathBuf;

use clap::Args;
use hone_commands::manual::{self, ExitStatus};

use crate::args::with_programs_beside;
use crate::failure::{Failure, because};

/// The codes of this program, as `main` gives them.
const EXIT_STATUS: ExitStatus = &[
    ("0", "Done."),
    ("1", "An error, told in one line on standard error; for verify, a claim that is wrong."),
    ("2", "A command line that is not understood, or a verb that nobody has."),
    ("141", "A listing whose reader went away, as a shell says of one that SIGPIPE ended."),
];
/// Those of `hone run`.
const RUN: ExitStatus = &[
    ("0", "The container succeeded, and what it trained is a version."),
    ("1", "Training succeeded and its adapter was refused; or the container's own code."),
    ("2", "A command line that is not understood; or the container's own code."),
    ("125", "The container did not come about; one line on standard error says why."),
    ("other", "The container's own code; 128 + N when signal N ended it."),
];

/// Arguments of `hone man`.
#[derive(Debug, Args)]
pub struct Manual {
    /// Where to write them
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Manual {
    /// Writes the pages.
    pub fn run(self) -> Result<(), Failure> {
        let codes = |page: &str| if page == "hone-run" { RUN } else { EXIT_STATUS };
        manual::write(with_programs_beside(), "1", &codes, &self.dir)
            .map_err(because(format!("write manual pages to {}", self.dir.display())))
    }
}
