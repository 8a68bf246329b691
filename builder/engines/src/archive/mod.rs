//! Images in one file: docker archives (`docker save`'s format) and OCI archives (an image layout in a tar).
//!
//! Both are written as streams, the same bytes for the same image: fixed order, owners and times are zero. Both are
//! read from a file that may be hostile, and say where in it each layer lies; nothing is ever unpacked.
//!
//! Refused here: compressed archives, entries that are neither files, directories nor symbolic links, and checking
//! the digests of layers: who stores their bytes does that in the same pass.

pub(crate) mod docker;
mod header;
mod images;
mod oci;
pub(crate) mod oci_write;
mod read;
mod table;

pub use docker::write_docker_archive;
pub use images::{ArchivedArtifact, ArchivedPack};
pub use oci_write::write_oci_archive;
pub use read::{Archive, ArchiveError, Section};
