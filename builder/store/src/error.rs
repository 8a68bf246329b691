//! Why the store could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use hone_contract::{Digest, Reference, quoted};

/// A failure of the store; it is then as it was before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("{op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk, or the user's share of it, is full.
    #[error("{op} {}: no space left; the store is as it was, free some space and run this again", path.display())]
    Full {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The caller may not.
    #[error("{op} {}: permission denied; run as root, or give a --root of your own", path.display())]
    Denied {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// A blob is not there.
    #[error("read blob {0}: it is not in the store")]
    NoBlob(Digest),
    /// A blob is not what its name says.
    #[error(
        "read blob {digest}: {}, want {want}; the store is damaged, `hone verify --repair` mends an image",
        quoted(got)
    )]
    Corrupt {
        /// Its name.
        digest: Digest,
        /// What was found.
        got: String,
        /// What was expected.
        want: String,
    },
    /// A file that somebody else was writing.
    #[error("{}: it changed while it was read; run this again when it is complete", .0.display())]
    Changed(PathBuf),
    /// Bytes from outside that are not what was asked for.
    #[error("{}: got {}, want {want}", path.display(), quoted(got))]
    Content {
        /// Where they are, or were.
        path: PathBuf,
        /// What was found.
        got: String,
        /// What was asked for.
        want: String,
    },
    /// An image has no such name.
    #[error("image {0}: not found; `hone images` lists what is there")]
    NoImage(String),
    /// A short name or digest that fits several images.
    #[error("image {0}: more than one image may be meant")]
    Ambiguous(String),
    /// A version of which only configuration and adapter are here.
    #[error(
        "image {0}: only its adapter is in the store, its base is in the engine that trained it; `hone load docker:{0}` (or podman:{0}) brings the whole here"
    )]
    Elsewhere(Reference),
    /// What a version or a lineage does not allow.
    #[error("{op} {reference}: {why}")]
    Refused {
        /// What was to be done.
        op: &'static str,
        /// To which version or lineage.
        reference: Reference,
        /// Why not.
        why: String,
    },
    /// A file of the store is not what it should be.
    #[error("read {}: {why}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A name or a digest that stands for an index in which there is no image.
    #[error("image {digest} in {}: {has}", root.display())]
    Empty {
        /// Of the index.
        digest: Digest,
        /// The store or layout.
        root: PathBuf,
        /// What the index names instead, and who names it.
        has: String,
    },
    /// A document of a place that is known.
    #[error("read {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: hone_image::oci::DocumentError,
    },
    /// A download that cannot go on.
    #[error(transparent)]
    Partial(#[from] crate::PartialError),
    /// Documents that do not make an image.
    #[error(transparent)]
    Document(#[from] hone_image::oci::DocumentError),
    /// Documents that do not belong together.
    #[error(transparent)]
    Image(#[from] hone_image::image::ImageError),
    /// An entry that no layer may hold.
    #[error("write layer")]
    Tar(#[from] hone_image::tar::TarError),
}

impl StoreError {
    /// The error of a failed system call, with the causes a user can mend told apart.
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { op, path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied { op, path },
            _ => Self::Io { op, path, source },
        }
    }

    /// Adds `op` and `path` to a failed system call's error.
    pub(crate) fn at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::io(op, path, source)
    }
}
