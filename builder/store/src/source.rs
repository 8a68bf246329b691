//! Reading a weight file: from the page cache where it is there, else past it.
//!
//! A model that is read once for packing would push out what the device's other work has in memory, and reading it through
//! the cache costs as much processor time as hashing half of it.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::WeightFile;

/// What offsets and lengths of a read past the page cache are multiples of (open(2), O_DIRECT).
const ALIGN: u64 = 4096;
/// Places at which a file is asked whether it is in the page cache.
const SAMPLES: u64 = 16;

/// The bytes of a weight file, in order.
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
        let past = at.is_multiple_of(ALIGN) && !cached(file, at, weight.size);
        let flags = OFlags::DIRECT.bits() as i32;
        let open = || File::options().read(true).custom_flags(flags).open(weight.source).ok();
        Self { file, direct: past.then(open).flatten(), at, end }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.at);
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        if let Some(direct) = self.direct.as_ref().filter(|_| self.at.is_multiple_of(ALIGN) && want as u64 >= ALIGN) {
            let whole = want - want % ALIGN as usize;
            match direct.read_at(&mut buffer[..whole], self.at) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                read => return read.inspect(|n| self.at += *n as u64),
            }
        }
        self.file.read_at(&mut buffer[..want], self.at).inspect(|n| self.at += *n as u64)
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
