//! How far long work is: what a library tells, and a program shows as it likes.

use std::io::{self, Read, Write};

use crate::Digest;

/// Is told of the steps of long work. Whether anybody looks decides nothing.
pub trait Progress: Sync {
    /// A step begins; `total` bytes when it is known how much there is to do.
    fn step(&self, label: &str, total: Option<u64>) -> Box<dyn Step>;

    /// What the user should know, though it keeps nothing from being done.
    fn note(&self, text: &str);
}

/// A step that is being done. Dropped without [`Step::done`] or [`Step::noted`], it failed.
pub trait Step {
    /// So many bytes are done.
    fn seen(&self, bytes: u64);

    /// It is done: what came of it, and what there is to say of it.
    fn end(self: Box<Self>, bytes: u64, digest: Option<Digest>, note: Option<&str>);

    /// It is done, and this is what came of it.
    fn done(self: Box<Self>, bytes: u64, digest: Digest) {
        self.end(bytes, Some(digest), None);
    }

    /// It is done, and there is something to say of it, too.
    fn noted(self: Box<Self>, bytes: u64, digest: Option<Digest>, note: &str) {
        self.end(bytes, digest, Some(note));
    }
}

/// What a step reads or writes, counted.
pub struct Over<'s, T> {
    step: &'s dyn Step,
    inner: T,
    bytes: u64,
}

/// Counts what goes through a reader or a writer.
pub fn over<T>(step: &dyn Step, inner: T) -> Over<'_, T> {
    Over { step, inner, bytes: 0 }
}

impl<T> Over<'_, T> {
    fn seen(&mut self, bytes: usize) -> usize {
        self.bytes += bytes as u64;
        self.step.seen(self.bytes);
        bytes
    }
}

impl<T: Read> Read for Over<'_, T> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(to)?;
        Ok(self.seen(got))
    }
}

impl<T: Write> Write for Over<'_, T> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let put = self.inner.write(from)?;
        Ok(self.seen(put))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// For callers that show nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: &str, _: Option<u64>) -> Box<dyn Step> {
        Box::new(Self)
    }

    fn note(&self, _: &str) {}
}

impl Step for Silent {
    fn seen(&self, _: u64) {}

    fn end(self: Box<Self>, _: u64, _: Option<Digest>, _: Option<&str>) {}
}
