//! Signals as descriptors: block a set, then read what arrives, in the order of a poll loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The signal mask as it was; [`SignalMask::restore`] brings it back.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// Makes this mask the current one again.
    ///
    /// # Errors
    /// What sigprocmask(2) says.
    pub fn restore(&self) -> io::Result<()> {
        // SAFETY: self.0 was filled by sigprocmask in `Signals::block_all`.
        let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Unblocks every signal, for a process that is about to become someone else's program.
    ///
    /// # Errors
    /// What sigprocmask(2) says.
    pub fn unblock_all() -> io::Result<()> {
        Self(empty_set()).restore()
    }
}

/// Every signal that can be blocked, read from a descriptor.
pub struct Signals {
    fd: OwnedFd,
    before: SignalMask,
}

impl Signals {
    /// Blocks all signals but those that report a fault of this program, and opens them for reading.
    ///
    /// Call it before the child is started: a child that ends first is then still reported.
    ///
    /// # Errors
    /// What sigprocmask(2) and signalfd(2) say.
    pub fn block_all() -> io::Result<Self> {
        let set = all_but_faults();
        let mut before = SignalMask(empty_set());
        // SAFETY: both sets are initialised and live across the call.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, &mut before.0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: set is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd has just returned this descriptor, and nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, before })
    }

    /// The next signal, waiting for it.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn next(&self) -> io::Result<i32> {
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            // SAFETY: the buffer is `size` bytes, and any byte pattern is a valid signalfd_siginfo.
            let got = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if got == size as isize {
                // SAFETY: zeroed at first and now filled whole by the kernel.
                return Ok(unsafe { info.assume_init() }.ssi_signo as i32);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// The mask as it was before.
    pub fn mask_before(&self) -> SignalMask {
        self.before
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigemptyset initialises the whole set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn all_but_faults() -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: set is initialised and the numbers are valid signals.
    unsafe {
        libc::sigfillset(&mut set);
        for fault in
            [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS]
        {
            libc::sigdelset(&mut set, fault);
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_raised_after_blocking_is_read() {
        let signals = Signals::block_all().expect("block");
        // SAFETY: raise delivers to this thread, where SIGUSR1 is blocked.
        unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(signals.next().expect("read"), libc::SIGUSR1);
        signals.mask_before().restore().expect("restore");
    }
}
