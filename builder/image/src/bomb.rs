//! The bomb limit: how much may come out of little.
//!
//! A few bytes of gzip or zstd stand for gigabytes of zeros, and a manifest does not say how many. What a layer
//! unpacks to is therefore bounded by what it takes in the store: real layers are two to twenty times as large. One
//! gigabyte besides is for all of an image together: four layers of thirty kilobytes are not four gigabytes. The holes of
//! sparse files, which take no room in a tar, have as much (`untar`).

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layer::{Compression, compression};
use crate::oci::Descriptor;
use crate::{Image, Layer, Pack};

/// What may come out of nothing (bytes): the layers of any image, and the sparse files of any tar.
pub const FREE: u64 = 1 << 30;
/// What they may hold besides, for each byte stored.
const RATIO: u64 = 100;

/// What the compressed layers of one image, or of all that one name stands for, may still hold. Whoever reads several
/// of them takes one budget for all.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicU64>,
    limit: u64,
}

impl Budget {
    /// For the layers of one image.
    pub fn of_image(image: &Image) -> Self {
        Self::of(image.layers().iter().map(|layer| &layer.descriptor))
    }

    /// For the layers of all images and artifacts of a pack.
    pub fn of_pack(pack: &Pack) -> Self {
        Self::of(pack.layers())
    }

    /// For one layer by itself.
    pub fn of_layer(layer: &Layer) -> Self {
        Self::of([&layer.descriptor])
    }

    /// For these blobs, each counted once however often it is named. What is not compressed holds what it takes.
    pub fn of<'d>(blobs: impl IntoIterator<Item = &'d Descriptor>) -> Self {
        let compressed = |d: &&Descriptor| compression(&d.media_type).is_some_and(|c| c != Compression::None);
        let stored: BTreeMap<_, _> = blobs.into_iter().filter(compressed).map(|d| (d.digest, d.size)).collect();
        let limit = allowed(stored.values().fold(0, |sum, size| sum.saturating_add(*size)));
        Self { left: Arc::new(AtomicU64::new(limit)), limit }
    }

    /// What `inner` unpacks of `blob`, until the blob's or the image's bound is reached; then an error.
    pub fn meter<R: Read>(&self, blob: &Descriptor, inner: R) -> Expanded<R> {
        let limit = allowed(blob.size);
        Expanded { inner, budget: self.clone(), limit, left: limit }
    }

    /// Takes `n` bytes of what is left.
    fn take(&self, n: u64) -> io::Result<()> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(n));
        taken.map(drop).map_err(|_| bomb("the image's layers together", self.limit))
    }
}

/// What this many stored bytes may hold.
fn allowed(stored: u64) -> u64 {
    stored.saturating_mul(RATIO).saturating_add(FREE)
}

/// A decompressed layer that ends with an error where a bomb would go on.
#[derive(Debug)]
pub struct Expanded<R> {
    inner: R,
    budget: Budget,
    limit: u64,
    left: u64,
}

/// The layer goes on.
#[derive(Debug, thiserror::Error)]
#[error(
    "decompress {what}: got more than {limit} bytes, {RATIO} for each byte stored; refused as a compression bomb"
)]
struct Bomb {
    what: &'static str,
    limit: u64,
}

fn bomb(what: &'static str, limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Bomb { what, limit })
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| bomb("layer", self.limit))?;
        self.budget.take(n as u64)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LayerKind;
    use hone_contract::Digest;

    fn stored(seed: &[u8], size: u64) -> Layer {
        Layer::zstd(LayerKind::Other, Digest::of(seed), size, Digest::of(seed))
    }

    #[test]
    fn a_bomb_ends_where_a_real_layer_would_have() {
        let limit = |size| Budget::of_layer(&stored(b"", size)).limit;
        assert_eq!(limit(0), FREE);
        assert_eq!(limit(1 << 30), FREE + RATIO * FREE);
        assert_eq!(limit(u64::MAX), u64::MAX);
        let zeros = vec![0; 2 << 20];
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            io::copy(&mut &zeros[..], &mut encoder).expect("gzip");
            encoder.finish().expect("gzip")
        };
        let zstd = zstd::encode_all(&zeros[..], 1).expect("zstd");
        let limited = |inner: Box<dyn Read>, limit| {
            let mut reader = Expanded { inner, budget: Budget::of([]), limit, left: limit };
            io::copy(&mut reader, &mut io::sink())
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

    #[test]
    fn the_layers_of_an_image_have_one_bound_together() {
        let layers = [stored(b"a", 33_000), stored(b"b", 33_000), stored(b"c", 33_000)];
        let budget = Budget::of(layers.iter().map(|l| &l.descriptor));
        assert_eq!(budget.limit, FREE + 3 * RATIO * 33_000);
        let read = |layer: &Layer, bytes: u64| {
            let mut reader = budget.meter(&layer.descriptor, io::repeat(0).take(bytes));
            io::copy(&mut reader, &mut io::sink())
        };
        // Each would be within its own bound.
        assert_eq!(read(&layers[0], FREE / 2).expect("the first half"), FREE / 2);
        assert_eq!(read(&layers[1], FREE / 2).expect("the other half"), FREE / 2);
        let said = read(&layers[2], FREE / 2).expect_err("one too many").to_string();
        assert!(said.starts_with("decompress the image's layers together: got more than"), "{said}");
    }

    #[test]
    fn a_blob_counts_once_and_what_is_not_compressed_not_at_all() {
        let layer = stored(b"a", 1000);
        let bare = Layer::tar(LayerKind::Weight, Digest::of(b"w"), 1 << 40);
        let blobs = [&layer, &layer, &bare, &layer].map(|l| &l.descriptor);
        assert_eq!(Budget::of(blobs).limit, FREE + RATIO * 1000);
    }
}
