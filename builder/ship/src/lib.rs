//! Images of the store on their way to an engine, or into an archive: the layers and documents that are sent, and what is sent
//! of a version whose base only the engine has.
//!
//! What an engine is asked is hone-engines' business, how an archive is written hone-archive's; this crate reads the store
//! for them.

use std::io;

use hone_archive::{Delivery, OciShipment, Open, ShipLayer, Shipment, ShipmentError};
use hone_contract::{Digest, Reference};
use hone_engines::{Containerd, Docker, Engine, Podman};
use hone_image::layer::Compression;
use hone_image::oci::{Descriptor, ImageConfig, Sealed};
use hone_image::transport::EngineName;
use hone_image::{Image, Layer, Pack};
use hone_store::{Budget, Store, this_machine};

/// Why an image was not sent.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// There is none for this machine among what the name stands for.
    #[error("{0}: it holds no image")]
    NoImage(Reference),
    /// The engine refused, or could not be asked.
    #[error("{what}")]
    Engine {
        /// Operation and object.
        what: String,
        /// Why.
        #[source]
        source: Box<hone_engines::Error>,
    },
    /// Its documents are not such that they can be sent.
    #[error(transparent)]
    Shipment(#[from] ShipmentError),
}

impl ShipError {
    fn engine(what: String) -> impl FnOnce(hone_engines::Error) -> Self {
        move |source| Self::Engine { what, source: Box::new(source) }
    }
}

/// The engine that a name stands for.
pub fn engine(name: &EngineName) -> Box<dyn Engine> {
    match name {
        EngineName::Docker(None) => Box::new(Docker::new()),
        EngineName::Docker(Some(address)) => Box::new(Docker::at(address)),
        EngineName::Podman => Box::new(Podman::new()),
        EngineName::Containerd(namespace) => Box::new(Containerd::new(namespace).on(this_machine())),
    }
}

/// Makes a pack an image of an engine: the whole of it in containerd, the one for this machine elsewhere.
///
/// # Errors
/// When the engine refuses, or there is no image for it.
pub fn deliver(to: &EngineName, store: &Store, name: &Reference, pack: &Pack) -> Result<Delivery, ShipError> {
    match to {
        EngineName::Containerd(namespace) => {
            let shipment = oci_shipment(store, name, pack)?;
            let sent = Containerd::new(namespace).on(this_machine()).deliver(&shipment);
            sent.map_err(ShipError::engine(format!("load {name} into {to}")))
        }
        EngineName::Docker(_) | EngineName::Podman => {
            ship(engine(to).as_ref(), store, name, local_image(name, pack)?)
        }
    }
}

/// The image of a pack for this machine.
///
/// # Errors
/// When there is none.
pub fn local_image<'a>(name: &Reference, pack: &'a Pack) -> Result<&'a Image, ShipError> {
    pack.image_for(&this_machine()).ok_or_else(|| ShipError::NoImage(name.clone()))
}

/// A pack by its manifests, blobs as stored. One name only: who reads an archive takes the one image that is in it.
///
/// # Errors
/// When its documents name something twice, or something that is not there.
pub fn oci_shipment<'a>(store: &'a Store, name: &Reference, pack: &'a Pack) -> Result<OciShipment<'a>, ShipError> {
    let open = |layer: &'a Descriptor| -> Open<'a> {
        Box::new(move || {
            let blob = store.open_blob(layer.digest, layer.size).map_err(io::Error::other)?;
            Ok(Box::new(blob) as Box<dyn io::Read>)
        })
    };
    Ok(OciShipment::pack(name, pack, open)?)
}

/// Makes an image of the store an image of the engine.
///
/// # Errors
/// When the engine refuses, or a layer cannot be read.
pub fn ship(engine: &dyn Engine, store: &Store, name: &Reference, image: &Image) -> Result<Delivery, ShipError> {
    engine.load(&shipment(store, name, image)).map_err(ShipError::engine(format!("load {name}")))
}

/// An image by its uncompressed layers, as docker and podman take it.
pub fn shipment<'a>(store: &'a Store, name: &Reference, image: &'a Image) -> Shipment<'a> {
    let budget = Budget::of_image(image);
    let layers = image.layers().iter().map(|layer| stored(store, layer, &budget)).collect();
    Shipment { reference: name.to_string(), config: image.config().bytes().to_vec(), layers }
}

/// Makes a version an image of the engine, whose base's layers the engine has, and perhaps nobody else.
///
/// # Errors
/// When the engine refuses, has lost the base's layers, or the adapter cannot be read.
pub fn ship_version(
    engine: &dyn Engine,
    store: &Store,
    name: &Reference,
    config: &Sealed<ImageConfig>,
    adapter: &Layer,
) -> Result<Delivery, ShipError> {
    let ids = &config.value().rootfs.diff_ids;
    let below = ids.len().saturating_sub(1);
    let mut layers: Vec<ShipLayer<'_>> = ids.iter().take(below).map(|id| absent(*id)).collect();
    layers.push(stored(store, adapter, &Budget::of_layer(adapter)));
    let shipment = Shipment { reference: name.to_string(), config: config.bytes().to_vec(), layers };
    engine.load(&shipment).map_err(ShipError::engine(format!("publish {name}")))
}

fn stored<'a>(store: &'a Store, layer: &'a Layer, budget: &Budget) -> ShipLayer<'a> {
    let budget = budget.clone();
    let size = (layer.compression() == Some(Compression::None)).then_some(layer.descriptor.size);
    let open = move || -> io::Result<Box<dyn io::Read>> {
        let reader = store.open_layer(layer, &budget).map_err(io::Error::other)?;
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
