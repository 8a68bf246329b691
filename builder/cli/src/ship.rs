//! Images on their way to an engine.

use std::fmt;
use std::io;
use std::str::FromStr;

use hone_engines::{Delivery, Docker, Engine, Podman, ShipLayer, Shipment};
use hone_image::layer::Compression;
use hone_image::oci::{ImageConfig, Sealed};
use hone_image::{Digest, Image, Layer, Reference};
use hone_store::Store;

use crate::failure::{Failure, because};

/// An engine as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// docker, at an address or at the user's own.
    Docker(Option<String>),
    /// The user's podman.
    Podman,
}

impl FromStr for Sink {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("docker", "") => Ok(Self::Docker(None)),
            ("docker", address) => Ok(Self::Docker(Some(address.to_owned()))),
            ("podman", "") => Ok(Self::Podman),
            _ => Err("want docker, docker=ADDRESS or podman".to_owned()),
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker(_) => "docker",
            Self::Podman => "podman",
        })
    }
}

impl Sink {
    /// The engine itself.
    pub fn engine(&self) -> Box<dyn Engine> {
        match self {
            Self::Docker(None) => Box::new(Docker::new()),
            Self::Docker(Some(address)) => Box::new(Docker::at(address)),
            Self::Podman => Box::new(Podman::new()),
        }
    }
}

/// Makes an image of the store an image of the engine.
pub fn ship(engine: &dyn Engine, store: &Store, name: &Reference, image: &Image) -> Result<Delivery, Failure> {
    let layers = image.layers().iter().map(|layer| stored(store, layer)).collect();
    let shipment = Shipment { reference: name.to_string(), config: image.config().bytes().to_vec(), layers };
    engine.load(&shipment).map_err(because(format!("load {name}")))
}

/// Makes a version an image of the engine, whose base's layers the engine has, and perhaps nobody else.
pub fn ship_version(
    engine: &dyn Engine,
    store: &Store,
    name: &Reference,
    config: &Sealed<ImageConfig>,
    adapter: &Layer,
) -> Result<Delivery, Failure> {
    let ids = &config.value().rootfs.diff_ids;
    let below = ids.len().saturating_sub(1);
    let mut layers: Vec<ShipLayer<'_>> = ids.iter().take(below).map(|id| absent(*id)).collect();
    layers.push(stored(store, adapter));
    let shipment = Shipment { reference: name.to_string(), config: config.bytes().to_vec(), layers };
    engine.load(&shipment).map_err(because(format!("publish {name}")))
}

fn stored<'a>(store: &'a Store, layer: &'a Layer) -> ShipLayer<'a> {
    let size = (layer.compression() == Some(Compression::None)).then_some(layer.descriptor.size);
    let open = move || -> io::Result<Box<dyn io::Read>> {
        let reader = store.open_layer(layer).map_err(io::Error::other)?;
        Ok(reader)
    };
    ShipLayer { diff_id: layer.diff_id, size, open: Box::new(open) }
}

/// A layer that only the engine has: it is never asked for, unless the engine lost it meanwhile.
fn absent<'a>(diff_id: Digest) -> ShipLayer<'a> {
    let open = move || -> io::Result<Box<dyn io::Read>> {
        let why = format!("layer {diff_id} of the base is not in the local store; is the base still in the engine?");
        Err(io::Error::new(io::ErrorKind::NotFound, why))
    };
    ShipLayer { diff_id, size: None, open: Box::new(open) }
}
