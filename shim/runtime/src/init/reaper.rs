//! PID 1 of a training container: runs the trainer as its child, passes signals on, reaps, and tells how it ended.
//!
//! The trainer holds nothing of this process: the status pipe is closed at its exec, and `/proc/1` is closed to it
//! because this process is not dumpable (it never became another program after the change of user).

use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use hone_sys::{Fork, Signals};
use rustix::process::{DumpableBehavior, Pid, WaitOptions, WaitStatus, getpid, set_dumpable_behavior, setpgid};

use super::Program;
use crate::signal::{CHILD, URGENT};

/// Runs the program and never returns: this process exits as the program did, or with 128 + its signal.
pub fn run(program: &Program, status: &OwnedFd) -> ! {
    let code = match supervise(program, status) {
        Ok((code, _)) => code,
        Err(error) => {
            program.failed(&error);
            1
        }
    };
    std::process::exit(code)
}

fn supervise(program: &Program, status: &OwnedFd) -> std::io::Result<(i32, i32)> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // In a shared PID namespace orphans would otherwise go to the host's init.
    rustix::process::set_child_subreaper(Some(getpid()))?;
    rustix::thread::set_name(c"hone-init")?;
    let signals = Signals::block_all()?;
    let child = match hone_sys::fork()? {
        Fork::Child => become_child(program),
        Fork::Parent(child) => child,
    };
    // Both sides set it: whichever runs first, the group exists before it is needed.
    let _ = setpgid(Some(child), Some(child));
    hone_sys::close_descriptors_from(
        3,
        &[status.as_raw_fd(), rustix::fd::AsRawFd::as_raw_fd(&rustix::fd::AsFd::as_fd(&signals))],
    )?;
    let ended = wait_for(child, &signals)?;
    let line = format!("{} {}\n", ended.0, ended.1);
    // The keeper may be gone; the exit code still tells.
    let _ = std::fs::File::from(status.try_clone()?).write_all(line.as_bytes());
    Ok(ended)
}

/// A process group of its own, in the terminal's foreground: Ctrl-C reaches the trainer from the kernel, as it would
/// without this process.
fn become_child(program: &Program) -> ! {
    let _ = setpgid(None, None);
    let stdin = rustix::stdio::stdin();
    if rustix::termios::isatty(stdin) {
        // SIGTTOU is blocked here, so this works from the background group.
        let _ = rustix::termios::tcsetpgrp(stdin, getpid());
    }
    let error = program.start();
    program.failed(&error);
    std::process::exit(1)
}

fn wait_for(child: Pid, signals: &Signals) -> std::io::Result<(i32, i32)> {
    loop {
        match signals.next()? {
            CHILD => {
                if let Some(ended) = reap(child)? {
                    return Ok(ended);
                }
            }
            URGENT => {}
            // The child may be gone already: its SIGCHLD is next.
            signal => drop(hone_sys::send_signal(child, signal)),
        }
    }
}

/// Reaps whoever has ended; how the child did, if it is among them.
fn reap(child: Pid) -> std::io::Result<Option<(i32, i32)>> {
    let mut ended = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => ended = Some(code_and_signal(status)),
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(ended),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What a shell would say: the code, or 128 + the signal.
fn code_and_signal(status: WaitStatus) -> (i32, i32) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, 0),
        (None, Some(signal)) => (128 + signal, signal),
        (None, None) => (255, 0),
    }
}
