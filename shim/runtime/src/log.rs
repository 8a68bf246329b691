//! The runtime's own log: `--log`, `--log-format`, `--debug`, as runc has them.

use std::io::Write as _;
use std::path::PathBuf;

use hone_keeper::report::{Format, Level, Log, line};

/// Where this process tells what it does.
#[derive(Debug, Clone, Default)]
pub struct Logger {
    log: Log,
    debug: bool,
}

impl Logger {
    /// A log into `path`, or to standard error when absent.
    pub fn new(path: Option<PathBuf>, format: Format, debug: bool) -> Self {
        Self { log: Log { path, format }, debug }
    }

    /// The file and format, for the keeper that goes on writing to it.
    pub fn file(&self) -> &Log {
        &self.log
    }

    /// A line that is wanted with `--debug` only.
    pub fn debug(&self, message: &str) {
        if self.debug {
            self.write(Level::Debug, message);
        }
    }

    /// Something was given up, and the operation goes on.
    pub fn warn(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    /// The operation failed: into the log, and to standard error for whoever started this program.
    pub fn fatal(&self, message: &str) {
        self.write(Level::Error, message);
        if self.log.path.is_some() {
            // Nobody may be listening any more; the log has it.
            hone_contract::tell(std::io::stderr(), message);
        }
    }

    fn write(&self, level: Level, message: &str) {
        if !self.log.write(level, message) {
            // Without a log file, or with one that cannot be written, standard error is the log.
            let _ = std::io::stderr().write_all(line(self.log.format, level, message).as_bytes());
        }
    }
}
