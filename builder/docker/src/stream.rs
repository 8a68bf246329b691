//! A connection on which nothing is waited for without a bound.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::address::Address;
use crate::error::silent;

/// What both kinds of sockets have.
pub(crate) trait Stream: Read + Write + Send {
    /// Bounds each read and write from now on.
    fn bound(&self, left: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn bound(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left)).and_then(|()| self.set_write_timeout(Some(left)))
    }
}

impl Stream for TcpStream {
    fn bound(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left)).and_then(|()| self.set_write_timeout(Some(left)))
    }
}

/// Connects within a bound: a daemon that hangs lets nobody in once its queue is full, and the kernel waits for it, as
/// it does for a name server.
pub(crate) fn connect(address: &Address, within: Duration) -> io::Result<Box<dyn Stream>> {
    let (sender, receiver) = channel();
    let address = address.clone();
    let connected = move || -> io::Result<Box<dyn Stream>> {
        Ok(match address {
            Address::Unix(path) => Box::new(UnixStream::connect(path)?),
            Address::Tcp(host) => Box::new(TcpStream::connect(host)?),
        })
    };
    // The thread is left to itself where nobody answers; it has nothing but this.
    thread::spawn(move || sender.send(connected()));
    receiver.recv_timeout(within).unwrap_or_else(|_| Err(silent("let nobody in", within)))
}
