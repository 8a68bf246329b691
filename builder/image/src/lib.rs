//! Images, layers, documents and tars, as values.
//!
//! This crate is pure: it touches no file, clock, network, environment or randomness. Bytes that own a digest
//! are kept as they are and never serialized again ([`oci::Sealed`]).

pub mod bomb;
pub mod claim;
pub mod document;
pub mod foreign;
pub mod hub;
pub mod image;
pub mod layer;
pub mod media;
pub mod modelpack;
pub mod oci;
pub mod pack;
pub mod platform;
mod sealed;
mod spelling;
pub mod tar;
pub mod transport;
pub mod untar;
pub mod walk;
pub mod whiteout;

pub use document::Document;

pub use image::Image;
pub use layer::{Layer, LayerKind};
pub use pack::{Artifact, Pack};
