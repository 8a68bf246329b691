//! What servers say, as values: pure, total and bounded readers of headers and documents from outside.
//!
//! Nothing here does input or output, panics or allocates more than a small multiple of its (bounded) input;
//! fuzz targets call these functions as they are. An answer that is not understood is `None` or a reason,
//! never a guess.

mod challenge;
mod header;
mod json;
mod url;

pub use challenge::{Challenge, challenges};
pub use header::{ContentRange, content_range, next_link, retry_after, unsatisfied_range, upload_offset};
pub use json::{RegistryError, Token, referrers, registry_error, token};
pub use url::{authority, host, is_loopback, join, origin};

/// Longest header value that is read; a longer one is treated as absent (bytes).
pub const MAX_HEADER: usize = 8 << 10;
