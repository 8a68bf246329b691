//! `kill`: sends a signal to a container's process, or to all of them.

use std::os::fd::AsFd as _;

use oci_spec::runtime::LinuxNamespaceType;

use super::Context;
use crate::edits::has_namespace;
use crate::error::{Result, RuntimeError};
use crate::signal;
use crate::state::{Container, Status};

/// Sends signal number `signal`.
///
/// # Errors
/// When the container does not run; with `all`, a container that has ended is no error.
pub fn kill(ctx: &Context, id: &str, signal: i32, all: bool) -> Result<()> {
    let container = Container::load(&ctx.root, id)?;
    let status = container.status()?;
    if all {
        return Ok(container.cgroup()?.kill(signal)?);
    }
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(RuntimeError::NotRunning);
    }
    // Without a PID namespace of its own, nothing else ends the children of a container's process.
    if signal == signal::KILL && !has_namespace(&container.spec()?, LinuxNamespaceType::Pid) {
        return Ok(container.cgroup()?.kill(signal)?);
    }
    send(&container, signal)?;
    // A frozen process of cgroup v1 receives no signal, and this one must arrive.
    if status == Status::Paused && signal == signal::KILL {
        container.cgroup()?.thaw()?;
    }
    Ok(())
}

/// Through a descriptor that is opened before the process is recognised: its number cannot be reused in between.
fn send(container: &Container, signal: i32) -> Result<()> {
    let init = container.record.init.ok_or(RuntimeError::NotRunning)?;
    let pid = rustix::process::Pid::from_raw(init.pid).ok_or(RuntimeError::NotRunning)?;
    let opened = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    let process = opened.map_err(|_| RuntimeError::NotRunning)?;
    if !init.lives() {
        return Err(RuntimeError::NotRunning);
    }
    hone_sys::send_signal_to(process.as_fd(), signal).map_err(RuntimeError::call("signal the container's process"))
}
