//! Processes and their descriptors: fork, close-on-exec ranges, umask.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::Pid;

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that called; the child's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Duplicates this process, which must have one thread only.
///
/// # Errors
/// `EDEADLK` when `/proc` shows more than one thread: a lock held by another of them would stay locked in the
/// child for ever. Otherwise what fork(2) says.
pub fn fork() -> io::Result<Fork> {
    if let Ok(tasks) = std::fs::read_dir("/proc/self/task")
        && tasks.count() > 1
    {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    // SAFETY: fork has no memory preconditions. The one thread of this process, checked above wherever /proc is
    // mounted, holds no lock in here, so the child may go on as ordinary Rust.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Marks every descriptor from `first` on as closed at exec.
///
/// # Errors
/// What close_range(2) says (`ENOSYS` before Linux 5.11).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC changes descriptor flags only; no descriptor becomes invalid.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from `first` on, except those in `keep`.
///
/// For a process that is about to live on without what it inherited. Whoever calls it owns none of the
/// descriptors that it closes in a form that closes them again (`OwnedFd`, `File`), or never drops that owner.
///
/// # Errors
/// What close_range(2) says.
pub fn close_descriptors_from(first: u32, keep: &[i32]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut from = first;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: closing is sound because callers of `close_descriptors_from` promise that no live owner of these
    // descriptors will use or close them afterwards.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Becomes another program, with no signal blocked and SIGPIPE as the kernel gives it; returns only on failure.
///
/// Unlike `std::process::Command` it keeps the order of the environment, which programs print.
pub fn become_program(program: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    if let Err(error) = crate::SignalMask::unblock_all() {
        return error;
    }
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE; Rust's start-up code had set it to SIG_IGN.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: both arrays end with a null pointer, and their strings are NUL-terminated and outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Sends signal number `signal`, which may be a real-time one.
///
/// # Errors
/// What kill(2) says.
pub fn send_signal(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) has no memory preconditions; an invalid number is refused with EINVAL.
    let result = unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends signal number `signal` to the process behind a pidfd.
///
/// # Errors
/// What pidfd_send_signal(2) says.
pub fn send_signal_to(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open for as long as it is borrowed, and a null siginfo asks for the default one.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the file mode creation mask and returns the one before.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: umask(2) cannot fail and touches no memory.
    unsafe { libc::umask(mask) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn fork_refuses_a_threaded_process() {
        // The test harness itself runs this test on a second thread.
        let error = fork().expect_err("two threads");
        assert_eq!(error.raw_os_error(), Some(libc::EDEADLK));
    }

    #[test]
    fn close_on_exec_leaves_descriptors_open() {
        let (mut reader, mut writer) = std::io::pipe().expect("pipe");
        close_on_exec_from(1000).expect("close_range");
        writer.write_all(b"x").expect("write");
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "x");
    }
}
