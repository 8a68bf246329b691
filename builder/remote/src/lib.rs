//! Images and blobs between the store and registries: what is downloaded, resumable and verified; what is pushed; what goes
//! from one registry to another; what is fetched again because it was damaged here.
//!
//! How a server is spoken to is hone-registry's business, what a blob on disk is the store's. This crate prints nothing: it
//! tells a [`hone_contract::progress::Progress`], and answers with values.

mod copy;
mod download;
mod error;
mod push;
mod repair;

pub use copy::{Between, image_of};
pub use download::{Wanted, blob, download};
pub use error::RemoteError;
pub use push::{Sent, modelpack_tag, push};
pub use repair::{Mended, Unmended, repair};
