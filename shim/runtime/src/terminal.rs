//! Terminals of foreground `run` and `exec`: receives the container's terminal and relays between it and ours.

use std::fs::File;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{BoxBuilder, Process};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::error::{Result, RuntimeError};

/// A console socket of our own, for a caller who brought none.
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Listens in the container's directory.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(dir: &Path) -> Result<Self> {
        let name = format!("console-{}.sock", std::process::id());
        let path = dir.join(&name);
        let fail = |source: io::Error| RuntimeError::io("listen at", &path)(source);
        let dir = openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let dir = dir.map_err(|errno| fail(errno.into()))?;
        // A socket's address holds 107 bytes, a state directory's path may be longer.
        let short = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
        let listener = UnixListener::bind(short).map_err(fail)?;
        Ok(Self { listener, path })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal's master side, once the container has sent it.
    ///
    /// # Errors
    /// When something else comes.
    pub fn master(self) -> Result<File> {
        let fail = |source: io::Error| RuntimeError::io("receive the container's terminal at", &self.path)(source);
        let (stream, _) = self.listener.accept().map_err(fail)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 64];
        recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .map_err(|errno| fail(errno.into()))?;
        let mut received = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let master: Option<OwnedFd> = received.next();
        master.map(File::from).ok_or_else(|| fail(io::ErrorKind::InvalidData.into()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It lies in the container's directory, which goes as a whole.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process with the size of our terminal, unless its caller named one.
pub fn with_size(process: &mut Process) {
    if process.console_size().is_some() || process.terminal() != Some(true) {
        return;
    }
    if let Ok(size) = tcgetwinsize(stdin()) {
        let given = BoxBuilder::default().height(size.ws_row).width(size.ws_col).build();
        process.set_console_size(given.ok());
    }
}

/// Our terminal in raw mode, as long as this lives.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> Self {
        let before = tcgetattr(stdin()).ok().filter(|_| isatty(stdin()));
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // A terminal that cannot be raw still works, line by line.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Nothing is left to do for a terminal that is gone.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Bytes between our terminal and the container's.
pub struct Relay {
    master: File,
    input: bool,
    _raw: Raw,
}

impl Relay {
    /// Begins with the size and mode of our terminal.
    pub fn start(master: File) -> Self {
        let relay = Self { master, input: true, _raw: Raw::enter() };
        relay.resize();
        relay
    }

    /// Passes our terminal's size on.
    pub fn resize(&self) {
        if let Ok(size) = tcgetwinsize(stdin()) {
            // The container may just have closed its side.
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Relays until `other` is ready for reading.
    ///
    /// # Errors
    /// When our side fails.
    pub fn until(&mut self, other: impl AsFd) -> io::Result<()> {
        loop {
            let in_flags = if self.input { PollFlags::IN } else { PollFlags::empty() };
            let (stdin, master) = (stdin(), self.master.try_clone()?);
            let mut fds = [
                PollFd::new(&other, PollFlags::IN),
                PollFd::new(&master, PollFlags::IN),
                PollFd::new(&stdin, in_flags),
            ];
            match poll(&mut fds[..if self.input { 3 } else { 2 }], None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let ready = |at: usize| !fds[at].revents().is_empty();
            let (stop, out, input) = (ready(0), fds[1].revents().contains(PollFlags::IN), self.input && ready(2));
            if out {
                self.copy_out()?;
            }
            if input {
                self.copy_in()?;
            }
            if stop || (!out && !input) {
                return Ok(());
            }
        }
    }

    /// What the container wrote before it ended.
    pub fn drain(&mut self) {
        let master = self.master.as_fd();
        while poll(&mut [PollFd::new(&master, PollFlags::IN)], Some(&rustix::time::Timespec::default()))
            .is_ok_and(|n| n > 0)
        {
            let mut buffer = [0; 4096];
            match (&self.master).read(&mut buffer) {
                Ok(got) if got > 0 && write_out(&buffer[..got]).is_ok() => {}
                _ => return,
            }
        }
    }

    fn copy_out(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match self.master.read(&mut buffer) {
            Ok(got) => write_out(&buffer[..got]),
            // EIO: the last process of the terminal has closed it.
            Err(error) if error.raw_os_error() == Some(5) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn copy_in(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        // A terminal that is gone, or whose foreground is somebody else's, is the end of input and no failure.
        let got = rustix::io::read(stdin(), &mut buffer).unwrap_or(0);
        if got == 0 {
            self.input = false;
            return Ok(());
        }
        self.master.write_all(&buffer[..got])
    }
}

fn write_out(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(stdout(), bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
