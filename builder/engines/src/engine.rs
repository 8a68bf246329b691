//! What Hone asks of an engine, whichever it is.

use std::path::Path;

use hone_archive::{Archive, Delivery, Shipment};
use hone_contract::Digest;
use hone_contract::run::{self, ImageRef};

use crate::docker::Docker;
use crate::error::Error;
use crate::podman::Podman;

/// An image as an engine describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Digest of its configuration.
    pub id: Digest,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// The `config` object of the image configuration: Env, Entrypoint, Cmd, User, Labels, ...
    pub config: serde_json::Value,
    /// Digests of its uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Bytes of its layers, as the engine counts them; 0 when it does not say.
    pub size: u64,
}

/// Images in an engine.
pub trait Engine {
    /// Looks an image up by reference or id; `None` when the engine does not have it.
    ///
    /// # Errors
    /// When the engine cannot be reached or answers nonsense.
    fn inspect(&self, reference: &str) -> Result<Option<Found>, Error>;

    /// Makes `shipment` an image of the engine, under its reference, sending only layers that the engine lacks.
    ///
    /// A nil error means that the engine now resolves the reference to this image.
    ///
    /// # Errors
    /// When a layer cannot be read or the engine refuses; the engine then has what it had before.
    fn load(&self, shipment: &Shipment<'_>) -> Result<Delivery, Error>;

    /// Reads an image out of the engine, by way of a file in `dir` that has no name when this returns.
    ///
    /// # Errors
    /// When the engine does not have the image or cannot save it, or `dir` takes no more.
    fn save(&self, reference: &str, dir: &Path) -> Result<Archive, Error>;

    /// The image that a container was made from.
    ///
    /// # Errors
    /// When the engine does not know the container.
    fn image_of(&self, container: &str) -> Result<ImageRef, Error>;
}

/// The engine that a run record names; `None` for the embedded one and for none.
pub fn of(engine: &run::Engine) -> Option<Box<dyn Engine>> {
    match engine {
        run::Engine::Docker { host } => Some(Box::new(Docker::at(host))),
        run::Engine::Podman { graphroot, runroot } => Some(Box::new(Podman::at(graphroot, runroot))),
        run::Engine::Embedded | run::Engine::None => None,
    }
}
