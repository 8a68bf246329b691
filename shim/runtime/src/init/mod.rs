//! Inside the container, between libcontainer's work and the payload: the last steps, and PID 1 of a training
//! container.
//!
//! libcontainer hands over a process that is still root with every capability, in the container's namespaces and
//! root. [`Setup`] makes it the user's: in the same way for the first process and for `exec`. Errors go to whoever
//! started the container through a pipe, in runc's words.

mod identity;
mod lookup;
mod reaper;
mod remount;
mod setup;
mod stdio;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use oci_spec::runtime::Spec;

pub use identity::unavailable_capabilities;
pub use setup::{CgroupLink, Setup};

/// What becomes of the container's process.
#[derive(Clone)]
pub struct Payload {
    setup: Rc<Setup>,
    errors: Rc<File>,
    status: Option<Rc<OwnedFd>>,
}

impl Payload {
    /// A payload that reports failures to `errors`. With `status`, the process stays as PID 1, runs the payload as
    /// its child, and writes how that ended.
    pub fn new(setup: Setup, errors: OwnedFd, status: Option<OwnedFd>) -> Self {
        Self { setup: Rc::new(setup), errors: Rc::new(errors.into()), status: status.map(Rc::new) }
    }

    fn report(&self, message: &str) {
        // The reader is gone once the container counts as created; the message is then for standard error.
        let _ = (&*self.errors).write_all(message.as_bytes());
    }
}

impl Executor for Payload {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        self.setup.run().map_err(|message| {
            self.report(&message);
            ExecutorValidationError::ArgValidationError(message)
        })
    }

    /// The environment goes to execve as it is; this process keeps its own.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let program = self.setup.program().map_err(|message| {
            self.report(&message);
            ExecutorError::Other(message)
        })?;
        if let Some(status) = &self.status {
            reaper::run(&program, status);
        }
        // Whoever started this counts it as started: what is left is the payload's own standard error.
        let error = program.start();
        program.failed(&error);
        std::process::exit(1)
    }
}

/// A program, its arguments and its environment, ready for execve.
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    fn new(path: &std::path::Path, args: &[String], env: &[String]) -> Result<Self, String> {
        let text =
            |bytes: &[u8]| CString::new(bytes).map_err(|_| "exec: a NUL byte in arguments or environment".to_owned());
        let all = |list: &[String]| list.iter().map(|s| text(s.as_bytes())).collect::<Result<Vec<_>, _>>();
        Ok(Self { path: text(path.as_os_str().as_bytes())?, args: all(args)?, env: all(env)? })
    }

    fn path(&self) -> &CStr {
        &self.path
    }

    /// Says that it could not be started. Whoever reads the container's standard error may be gone.
    fn failed(&self, error: &io::Error) {
        let message = format!("exec {}: {}", hone_contract::quoted_bytes(self.path.to_bytes()), plain(error));
        hone_contract::tell(io::stderr(), &message);
    }

    /// Becomes the program; returns only on failure.
    fn start(&self) -> io::Error {
        hone_sys::become_program(self.path(), &self.args, &self.env)
    }
}

/// An error of the kernel in the words that engines look for: lower case, without the number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_engines_expect() {
        assert_eq!(plain(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(plain(&io::Error::from_raw_os_error(13)), "permission denied");
        assert_eq!(plain(&io::Error::from_raw_os_error(8)), "exec format error");
    }
}
