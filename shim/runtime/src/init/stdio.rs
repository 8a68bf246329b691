//! Standard input, output and error of the payload.

use std::os::fd::{AsFd, BorrowedFd};

use oci_spec::runtime::{Process, User};
use rustix::fs::{Stat, Uid, fchown, fstat, major, minor};
use rustix::io::Errno;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use rustix::termios::{Winsize, tcsetwinsize};

/// Points those of 0, 1 and 2 that are the host's `/dev/null` at the container's, open for reading and writing.
///
/// libcontainer opens it for reading only, and every write then fails with EBADF.
pub fn reopen_null() -> Result<(), String> {
    let is_null = |fd: BorrowedFd<'_>| fstat(fd).is_ok_and(|stat| null(&stat));
    let wanted = [is_null(stdin()), is_null(stdout()), is_null(stderr())];
    if !wanted.contains(&true) {
        return Ok(());
    }
    let opened = std::fs::File::options().read(true).write(true).open("/dev/null");
    let file = opened.map_err(|error| format!("open /dev/null: {}", super::plain(&error)))?;
    if !is_null(file.as_fd()) {
        return Err("open /dev/null: not the null device".into());
    }
    let moved = [
        wanted[0].then(|| dup2_stdin(&file)),
        wanted[1].then(|| dup2_stdout(&file)),
        wanted[2].then(|| dup2_stderr(&file)),
    ];
    moved
        .into_iter()
        .flatten()
        .try_for_each(|done| done.map_err(|e| format!("reopen /dev/null: {}", super::plain(&e.into()))))
}

/// Gives pipes and terminals to the payload's user, so that it can open `/dev/stderr` and its own terminal.
pub fn give_to(user: &User) -> Result<(), String> {
    for fd in [stdin(), stdout(), stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        if null(&stat) || stat.st_uid == user.uid() {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(user.uid())), None) {
            // A file on a read-only or foreign filesystem, or an owner that this user namespace does not map: the
            // descriptor itself still works.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(errno) => return Err(format!("chown stdio: {}", super::plain(&errno.into()))),
        }
    }
    Ok(())
}

/// Gives the terminal the size that the configuration names, before anyone asks for it.
pub fn resize(process: &Process) -> Result<(), String> {
    let Some(size) = process.console_size().filter(|_| process.terminal() == Some(true)) else { return Ok(()) };
    let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    let size = Winsize { ws_row: clamp(size.height()), ws_col: clamp(size.width()), ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(stdin(), size).map_err(|errno| format!("set terminal size: {}", super::plain(&errno.into())))
}

fn null(stat: &Stat) -> bool {
    let is_device = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice;
    is_device && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
}
