//! Waiting for a container in the foreground: passes signals on and returns its exit code.

use std::fs::File;

use hone_sys::Signals;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::error::{Result, RuntimeError};
use crate::signal::{CHILD, URGENT, WINDOW};
use crate::terminal::Relay;

/// Signals held back since before the container's process existed: one that ends at once is not missed.
pub struct Foreground {
    signals: Signals,
}

impl Foreground {
    /// Begins to hold signals back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn begin() -> Result<Self> {
        let signals = Signals::block_all().map_err(RuntimeError::call("block signals"))?;
        Ok(Self { signals })
    }

    /// Waits for the child `pid`; its exit code, or 128 + the signal that ended it.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(self, pid: i32, master: Option<File>) -> Result<i32> {
        let child = Pid::from_raw(pid).ok_or_else(|| RuntimeError::Init(format!("process {pid} is no process")))?;
        let mut relay = master.map(Relay::start);
        let code = loop {
            if let Some(relay) = &mut relay {
                relay.until(&self.signals).map_err(RuntimeError::call("relay the terminal"))?;
            }
            match self.signals.next().map_err(RuntimeError::call("read signals"))? {
                CHILD => {
                    if let Some(code) = reap(child)? {
                        break code;
                    }
                }
                WINDOW if relay.is_some() => relay.iter().for_each(Relay::resize),
                URGENT => {}
                // The child may be gone already: its SIGCHLD is next.
                signal => drop(hone_sys::send_signal(child, signal)),
            }
        };
        if let Some(mut relay) = relay {
            relay.drain();
        }
        self.signals.mask_before().restore().map_err(RuntimeError::call("restore signals"))?;
        Ok(code)
    }
}

fn reap(child: Pid) -> Result<Option<i32>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => code = Some(exit_code(status)),
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(code),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(RuntimeError::call("wait for the container")(errno)),
        }
    }
}

/// What a shell would say.
pub fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255)
}
