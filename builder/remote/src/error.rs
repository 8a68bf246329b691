//! Why something did not come from a server, or did not get there.

use hone_contract::{Digest, Reference};
use hone_image::oci::{DocumentError, Platform};
use hone_image::walk::MAX_MANIFESTS;
use hone_registry::Error as RegistryError;
use hone_store::StoreError;
use std::io;

/// A blob or an image that did not come, or did not go.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// What came is not what was asked for.
    #[error("the server has another file: got {got}, want {want}")]
    Other {
        /// What came.
        got: String,
        /// What was asked for.
        want: String,
    },
    /// The server refused, or could not be asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What it sends stopped coming.
    #[error("{what}")]
    Broken {
        /// What was being moved.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image that did not get to its registry.
    #[error("push {name}")]
    Push {
        /// Its name there.
        name: Box<Reference>,
        /// Why.
        #[source]
        source: Box<RemoteError>,
    },
    /// What is called a manifest or an index is none.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// An index of more manifests than are looked at.
    #[error("its index names {got} manifests, want at most {MAX_MANIFESTS}")]
    Manifests {
        /// How many.
        got: usize,
    },
    /// An index names what is no manifest.
    #[error("its index names {0}, which is no manifest of an image")]
    NoManifest(Digest),
    /// There is no image for a platform.
    #[error("no image for {platform}; it has {has}")]
    NoImage {
        /// The platform.
        platform: Box<Platform>,
        /// What there is one for.
        has: String,
    },
    /// An index is pushed with all that it names.
    #[error("its index names {digest}, which is not here; {way}")]
    Absent {
        /// What is not here.
        digest: Digest,
        /// What to do.
        way: String,
    },
}

impl RemoteError {
    /// Whether a server said, or showed, that it has not got what was asked for. Whatever else went wrong, a network that is
    /// down, a login that is lacking, a disk that is full, may be otherwise the next time.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Other { .. } | Self::Registry(RegistryError::Digest { .. } | RegistryError::Fewer { .. }) => true,
            Self::Registry(answer) => matches!(answer.status(), Some(404 | 410)),
            _ => false,
        }
    }
}
