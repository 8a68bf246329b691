//! Layers: written in one pass, read back as the tar they hold.

use std::io::{self, Read, Write};

use hone_contract::{Digest, Hashing, quoted};
use hone_image::layer::Compression;
use hone_image::tar::TarWriter;
use hone_image::{Layer, LayerKind};

use crate::blob::{BlobWriter, Verified};
use crate::codec::{zstd_reader, zstd_writer};
use crate::{Budget, Ingest, Store, StoreError};

/// A layer being written under zstd, entry by entry.
pub struct LayerWriter<'a> {
    kind: LayerKind,
    tar: TarWriter<Hashing<zstd::Encoder<'static, BlobWriter<'a>>>>,
}

/// A layer being written as a bare tar.
pub struct TarLayer<'a> {
    kind: LayerKind,
    tar: TarWriter<BlobWriter<'a>>,
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
            let diff_id = hashing.digest();
            Ok((hashing.into_inner().finish()?, diff_id))
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
        let encoder = zstd_writer(self.blob()?).map_err(StoreError::at("start zstd for", "layer".as_ref()))?;
        Ok(LayerWriter { kind, tar: TarWriter::new(Hashing::new(encoder)) })
    }

    /// Begins a layer that is stored as a bare tar: what readers of ModelPack take.
    ///
    /// # Errors
    /// When no file can be made.
    pub fn tar_layer(&self, kind: LayerKind) -> Result<TarLayer<'_>, StoreError> {
        Ok(TarLayer { kind, tar: TarWriter::new(self.blob()?) })
    }
}

impl<'a> TarLayer<'a> {
    /// The tar to add entries to, in order.
    pub fn tar(&mut self) -> &mut TarWriter<impl Write + use<'a>> {
        &mut self.tar
    }

    /// Ends the layer and stores it.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left then.
    pub fn finish(self) -> Result<Layer, StoreError> {
        let blob = self.tar.finish().map_err(StoreError::at("write", "layer".as_ref()))?;
        let (digest, size) = blob.finish()?;
        Ok(Layer::tar(self.kind, digest, size))
    }
}

impl Store {
    /// Opens the tar that a layer holds, uncompressed, within the budget of its image. The reader is verified: it fails
    /// at the end when the bytes are not those of the layer's diff id.
    ///
    /// # Errors
    /// When the blob is absent or of another size, or the media type is not a layer's.
    pub fn open_layer(&self, layer: &Layer, budget: &Budget) -> Result<Box<dyn Read + Send>, StoreError> {
        let Some(compression) = layer.compression() else {
            let (digest, got) = (layer.descriptor.digest, quoted(&layer.descriptor.media_type).to_string());
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
                Ok(Box::new(Verified::new(budget.meter(&layer.descriptor, tar), layer.diff_id, None)))
            }
            Compression::Gzip => {
                let tar = budget.meter(&layer.descriptor, flate2::read::MultiGzDecoder::new(blob));
                Ok(Box::new(Verified::new(tar, layer.diff_id, None)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_image::tar::Entry;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::at(dir.path());
        (dir, store)
    }

    fn read(store: &Store, layer: &Layer) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        store.open_layer(layer, &Budget::of_layer(layer)).expect("open").read_to_end(&mut bytes)?;
        Ok(bytes)
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
