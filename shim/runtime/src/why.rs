//! Why a process could not be started: told by itself, else by libcontainer's log, else by libcontainer's error.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{Result, RuntimeError};
use crate::log::Logger;
use crate::trace;

/// The read ends of two pipes, which the payload never holds.
pub struct Why {
    own: File,
    trace: File,
}

impl Why {
    /// Listens to libcontainer from now on; the descriptor is for the process to tell its own words.
    ///
    /// # Errors
    /// When the kernel refuses a pipe.
    pub fn listen(log: &Logger) -> Result<(Self, OwnedFd)> {
        let (own, write) = pipe()?;
        let (trace, traced) = pipe()?;
        trace::listen(traced.into(), log.clone());
        Ok((Self { own, trace }, write))
    }

    /// What the process itself told.
    pub fn told(&self) -> Option<RuntimeError> {
        read(&self.own).map(RuntimeError::Init)
    }

    /// The first of libcontainer's logged errors, or `text`: the later ones are what its parents made of it.
    pub fn logged(&self, text: String) -> RuntimeError {
        let first = read(&self.trace).and_then(|all| all.lines().next().map(str::to_owned));
        RuntimeError::Libcontainer(first.unwrap_or(text))
    }
}

/// Not blocking: this process holds the write end, too, and reads what is there.
fn pipe() -> Result<(File, OwnedFd)> {
    let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
    let (read, write) = pipe.map_err(RuntimeError::call("make a pipe"))?;
    Ok((read.into(), write))
}

fn read(mut pipe: &File) -> Option<String> {
    let mut text = Vec::new();
    // It ends with "would block"; what came before is in the buffer.
    let _ = pipe.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    (!text.is_empty()).then_some(text)
}

/// libcontainer's error with its causes.
pub fn explain(error: &libcontainer::error::LibcontainerError) -> String {
    hone_contract::chain(error)
}
