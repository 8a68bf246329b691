//! An image on its way to an engine: reference, configuration, and layers that are read only when they are sent.

use std::io::{self, Read};

use hone_contract::Digest;
use hone_image::oci::ImageConfig;
use hone_image::tar::TarError;

/// What it took to make an image known to an engine, or to write it into an archive or a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Layers that went over.
    pub sent_layers: usize,
    /// Bytes of those layers.
    pub sent_bytes: u64,
}

/// A part of an image that could not be read, or not be written where it goes.
#[derive(Debug, thiserror::Error)]
#[error("send image {reference}: {object}")]
pub struct WriteError {
    /// The image.
    pub reference: String,
    /// The layer, the document or the directory.
    pub object: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Opens a layer's uncompressed tar, from its beginning, each time it is called.
pub type Open<'a> = Box<dyn Fn() -> io::Result<Box<dyn Read>> + 'a>;

/// One layer, as an engine wants it: an uncompressed tar whose digest is its diff id.
pub struct ShipLayer<'a> {
    /// sha256 of the uncompressed tar.
    pub diff_id: Digest,
    /// Its length in bytes; `None` when only reading it tells.
    pub size: Option<u64>,
    /// Opens it.
    pub open: Open<'a>,
}

/// A whole image, as the store knows it.
pub struct Shipment<'a> {
    /// The tag it gets in the engine, e.g. `assistant:base-v1`.
    pub reference: String,
    /// The image configuration's bytes; their sha256 is the image id.
    pub config: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<ShipLayer<'a>>,
}

impl Shipment<'_> {
    /// The image id.
    pub fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// Whether it is a base with an adapter on top, as its configuration's labels say.
    pub fn is_version(&self) -> bool {
        let config: Result<ImageConfig, _> = serde_json::from_slice(&self.config);
        self.layers.len() > 1 && config.is_ok_and(|config| hone_image::image::is_version(&config))
    }

    /// How many of the lowest layers are those of `held`, one image of the engine.
    ///
    /// Engines name a layer by the chain of all below it, so only a common prefix is the same to them.
    pub fn shared(&self, held: &[Digest]) -> usize {
        self.layers.iter().zip(held).take_while(|(layer, id)| layer.diff_id == **id).count()
    }
}

impl Shipment<'_> {
    pub(crate) fn failed(&self, object: impl ToString) -> impl FnOnce(io::Error) -> WriteError {
        let (reference, object) = (self.reference.clone(), object.to_string());
        move |source| WriteError { reference, object, source }
    }
}

/// What failed while a tar was written: the system's word, where there is one.
pub(crate) fn cause(error: TarError) -> io::Error {
    match error {
        TarError::Io { source, .. } => source,
        error => io::Error::other(error),
    }
}

impl ShipLayer<'_> {
    /// The length of the tar, by reading it when it is not known.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn length(&self) -> io::Result<u64> {
        match self.size {
            Some(size) => Ok(size),
            None => io::copy(&mut (self.open)()?, &mut io::sink()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_common_prefix_is_shared() {
        let ids: Vec<_> = [b"a", b"b", b"c"].map(|b| Digest::of(b)).to_vec();
        let layer =
            |id: &Digest| ShipLayer { diff_id: *id, size: None, open: Box::new(|| Ok(Box::new(io::empty()))) };
        let shipment = Shipment { reference: "x".into(), config: vec![], layers: ids.iter().map(layer).collect() };
        assert_eq!(shipment.shared(&ids[..2]), 2);
        assert_eq!(shipment.shared(&ids), 3);
        assert_eq!(shipment.shared(&ids[1..]), 0);
        assert_eq!(shipment.shared(&[]), 0);
    }
}
