//! The memory that bytes pass through: so much and no more, aligned for the disk.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

/// Bytes in one buffer.
pub(crate) const CHUNK: usize = 4 << 20;
/// What memory, offsets and lengths past the page cache are multiples of; no device asks for more (open(2), O_DIRECT).
pub(crate) const ALIGN: usize = 4096;
/// Buffers in flight: what is read ahead of the slowest.
pub(crate) const BUFFERS: usize = 6;

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

/// [`BUFFERS`] buffers, made when they are first needed.
pub(crate) struct Pool {
    spare: Sender<Vec<u8>>,
    free: Mutex<Receiver<Vec<u8>>>,
}

impl Pool {
    pub(crate) fn new() -> Self {
        let (spare, free) = channel();
        for _ in 0..BUFFERS {
            // The receiver is right here.
            let _ = spare.send(Vec::new());
        }
        Self { spare, free: Mutex::new(free) }
    }

    /// Waits for a buffer.
    pub(crate) fn take(&self) -> io::Result<Buffer> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = free.recv().map_err(io::Error::other)?;
        if memory.is_empty() {
            memory = vec![0; CHUNK + ALIGN];
        }
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Ok(Buffer { memory, start, len: 0, home: self.spare.clone() })
    }
}
