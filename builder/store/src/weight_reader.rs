//! Reading a weight file: from the page cache where it is there, else past it.
//!
//! A model that is read once for packing would push out what the device's other work has in memory, and reading it through
//! the cache costs as much processor time as hashing half of it.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::WeightFile;
use crate::buffer::{ALIGN, Buffer, CHUNK};

/// Places at which a file is asked whether it is in the page cache.
const SAMPLES: u64 = 16;

/// The bytes of a weight file, in steps of a buffer.
pub(crate) struct Source<'a> {
    file: &'a File,
    /// The same file, past the page cache.
    direct: Option<File>,
    at: u64,
    end: u64,
}

impl<'a> Source<'a> {
    pub(crate) fn new(file: &'a File, weight: &WeightFile<'_>) -> Self {
        let (at, end) = (weight.offset, weight.offset.saturating_add(weight.size));
        let past = at.is_multiple_of(ALIGN as u64) && !cached(file, at, weight.size);
        let flags = OFlags::DIRECT.bits() as i32;
        // This file and no other that has its name by now.
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let open = || File::options().read(true).custom_flags(flags).open(again).ok();
        Self { file, direct: past.then(open).flatten(), at, end }
    }

    /// How many steps to read at a time: past the page cache nothing reads ahead but we.
    pub(crate) fn ways(&self) -> usize {
        if self.direct.is_some() { 2 } else { 1 }
    }

    /// Reads step `step`: a whole buffer, what is left, or nothing after the end.
    pub(crate) fn read(&self, step: u64, buffer: &mut Buffer) -> io::Result<()> {
        let begin = self.at.saturating_add(step.saturating_mul(CHUNK as u64));
        buffer.fill(|done, room| {
            let at = begin.saturating_add(done as u64);
            let left = self.end.saturating_sub(at);
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
            self.read_at(&mut room[..want], at)
        })
    }

    fn read_at(&self, room: &mut [u8], at: u64) -> io::Result<usize> {
        let whole = room.len() - room.len() % ALIGN;
        if let Some(direct) = self.direct.as_ref().filter(|_| at.is_multiple_of(ALIGN as u64) && whole > 0) {
            match direct.read_at(&mut room[..whole], at) {
                // A file system or a device with rules of its own is read the usual way.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                read => return read,
            }
        }
        self.file.read_at(room, at)
    }
}

/// Whether most of the range is in memory, asked without waiting for any of it.
fn cached(file: &File, at: u64, size: u64) -> bool {
    let here = |n: &u64| {
        let place = at + size / SAMPLES * n;
        let asked = preadv2(file, &mut [IoSliceMut::new(&mut [0])], place, ReadWriteFlags::NOWAIT);
        // A file system that cannot say has its cache used.
        !matches!(asked, Err(Errno::AGAIN))
    };
    (0..SAMPLES).filter(here).count() as u64 * 2 > SAMPLES
}
