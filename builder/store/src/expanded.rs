//! How much a compressed layer may hold.
//!
//! A few bytes of gzip or zstd stand for gigabytes of zeros, and a manifest does not say how many. What a layer
//! unpacks to is therefore bounded by what it takes in the store: real layers are two to twenty times as large.

use std::io::{self, Read};

use hone_image::Layer;

/// What any layer may hold (bytes).
const FREE: u64 = 1 << 30;
/// What it may hold besides, for each byte stored.
const RATIO: u64 = 100;

/// A decompressed layer that ends with an error where a bomb would go on.
#[derive(Debug)]
pub(crate) struct Expanded<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R> Expanded<R> {
    /// What `inner` gives of `layer`, within the layer's bound.
    pub(crate) fn of(layer: &Layer, inner: R) -> Self {
        let limit = layer.descriptor.size.saturating_mul(RATIO).saturating_add(FREE);
        Self { inner, limit, left: limit }
    }
}

/// The layer goes on.
#[derive(Debug, thiserror::Error)]
#[error("decompress layer: got more than {0} bytes, {RATIO} for each byte stored; refused as a compression bomb")]
struct Bomb(u64);

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, Bomb(self.limit))),
        }
        Ok(n)
    }
}
