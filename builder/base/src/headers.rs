//! The header of each weight file, parsed once.

use hone_model::{ModelError, gguf, safetensors};

use crate::content::{self, Format};
use crate::{BaseError, SourceFile, read};

/// A weight file's header, as far as it is known.
pub(crate) enum Header {
    /// GGUF.
    Gguf(gguf::Header),
    /// safetensors.
    Safetensors(safetensors::Header),
    /// Honest, and of element types that the trainer cannot compute: no fault of a file that is only carried.
    Unsupported(ModelError),
    /// Of a format that has no header known here, or taken already.
    Other,
}

impl Header {
    /// Takes the GGUF header out.
    pub(crate) fn gguf(&mut self) -> Option<gguf::Header> {
        match std::mem::replace(self, Self::Other) {
            Self::Gguf(header) => Some(header),
            _ => None,
        }
    }
}

/// Reads a file's header; one that lies is refused.
pub(crate) fn parse(file: &SourceFile) -> Result<Header, BaseError> {
    match content::format(file)? {
        Format::Gguf => read::gguf(file).map(Header::Gguf),
        Format::Safetensors => match read::safetensors(file) {
            Ok(header) => Ok(Header::Safetensors(header)),
            Err(BaseError::Model(error @ ModelError::Unsupported { .. })) => Ok(Header::Unsupported(error)),
            Err(error) => Err(error),
        },
        Format::Other => Ok(Header::Other),
    }
}
