//! Images in files of somebody: docker archives (`docker save`'s format), OCI archives (an image layout in a tar) and OCI
//! layouts, read and written.
//!
//! Archives are written as streams, the same bytes for the same image: fixed order, owners and times are zero. They are
//! read from a file that may be hostile, and say where in it each layer lies; nothing is ever unpacked. A layout is added
//! to, name by name, and everything else in it stays as it is.
//!
//! Refused here: compressed archives, entries that are neither files, directories nor symbolic links, and checking
//! the digests of an archive's layers: who stores their bytes does that in the same pass.

mod archive;
pub mod docker;
pub mod file;
mod images;
pub mod layout;
mod oci_read;
pub mod oci_shipment;
pub mod oci_write;
pub mod shipment;
mod table;

pub use archive::{Archive, ArchiveError, Section};
pub use docker::write_docker_archive;
pub use images::{ArchivedArtifact, ArchivedPack};
pub use oci_shipment::{IMAGE_NAME, OciBlob, OciRoot, OciShipment, ShipmentError, name_of};
pub use oci_write::write_oci_archive;
pub use shipment::{Delivery, Open, ShipLayer, Shipment, WriteError};
