//! One pass over a weight file: read once, hashed twice (the file alone, and the tar around it) and written, all at the
//! same time, in constant memory.
//!
//! Writing out begins while reading goes on, and pages that are on the disk are given back: packing a large model neither
//! ends in one long sync nor pushes the device's other work out of memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use hone_image::Digest;
use hone_image::tar::END;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};

/// Bytes in one buffer.
const CHUNK: usize = 1 << 20;
/// Buffers in flight: what is read ahead of the slower hash.
const BUFFERS: usize = 8;
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
    /// Before.
    pub prefix: &'a [u8],
    /// After: the padding; the tar's end follows.
    pub padding: &'a [u8],
}

type Chunk = Arc<Vec<u8>>;

/// Reads `source` to its end. With `out` the tar is written there; without, its bytes are only hashed.
pub(crate) fn pass(
    source: &mut dyn Read,
    frame: &Frame<'_>,
    out: Option<&File>,
    seen: &dyn Fn(u64),
) -> io::Result<Passed> {
    thread::scope(|scope| {
        let (spare, free) = channel::<Vec<u8>>();
        let (file, file_hash) = hasher(scope, &[], &spare);
        let (tar, tar_hash) = hasher(scope, frame.prefix, &spare);
        let mut writer = Writer { out, at: 0, started: 0 };
        writer.write(frame.prefix)?;
        let mut pool = Pool { free, made: 0 };
        let mut size = 0;
        loop {
            let mut buffer = pool.take()?;
            if fill(source, &mut buffer)? == 0 {
                break;
            }
            size += buffer.len() as u64;
            let chunk = Arc::new(buffer);
            send(&file, &chunk)?;
            send(&tar, &chunk)?;
            writer.write(&chunk)?;
            give_back(chunk, &spare);
            seen(size);
        }
        drop(file);
        let tail = [frame.padding, &END].concat();
        send(&tar, &Arc::new(tail.clone()))?;
        drop(tar);
        writer.write(&tail)?;
        Ok(Passed { file: joined(file_hash)?, tar: joined(tar_hash)?, size })
    })
}

/// A thread that hashes `first` and then what it is sent.
fn hasher<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    first: &[u8],
    spare: &Sender<Vec<u8>>,
) -> (SyncSender<Chunk>, ScopedJoinHandle<'scope, Digest>) {
    let mut hasher = Sha256::new();
    hasher.update(first);
    let (sender, chunks): (_, Receiver<Chunk>) = sync_channel(BUFFERS);
    let spare = spare.clone();
    let handle = scope.spawn(move || {
        for chunk in chunks {
            hasher.update(chunk.as_slice());
            give_back(chunk, &spare);
        }
        Digest::from_sha256(hasher.finalize().into())
    });
    (sender, handle)
}

/// Whoever is last with a buffer returns it.
fn give_back(chunk: Chunk, spare: &Sender<Vec<u8>>) {
    if let Some(buffer) = Arc::into_inner(chunk) {
        // The pool is gone when the pass has failed: then nobody needs the buffer.
        let _ = spare.send(buffer);
    }
}

fn send(to: &SyncSender<Chunk>, chunk: &Chunk) -> io::Result<()> {
    to.send(Arc::clone(chunk)).map_err(|_| io::Error::other("a hashing thread ended early"))
}

fn joined(handle: ScopedJoinHandle<'_, Digest>) -> io::Result<Digest> {
    handle.join().map_err(|_| io::Error::other("a hashing thread panicked"))
}

struct Pool {
    free: Receiver<Vec<u8>>,
    made: usize,
}

impl Pool {
    fn take(&mut self) -> io::Result<Vec<u8>> {
        if let Ok(buffer) = self.free.try_recv() {
            return Ok(buffer);
        }
        if self.made < BUFFERS {
            self.made += 1;
            return Ok(Vec::with_capacity(CHUNK));
        }
        self.free.recv().map_err(|_| io::Error::other("a hashing thread ended early"))
    }
}

/// Fills a buffer as far as the source goes.
fn fill(source: &mut dyn Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.clear();
    source.take(CHUNK as u64).read_to_end(buffer)
}

struct Writer<'a> {
    out: Option<&'a File>,
    at: u64,
    started: u64,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(mut out) = self.out else {
            return Ok(());
        };
        out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        if self.at - self.started >= WINDOW {
            // On dirty pages this starts write-out, on clean ones it drops them (mm/fadvise.c). Advice only: a file
            // system that has none loses nothing but time.
            let _ = fadvise(out, self.started, NonZeroU64::new(self.at - self.started), Advice::DontNeed);
            if let Some(behind) = self.started.checked_sub(BEHIND) {
                let _ = fadvise(out, behind, NonZeroU64::new(WINDOW), Advice::DontNeed);
            }
            self.started = self.at;
        }
        Ok(())
    }
}
