//! One pass over a weight file: read once, hashed twice (the file alone, and the tar around it) and written, all at the
//! same time, in constant memory.
//!
//! The data goes to the disk past the page cache where the file system can do that: packing a large model neither ends in
//! one long sync nor pushes the device's other work out of memory, and costs half the processor time of a copy. Else
//! writing out begins while reading goes on.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use hone_image::Digest;
use hone_image::tar::{END, WEIGHT_OFFSET};
use rustix::fs::{Advice, OFlags, fadvise};
use sha2::{Digest as _, Sha256};

/// Bytes in one buffer.
const CHUNK: usize = 4 << 20;
/// What memory and offsets of a write past the page cache are multiples of; no device asks for more (open(2), O_DIRECT).
const ALIGN: usize = 4096;
/// Buffers in flight: what is read ahead of the slowest.
const BUFFERS: usize = 6;
/// Writing out is asked for in steps of this many bytes.
const WINDOW: u64 = 8 << 20;
/// Pages this far behind are on the disk, as a rule, and can go (bytes).
const BEHIND: u64 = 64 << 20;

/// What came of a pass.
pub(crate) struct Passed {
    /// sha256 of the file.
    pub file: Digest,
    /// sha256 of the tar.
    pub tar: Digest,
    /// Bytes of the file.
    pub size: u64,
}

/// What is around the file's data in the tar.
pub(crate) struct Frame<'a> {
    /// Before: [`WEIGHT_OFFSET`] bytes.
    pub prefix: &'a [u8],
    /// After: the padding; the tar's end follows.
    pub padding: &'a [u8],
}

/// Bytes whose memory is aligned for writes past the page cache.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

type Chunk = Arc<Buffer>;

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; CHUNK + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { memory, start, len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// Fills it as far as the source goes.
    fn fill(&mut self, source: &mut dyn Read) -> io::Result<usize> {
        let room = &mut self.memory[self.start..self.start + CHUNK];
        self.len = 0;
        while self.len < CHUNK {
            match source.read(&mut room[self.len..]) {
                Ok(0) => break,
                Ok(n) => self.len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.len)
    }
}

/// Reads `source` to its end. With `out`, a file and its path, the tar is written there; without, its bytes are only
/// hashed.
pub(crate) fn pass(
    source: &mut dyn Read,
    frame: &Frame<'_>,
    out: Option<(&File, &Path)>,
    seen: &dyn Fn(u64),
) -> io::Result<Passed> {
    thread::scope(|scope| {
        let (spare, free) = channel();
        let (file, file_hash) = hasher(scope, &[], &[], &spare);
        let tail = [frame.padding, &END].concat();
        let (tar, tar_hash) = hasher(scope, frame.prefix, &tail, &spare);
        let written = out.map(|(file, path)| writer(scope, Writer::new(file, path), frame.prefix, &tail, &spare));
        let (data, written) = written.unzip();
        let mut to: Vec<SyncSender<Chunk>> = vec![file, tar];
        to.extend(data);
        let mut pool = Pool { free, made: 0 };
        let mut size = 0;
        let read = loop {
            let mut buffer = pool.take()?;
            match buffer.fill(source) {
                Ok(0) => break Ok(()),
                Ok(n) => size += n as u64,
                Err(error) => break Err(error),
            }
            let chunk = Arc::new(buffer);
            // A thread that ended early has failed; its own error says why.
            if to.iter().any(|to| to.send(Arc::clone(&chunk)).is_err()) {
                break Ok(());
            }
            give_back(chunk, &spare);
            seen(size);
        };
        drop(to);
        written.map_or(Ok(Ok(())), joined)??;
        read?;
        Ok(Passed { file: joined(file_hash)?, tar: joined(tar_hash)?, size })
    })
}

/// A thread that hashes `first`, what it is sent, and `last`.
fn hasher<'scope>(
    scope: &'scope Scope<'scope, '_>,
    first: &[u8],
    last: &[u8],
    spare: &Sender<Buffer>,
) -> (SyncSender<Chunk>, ScopedJoinHandle<'scope, Digest>) {
    let mut hasher = Sha256::new();
    hasher.update(first);
    let (sender, chunks): (_, Receiver<Chunk>) = sync_channel(BUFFERS);
    let (spare, last) = (spare.clone(), last.to_vec());
    let handle = scope.spawn(move || {
        for chunk in chunks {
            hasher.update(chunk.bytes());
            give_back(chunk, &spare);
        }
        hasher.update(last);
        Digest::from_sha256(hasher.finalize().into())
    });
    (sender, handle)
}

/// A thread that writes `first`, what it is sent, and `last`.
fn writer<'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut writer: Writer<'scope>,
    first: &[u8],
    last: &[u8],
    spare: &Sender<Buffer>,
) -> (SyncSender<Chunk>, ScopedJoinHandle<'scope, io::Result<()>>) {
    let (sender, chunks): (_, Receiver<Chunk>) = sync_channel(BUFFERS);
    let (spare, first, last) = (spare.clone(), first.to_vec(), last.to_vec());
    let handle = scope.spawn(move || {
        writer.write(&first)?;
        for chunk in chunks {
            writer.data(chunk.bytes())?;
            give_back(chunk, &spare);
        }
        writer.write(&last)
    });
    (sender, handle)
}

/// Whoever is last with a buffer returns it.
fn give_back(chunk: Chunk, spare: &Sender<Buffer>) {
    if let Some(buffer) = Arc::into_inner(chunk) {
        // The pool is gone when the pass has failed: then nobody needs the buffer.
        let _ = spare.send(buffer);
    }
}

fn joined<T>(handle: ScopedJoinHandle<'_, T>) -> io::Result<T> {
    handle.join().map_err(|_| io::Error::other("a packing thread panicked"))
}

struct Pool {
    free: Receiver<Buffer>,
    made: usize,
}

impl Pool {
    fn take(&mut self) -> io::Result<Buffer> {
        if let Ok(buffer) = self.free.try_recv() {
            return Ok(buffer);
        }
        if self.made < BUFFERS {
            self.made += 1;
            return Ok(Buffer::new());
        }
        self.free.recv().map_err(|_| io::Error::other("a packing thread ended early"))
    }
}

struct Writer<'a> {
    out: &'a File,
    /// The same file, past the page cache.
    direct: Option<File>,
    at: u64,
    started: u64,
}

impl<'a> Writer<'a> {
    fn new(out: &'a File, path: &Path) -> Self {
        let flags = OFlags::DIRECT.bits() as i32;
        // Some file systems have no such writes (tmpfs), and say so now or at the first one.
        let direct = File::options().write(true).custom_flags(flags).open(path).ok();
        Self { out, direct, at: 0, started: WEIGHT_OFFSET }
    }

    /// Writes a chunk of the file; all but the last are whole.
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let whole = bytes.len().is_multiple_of(ALIGN) && self.at.is_multiple_of(ALIGN as u64);
        let Some(direct) = self.direct.as_ref().filter(|_| whole) else {
            return self.write(bytes);
        };
        match direct.write_all_at(bytes, self.at) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                self.started = self.at;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.direct = None;
                self.write(bytes)
            }
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at.saturating_sub(self.started) >= WINDOW {
            // On dirty pages this starts write-out, on clean ones it drops them (mm/fadvise.c). Advice only: a file
            // system that has none loses nothing but time.
            let _ = fadvise(self.out, self.started, NonZeroU64::new(self.at - self.started), Advice::DontNeed);
            if let Some(behind) = self.started.checked_sub(BEHIND) {
                let _ = fadvise(self.out, behind, NonZeroU64::new(WINDOW), Advice::DontNeed);
            }
            self.started = self.at;
        }
        Ok(())
    }
}
