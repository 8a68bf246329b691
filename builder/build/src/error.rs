//! Why no image was made. What was being done is said by [`BuildError::At`], the reason by the error within.

use std::io;
use std::path::PathBuf;

use hone_base::BaseError;
use hone_contract::job::{JOB_PATH, JobError};
use hone_contract::{Digest, quoted};
use hone_image::foreign::ForeignError;
use hone_image::image::{ImageError, MAX_LAYERS};
use hone_image::oci::DocumentError;
use hone_image::tar::TarError;
use hone_image::whiteout::BadWhiteout;
use hone_plan::HonefileError;
use hone_remote::RemoteError;
use hone_sbom::CratesError;
use hone_store::StoreError;
use hone_store::contents::ContentsError;
use hone_tree::TreeError;

/// An image that was not made; the store's names are as they were.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What was being done, or at which key of the Honefile.
    #[error("{what}")]
    At {
        /// Operation and object.
        what: String,
        /// Why.
        #[source]
        source: Box<BuildError>,
    },
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// Operation and object.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What [`BuildError::At`] names could not be read or written.
    #[error(transparent)]
    Moved(#[from] io::Error),
    /// A mistake in the Honefile.
    #[error(transparent)]
    Honefile(#[from] HonefileError),
    /// A model or a tokenizer that cannot be packed.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// A tree that cannot become a layer.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The trainer is not to be had.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// An artifact or an image that holds no model.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Somebody else's image of a Honefile, of which Hone's own cannot be made.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// What does not come from a server.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Another file than `base.sha256` says.
    #[error("{0}; if it is the one that you mean, correct base.sha256")]
    Sha256(RemoteError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer that cannot be read to its end.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// A document that is none.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Documents that make no image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An entry that no layer may hold.
    #[error("write layer")]
    Tar(#[from] TarError),
    /// A job that no trainer can do.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A list of crates that is none.
    #[error(transparent)]
    Crates(#[from] CratesError),
    /// A small file that is not the one that is known.
    #[error("{}: got {got}, want {want}", quoted(name))]
    File {
        /// Its name.
        name: String,
        /// What it is.
        got: Digest,
        /// What it should be.
        want: Digest,
    },
    /// More layers than engines take.
    #[error(
        "an image of {0} layers, want at most {MAX_LAYERS}; join the model's shards, or pack what is small into fewer files"
    )]
    Layers(usize),
    /// A pack without an image has no bill of materials.
    #[error("there is no image")]
    NoImage,
    /// Nor has an image without a job.
    #[error("it has no job")]
    NoJob,
    /// A thread that packed weights is gone.
    #[error("a packing thread ended early")]
    Thread,
}

/// A trainer that is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// A built-in one that is nowhere.
    #[error(
        "trainer {name}: not found in {}; `./x build` makes it, `hone trainer pack` makes one from a directory, HONE_TRAINERS=DIR names another place",
        places(.looked)
    )]
    None {
        /// What it is called.
        name: String,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// One that has no image for a platform.
    #[error("trainer {name}: there is none for {want}; it has {has}")]
    Platform {
        /// What it is called.
        name: String,
        /// The platform.
        want: String,
        /// What it is for.
        has: String,
    },
    /// A name that stands for no image of containers.
    #[error("{0}: it is no image of containers")]
    NoImage(String),
    /// One with a layer that no container has.
    #[error("trainer: layer {0} is no layer of an image")]
    Layer(Digest),
}

fn places(looked: &[PathBuf]) -> String {
    looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// An artifact or an image that holds no model that can be taken.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Its index has nothing for this machine.
    #[error("the index names neither a model nor an image for Linux")]
    Index,
    /// Its index names what is elsewhere.
    #[error("its index names manifest {0}, which is not there")]
    Absent(Digest),
    /// What is called a tar, and is none.
    #[error("layer {digest} is called a tar ({}) and is none{like}", quoted(media_type))]
    NoTar {
        /// The layer.
        digest: Digest,
        /// What it is called.
        media_type: String,
        /// What it is like, after `, `, or nothing.
        like: &'static str,
    },
    /// A tar that cannot be read to its end.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A name that no model has.
    #[error("a file's name is not UTF-8")]
    NotUtf8,
    /// Another.
    #[error("{0}; a model's files have plain names")]
    Name(TarError),
    /// A whiteout that hides nothing that there can be.
    #[error(transparent)]
    Whiteout(#[from] BadWhiteout),
    /// What is no file.
    #[error("{}: a model's files are regular files, this is a {kind}", quoted(name))]
    NoFile {
        /// Where.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Nothing in it is a model's.
    #[error("it holds no model; an image has one below /models")]
    NoModel,
    /// An artifact that is not understood.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
}

/// An image that somebody else's builder made, and what its job.json says of it.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    /// The base is another one.
    #[error("base identity: got {got}, want {want}, as its job.json says")]
    Identity {
        /// What its files make.
        got: Digest,
        /// What the job says.
        want: Digest,
    },
    /// No job.
    #[error("there is no {JOB_PATH} in it; was it built with the frontend?")]
    NoJob,
    /// The trainer is another one.
    #[error("the trainer {} that its job.json names is not in its layers as it was", quoted(.0))]
    Trainer(String),
    /// A file that the job does not know.
    #[error("{} is not in its job.json", quoted(.0))]
    Unknown(String),
    /// A file that the job knows.
    #[error("{} is not in it; its job.json names it", quoted(.0))]
    Missing(String),
}

impl From<hone_registry::Error> for BuildError {
    fn from(error: hone_registry::Error) -> Self {
        Self::Remote(error.into())
    }
}

/// Says what was being done when something happened.
pub(crate) fn at<E: Into<BuildError>>(what: impl Into<String>) -> impl FnOnce(E) -> BuildError {
    let what = what.into();
    move |source| BuildError::At { what, source: Box::new(source.into()) }
}

/// Adds operation and object to a failed system call's error.
pub(crate) fn io_at(what: impl Into<String>) -> impl FnOnce(io::Error) -> BuildError {
    let what = what.into();
    move |source| BuildError::Io { what, source }
}
