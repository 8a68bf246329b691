//! One pass over a weight file: read, hashed (the file alone and the tar around it, by one thread in the time of one sum:
//! hone-hash) and written, all at the same time, in constant memory.
//!
//! The data goes to the disk past the page cache where the file system can do that: packing a large model neither ends in
//! one long sync nor pushes the device's other work out of memory, and costs half the processor time of a copy. Else
//! writing out begins while reading goes on.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use hone_contract::Digest;
use hone_hash::Twin;
use hone_image::tar::{END, WEIGHT_OFFSET};
use rustix::fs::{Advice, OFlags, fadvise};

use crate::buffer::{ALIGN, BUFFERS, Buffer, Pool};
use crate::weight_reader::Source;

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

type Chunk = Arc<Buffer>;

/// Reads `source` to its end. With `out`, a file and its path, the tar is written there; without, its bytes are only
/// hashed.
pub(crate) fn pass(
    pool: &Pool,
    source: &Source<'_>,
    frame: &Frame<'_>,
    out: Option<(&File, &Path)>,
    seen: &dyn Fn(u64),
) -> io::Result<Passed> {
    let seat = pool.enter()?;
    let tail = [frame.padding, &END].concat();
    thread::scope(|scope| {
        let written = out.map(|(file, path)| writer(scope, Writer::new(file, path), frame.prefix, &tail));
        let (to, written) = written.unzip();
        let ways = source.ways();
        let steps: Vec<_> = (0..ways).map(|first| reader(scope, source, pool, first, ways)).collect();
        let mut sums = Twin::new([&[], frame.prefix]);
        let read = hash(&steps, to.as_ref(), &mut sums, seen);
        // The next file is read while the last of this one is written.
        drop(seat);
        drop((steps, to));
        written.map_or(Ok(Ok(())), joined)??;
        let size = read?;
        let [file, tar] = sums.finish([&[], &tail]).map(Digest::from_sha256);
        Ok(Passed { file, tar, size })
    })
}

/// Hashes the steps in the file's order, from one reader after the other, and hands them on to who writes them.
fn hash(
    steps: &[Receiver<io::Result<Buffer>>],
    to: Option<&SyncSender<Chunk>>,
    sums: &mut Twin,
    seen: &dyn Fn(u64),
) -> io::Result<u64> {
    let mut size = 0;
    for step in steps.iter().cycle() {
        // The reader of what comes next has met the end.
        let Ok(buffer) = step.recv() else { break };
        let chunk = Arc::new(buffer?);
        size += chunk.bytes().len() as u64;
        // A thread that ended early has failed; its own error says why.
        if to.is_some_and(|to| to.send(Arc::clone(&chunk)).is_err()) {
            break;
        }
        sums.update(chunk.bytes());
        seen(size);
    }
    Ok(size)
}

/// A thread that reads every so many-th step of the file: several of them keep the disk busy.
fn reader<'scope>(
    scope: &'scope Scope<'scope, '_>,
    source: &'scope Source<'_>,
    pool: &'scope Pool,
    first: usize,
    ways: usize,
) -> Receiver<io::Result<Buffer>> {
    let (sender, steps) = sync_channel(1);
    scope.spawn(move || {
        for step in (first as u64..).step_by(ways) {
            let read = pool.take().and_then(|mut buffer| source.read(step, &mut buffer).map(|()| buffer));
            if matches!(&read, Ok(end) if end.bytes().is_empty()) || sender.send(read).is_err() {
                break;
            }
        }
    });
    steps
}

/// A thread that writes `first`, what it is sent, and `last`.
fn writer<'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut writer: Writer<'scope>,
    first: &[u8],
    last: &[u8],
) -> (SyncSender<Chunk>, ScopedJoinHandle<'scope, io::Result<()>>) {
    let (sender, chunks): (_, Receiver<Chunk>) = sync_channel(BUFFERS);
    let (first, last) = (first.to_vec(), last.to_vec());
    let handle = scope.spawn(move || {
        writer.write(&first)?;
        for chunk in chunks {
            writer.data(chunk.bytes())?;
        }
        writer.write(&last)
    });
    (sender, handle)
}

fn joined<T>(handle: ScopedJoinHandle<'_, T>) -> io::Result<T> {
    handle.join().map_err(|_| io::Error::other("a packing thread panicked"))
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

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    use super::*;
    use crate::WeightFile;
    use crate::buffer::CHUNK;

    /// A file of `size` bytes in memory, and its path.
    fn memory(size: u64) -> (File, std::path::PathBuf) {
        use std::os::fd::AsRawFd;
        let file = File::from(memfd_create("w", MemfdFlags::ALLOW_SEALING).expect("memfd"));
        file.set_len(size).expect("size");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        (file, path)
    }

    fn passed(size: u64, room: u64) -> io::Result<Passed> {
        let ((from, source), (out, path)) = (memory(size), memory(room));
        fcntl_add_seals(&out, SealFlags::GROW).expect("seal");
        let weight = WeightFile { path: "w", source: &source, offset: 0, size, digest: None };
        let frame = Frame { prefix: &[0; WEIGHT_OFFSET as usize], padding: &[] };
        pass(&Pool::new(), &Source::new(&from, &weight), &frame, Some((&out, &path)), &|_| {})
    }

    #[test]
    fn a_disk_that_refuses_midway_ends_the_pass() {
        let size = (4 * BUFFERS * CHUNK) as u64;
        let whole = WEIGHT_OFFSET + size + END.len() as u64;
        assert_eq!(passed(size, whole).expect("room for all").size, size);
        for room in [0, WEIGHT_OFFSET, WEIGHT_OFFSET + size / 2, whole - 1] {
            passed(size, room).map(|_| ()).expect_err("no room");
        }
    }
}
