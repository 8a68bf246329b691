//! A command that has run: what it printed, how it ended, and assertions that show both when they fail.

use std::fmt;
use std::process::{Command, Stdio};

/// A finished command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What was run.
    pub command: String,
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `command` to its end, with an empty standard input.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Ran {
    let line = format!("{command:?}");
    let out = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("start {line}: {error}"));
    let signal = std::os::unix::process::ExitStatusExt::signal(&out.status);
    Ran {
        command: line,
        code: out.status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0)),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

impl Ran {
    /// Standard output of a command that must have succeeded, without the space around it.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, 0, "want success of {self}");
        self.stdout.trim().to_owned()
    }

    /// Standard error of a command that must have failed with `code`, without the space around it.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn fails(&self, code: i32) -> String {
        assert_eq!(self.code, code, "want exit code {code} of {self}");
        self.stderr.trim().to_owned()
    }

    /// Standard output and standard error together.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts that the text printed holds `part`.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.text().contains(part), "want {part:?} in the output of {self}");
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When the command failed or it is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap_or_else(|error| panic!("want JSON ({error}) from {self}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(f, "{command}\n--- exit code {code}, stdout:\n{stdout}\n--- stderr:\n{stderr}\n---")
    }
}
