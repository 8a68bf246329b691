//! Starts hone-runtime for the container and stays in front of it: signals go in, the exit code comes out.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use hone_sys::Signals;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::RunError;

/// What to tell the runtime.
pub(crate) struct Start<'a> {
    /// Of [`runtime`].
    pub runtime: &'a Path,
    pub root: &'a Path,
    pub image: &'a str,
    pub staging: Option<&'a str>,
    pub bundle: &'a Path,
    pub container: &'a str,
}

/// Runs the container to its end, and gives its exit code.
pub(crate) fn run(start: &Start<'_>) -> Result<u8, RunError> {
    let program = start.runtime;
    // Before the child is there, so that its end is never missed.
    let signals = Signals::block_all().map_err(RunError::io("wait for signals of", program))?;
    let child = command(start).spawn().map_err(RunError::io("start", program))?;
    wait(child, &signals).map(code).map_err(RunError::io("wait for", program))
}

/// hone-runtime lies beside this program. Asked before this process has mounts of its own: in a chroot the kernel would
/// then name its program as it is seen from outside.
pub(crate) fn runtime() -> PathBuf {
    std::env::current_exe().map_or_else(|_| "hone-runtime".into(), |own| own.with_file_name("hone-runtime"))
}

fn command(start: &Start<'_>) -> Command {
    let mut command = Command::new(start.runtime);
    command.arg("--hone-root").arg(start.root).args(["--hone-engine", "embedded", "--hone-image", start.image]);
    if let Some(staging) = start.staging {
        command.args(["--hone-staging", staging]);
    }
    command.arg("--root").arg(start.root.join("containers"));
    command.args(["run", "--bundle"]).arg(start.bundle).arg(start.container);
    // A group of its own: a terminal's Ctrl-C then reaches it once, through us, and not twice.
    command.process_group(0).current_dir(start.bundle);
    command
}

fn wait(mut child: Child, signals: &Signals) -> std::io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match Signal::from_named_raw(signals.next()?) {
            Some(Signal::CHILD) | None => {}
            Some(signal) => {
                if let Some(pid) = pid {
                    // It may just have ended: the next look tells.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
