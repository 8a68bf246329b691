//! The memory that bytes pass through: so much and no more, aligned for the disk.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes in one buffer.
pub(crate) const CHUNK: usize = 4 << 20;
/// What memory, offsets and lengths past the page cache are multiples of; no device asks for more (open(2), O_DIRECT).
pub(crate) const ALIGN: usize = 4096;
/// Files read at the same time, at most: a disk has one head.
const MOST_READ: usize = 4;
/// Buffers in flight: what is read ahead of the slowest. Of each file at most two wait for one before them.
pub(crate) const BUFFERS: usize = 2 * MOST_READ + 2;

/// Bytes whose memory is aligned; it goes back to its pool when they are done with, however that came.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
    home: Sender<Vec<u8>>,
}

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// Fills it by `read`, which is told how far it is, until that has no more.
    pub(crate) fn fill(&mut self, mut read: impl FnMut(usize, &mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        let room = &mut self.memory[self.start..self.start + CHUNK];
        self.len = 0;
        while self.len < CHUNK {
            match read(self.len, &mut room[self.len..]) {
                Ok(0) => break,
                Ok(n) => self.len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // The pool is gone when the pass is over: then nobody needs the memory.
        let _ = self.home.send(std::mem::take(&mut self.memory));
    }
}

/// All the memory that the passes of one [`crate::Ingest`] have, however many there are.
#[derive(Debug)]
pub(crate) struct Pool {
    spare: Sender<Vec<u8>>,
    free: Mutex<Receiver<Vec<u8>>>,
    leave: Sender<()>,
    seats: Mutex<Receiver<()>>,
}

/// Leave to read a file; the next one's when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat<'a>(&'a Sender<()>);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        // The pool outlives its seats.
        let _ = self.0.send(());
    }
}

impl Pool {
    pub(crate) fn new() -> Self {
        let (spare, free) = filled(BUFFERS);
        let processors = thread::available_parallelism().map_or(1, usize::from);
        // Each file has one thread that hashes, which is most of the work.
        let (leave, seats) = filled(processors.min(MOST_READ));
        Self { spare, free, leave, seats }
    }

    /// Waits until one more file may be read. Each holds read-ahead that another one waits for; with more files than
    /// [`MOST_READ`] they could hold all of it, and wait for each other.
    pub(crate) fn enter(&self) -> io::Result<Seat<'_>> {
        taken(&self.seats)?;
        Ok(Seat(&self.leave))
    }

    /// Waits for a buffer.
    pub(crate) fn take(&self) -> io::Result<Buffer> {
        let mut memory = taken(&self.free)?;
        if memory.is_empty() {
            memory = vec![0; CHUNK + ALIGN];
        }
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Ok(Buffer { memory, start, len: 0, home: self.spare.clone() })
    }
}

/// A channel with `n` of what is waited for.
fn filled<T: Default>(n: usize) -> (Sender<T>, Mutex<Receiver<T>>) {
    let (back, out) = channel();
    for _ in 0..n {
        // The receiver is right here.
        let _ = back.send(T::default());
    }
    (back, Mutex::new(out))
}

fn taken<T>(out: &Mutex<Receiver<T>>) -> io::Result<T> {
    out.lock().unwrap_or_else(PoisonError::into_inner).recv().map_err(io::Error::other)
}
