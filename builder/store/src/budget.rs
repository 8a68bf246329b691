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

#[cfg(test)]
mod tests {
    use super::*;
    use hone_image::{Digest, LayerKind};

    #[test]
    fn a_bomb_ends_where_a_real_layer_would_have() {
        let stored = |size| Layer::zstd(LayerKind::Other, Digest::of(b""), size, Digest::of(b""));
        assert_eq!(Expanded::of(&stored(0), io::empty()).limit, FREE);
        assert_eq!(Expanded::of(&stored(1 << 30), io::empty()).limit, FREE + RATIO * FREE);
        assert_eq!(Expanded::of(&stored(u64::MAX), io::empty()).limit, u64::MAX);
        let zeros = vec![0; 2 << 20];
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            io::copy(&mut &zeros[..], &mut encoder).expect("gzip");
            encoder.finish().expect("gzip")
        };
        let zstd = zstd::encode_all(&zeros[..], 1).expect("zstd");
        let limited = |reader: Box<dyn Read>, left| {
            let mut bytes = 0;
            let mut reader = Expanded { inner: reader, limit: left, left };
            io::copy(&mut reader, &mut io::sink()).map(|n| bytes += n).map(|()| bytes)
        };
        for limit in [2 << 20, 3 << 20] {
            let gzip = Box::new(flate2::read::MultiGzDecoder::new(io::Cursor::new(gzip.clone())));
            assert_eq!(limited(gzip, limit).expect("within"), 2 << 20);
            let zstd = Box::new(zstd::Decoder::new(io::Cursor::new(zstd.clone())).expect("zstd"));
            assert_eq!(limited(zstd, limit).expect("within"), 2 << 20);
        }
        let gzip = Box::new(flate2::read::MultiGzDecoder::new(io::Cursor::new(gzip)));
        let said = limited(gzip, (2 << 20) - 1).expect_err("a bomb").to_string();
        assert!(said.ends_with("refused as a compression bomb"), "{said}");
        let zstd = Box::new(zstd::Decoder::new(io::Cursor::new(zstd)).expect("zstd"));
        assert!(limited(zstd, (2 << 20) - 1).is_err());
    }
}
