//! [`Sealed`], which keeps a document together with the bytes that own its digest, and what is wrong with bytes that are no
//! document.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::oci::{Descriptor, ImageConfig};
use crate::spelling;
use hone_contract::digest::Digest;
use hone_contract::json::BadJson;

/// A document larger than this is refused unread (bytes).
pub const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// A document and the very bytes it was read from or first written as: bytes that own a digest are never
/// serialized again.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed<T> {
    value: T,
    bytes: Vec<u8>,
    digest: Digest,
}

/// Bytes that are not the document they should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Too many bytes.
    #[error("read {what}: {got} bytes, want at most {MAX_DOCUMENT_BYTES}")]
    TooLarge {
        /// The kind of document.
        what: &'static str,
        /// Its size.
        got: u64,
    },
    /// Not JSON, or not of this shape.
    #[error("parse {what}")]
    Json {
        /// The kind of document.
        what: &'static str,
        /// Why.
        #[source]
        source: BadJson,
    },
    /// Neither an index nor a manifest.
    #[error("read {what}: {got}, want {want}")]
    Kind {
        /// What it should be.
        what: &'static str,
        /// What it is.
        got: String,
        /// What would do.
        want: &'static str,
    },
    /// What one reader takes for this, another takes for that (CVE-2021-41190).
    #[error("read {what}: {why}; refused, because programs would read it differently")]
    Ambiguous {
        /// What it should be.
        what: &'static str,
        /// What contradicts what.
        why: String,
    },
}

impl DocumentError {
    pub(crate) fn json(what: &'static str, error: serde_json::Error) -> Self {
        Self::Json { what, source: error.into() }
    }
}

/// Documents whose bytes say all that they are. What may be an index or a manifest is read as a [`crate::Document`].
pub trait Plain: DeserializeOwned {
    /// Refuses what other programs read differently.
    ///
    /// # Errors
    /// [`DocumentError::Ambiguous`].
    fn check(&self, _what: &'static str) -> Result<(), DocumentError> {
        Ok(())
    }
}

impl Plain for ImageConfig {
    fn check(&self, what: &'static str) -> Result<(), DocumentError> {
        spelling::config(what, self)
    }
}
impl Plain for Value {}

impl<T: Plain> Sealed<T> {
    /// Reads a document and keeps its bytes.
    ///
    /// # Errors
    /// When the bytes are not such a document.
    pub fn parse(what: &'static str, bytes: Vec<u8>) -> Result<Self, DocumentError> {
        let read = Self::read(what, bytes)?;
        read.value.check(what)?;
        Ok(read)
    }
}

impl<T: DeserializeOwned> Sealed<T> {
    pub(crate) fn read(what: &'static str, bytes: Vec<u8>) -> Result<Self, DocumentError> {
        let got = bytes.len() as u64;
        if got > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLarge { what, got });
        }
        let value = serde_json::from_slice(&bytes).map_err(|e| DocumentError::json(what, e))?;
        let digest = Digest::of(&bytes);
        Ok(Self { value, bytes, digest })
    }
}

impl<T: Serialize> Sealed<T> {
    /// Writes a new document, once.
    pub fn new(value: T) -> Self {
        // The types of this module have string keys and no fallible serializers: writing them to memory cannot fail.
        let bytes = serde_json::to_vec(&value).unwrap_or_default();
        let digest = Digest::of(&bytes);
        Self { value, bytes, digest }
    }
}

impl<T> Sealed<T> {
    /// The document.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A descriptor of the bytes.
    pub fn descriptor(&self, media_type: &str) -> Descriptor {
        Descriptor::of(media_type, self.digest, self.bytes.len() as u64)
    }
}
