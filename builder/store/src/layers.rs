//! Layers: written in one pass, read back as the tar they hold.

use std::fs::File;
use std::io::{self, Read, Write};

use hone_image::layer::Compression;
use hone_image::tar::{END, TarWriter, padding, weight_prefix};
use hone_image::{Digest, Layer, LayerKind, codec, media};
use sha2::{Digest as _, Sha256};

use crate::blob::{BlobWriter, Verified};
use crate::expanded::Expanded;
use crate::{Ingest, Store, StoreError};

/// How much of a weight file is in memory at a time (bytes).
const CHUNK: usize = 1 << 20;
/// Largest window a zstd layer may ask for, as a power of two: 128 MiB, what `zstd -d` allows by default.
const WINDOW_LOG_MAX: u32 = 27;

/// A layer being written under zstd, entry by entry.
pub struct LayerWriter<'a> {
    kind: LayerKind,
    tar: TarWriter<Hashing<zstd::Encoder<'static, BlobWriter<'a>>>>,
}

/// A weight file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeight {
    /// Its layer.
    pub layer: Layer,
    /// sha256 of the file itself.
    pub file: Digest,
    /// Its size.
    pub size: u64,
}

/// Hashes what passes through: the diff id of a compressed layer.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<'a> LayerWriter<'a> {
    /// The tar to add entries to, in order.
    pub fn tar(&mut self) -> &mut TarWriter<impl Write + use<'a>> {
        &mut self.tar
    }

    /// Ends the layer and stores it.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left then.
    pub fn finish(self) -> Result<Layer, StoreError> {
        let write = || -> io::Result<(BlobWriter<'a>, Digest)> {
            let hashing = self.tar.finish()?;
            let diff_id = Digest::from_sha256(hashing.hasher.finalize().into());
            Ok((hashing.inner.finish()?, diff_id))
        };
        let (blob, diff_id) = write().map_err(StoreError::at("write", "layer".as_ref()))?;
        let (digest, size) = blob.finish()?;
        Ok(Layer::zstd(self.kind, digest, size, diff_id))
    }
}

impl Ingest<'_> {
    /// Begins a zstd layer.
    ///
    /// # Errors
    /// When no file can be made.
    pub fn layer(&self, kind: LayerKind) -> Result<LayerWriter<'_>, StoreError> {
        let encoder = codec::encoder(self.blob()?).map_err(StoreError::at("start zstd for", "layer".as_ref()))?;
        Ok(LayerWriter { kind, tar: TarWriter::new(Hashing { inner: encoder, hasher: Sha256::new() }) })
    }

    /// Packs a weight file of `size` bytes as the layer with the one entry `path`: one pass, constant memory.
    /// `seen` is told the number of bytes done after each step.
    ///
    /// # Errors
    /// When the file ends early or goes on, `path` is no plain path, or the disk refuses.
    pub fn weight(
        &self,
        path: &str,
        mut file: impl Read,
        size: u64,
        seen: &mut dyn FnMut(u64),
    ) -> Result<PackedWeight, StoreError> {
        let prefix = weight_prefix(path, size)?;
        let mut blob = self.blob()?;
        let mut hasher = Sha256::new();
        let mut pack = || -> io::Result<u64> {
            blob.write_all(&prefix)?;
            let mut buffer = vec![0; CHUNK];
            let mut done = 0;
            loop {
                let n = file.read(&mut buffer)?;
                if n == 0 || done > size {
                    break;
                }
                hasher.update(&buffer[..n]);
                blob.write_all(&buffer[..n])?;
                done += n as u64;
                seen(done);
            }
            blob.write_all(padding(size))?;
            blob.write_all(&END)?;
            Ok(done)
        };
        let got = pack().map_err(StoreError::at("pack", path.as_ref()))?;
        if got != size {
            let path = path.to_owned();
            return Err(hone_image::tar::TarError::Size { path, got, want: size }.into());
        }
        let (digest, stored) = blob.finish()?;
        let layer = Layer::tar(LayerKind::Weight, digest, stored).annotated(media::WEIGHT_PATH, &format!("/{path}"));
        Ok(PackedWeight { layer, file: Digest::from_sha256(hasher.finalize().into()), size })
    }
}

impl Store {
    /// Opens the tar that a layer holds, uncompressed. The reader is verified: it fails at the end when the bytes
    /// are not those of the layer's diff id.
    ///
    /// # Errors
    /// When the blob is absent or of another size, or the media type is not a layer's.
    pub fn open_layer(&self, layer: &Layer) -> Result<Box<dyn Read + Send>, StoreError> {
        let Some(compression) = layer.compression() else {
            let (digest, got) = (layer.descriptor.digest, layer.descriptor.media_type.clone());
            return Err(StoreError::Corrupt { digest, got, want: "a layer's media type".to_owned() });
        };
        let blob = self.open_blob(layer.descriptor.digest, layer.descriptor.size)?;
        match compression {
            // Whoever unpacks a layer files it under its diff id: the claim must hold for a bare tar, too.
            Compression::None if layer.diff_id == layer.descriptor.digest => Ok(Box::new(blob)),
            Compression::None => {
                let (digest, got) = (layer.descriptor.digest, layer.descriptor.digest.to_string());
                Err(StoreError::Corrupt { digest, got, want: format!("diff id {}", layer.diff_id) })
            }
            Compression::Zstd => {
                let tar = zstd_reader(blob).map_err(StoreError::at("start zstd for", "layer".as_ref()))?;
                Ok(Box::new(Verified::new(Expanded::of(layer, tar), layer.diff_id, None)))
            }
            Compression::Gzip => {
                let tar = Expanded::of(layer, flate2::read::MultiGzDecoder::new(blob));
                Ok(Box::new(Verified::new(tar, layer.diff_id, None)))
            }
        }
    }
}

fn zstd_reader(blob: Verified<File>) -> io::Result<impl Read + Send> {
    let mut decoder = zstd::Decoder::new(blob)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_image::tar::{Entry, weight_layer_len};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::at(dir.path());
        (dir, store)
    }

    fn read(store: &Store, layer: &Layer) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        store.open_layer(layer).expect("open").read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_weight_is_one_uncompressed_entry() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        for size in [0usize, 1, 512, CHUNK - 1, CHUNK + 513] {
            let data: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
            let mut last = 0;
            let packed = ingest.weight("models/m/w", &data[..], size as u64, &mut |n| last = n).expect("pack");
            assert_eq!(last, size as u64);
            assert_eq!((packed.file, packed.size), (Digest::of(&data), size as u64));
            assert_eq!(packed.layer.diff_id, packed.layer.descriptor.digest);
            let tar = read(&store, &packed.layer).expect("read");
            assert_eq!(tar.len() as u64, weight_layer_len(size as u64));
            assert_eq!(tar[4096..4096 + size], data);
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_packed_is_refused() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        for claimed in [3u64, 5] {
            let error = ingest.weight("w", &b"four"[..], claimed, &mut |_| {}).expect_err("changed");
            assert!(matches!(error, StoreError::Tar(_)), "{error}");
        }
        assert!(std::fs::read_dir(store.root().join("blobs/sha256")).expect("blobs").next().is_none());
    }

    #[test]
    fn a_compressed_layer_is_read_back_and_verified() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let mut writer = ingest.layer(LayerKind::Job).expect("layer");
        writer.tar().add("hone", Entry::Dir).expect("dir");
        writer.tar().file("hone/job.json", false, 2, &mut &b"{}"[..]).expect("file");
        let layer = writer.finish().expect("finish");
        let tar = read(&store, &layer).expect("read");
        assert_eq!(Digest::of(&tar), layer.diff_id);
        let mut wrong = layer.clone();
        wrong.diff_id = Digest::of(b"another");
        assert_eq!(read(&store, &wrong).expect_err("verified").kind(), io::ErrorKind::InvalidData);
    }
}
