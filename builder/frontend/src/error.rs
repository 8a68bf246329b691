//! Why an image cannot be built. What BuildKit says is passed on as it is.

use hone_contract::reference::BadReference;
use hone_image::oci::DocumentError;
use hone_plan::HonefileError;
use tonic::Status;

/// A build that ends without an image.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// An option of the build.
    #[error("{option}: {why}")]
    Option {
        /// As the user wrote it, e.g. `--platform`.
        option: String,
        /// What is wrong with it, and what would do.
        why: String,
    },
    /// A mistake in the Honefile.
    #[error(transparent)]
    Honefile(#[from] HonefileError),
    /// No Honefile.
    #[error("read {0}: it is not in the build context; name the Honefile with --file")]
    NoHonefile(String),
    /// Something that only `hone build` does, or that does not exist.
    #[error("{key}: {why}")]
    Unsupported {
        /// The Honefile's key.
        key: &'static str,
        /// What is wrong, and what would do.
        why: String,
    },
    /// A model, a tokenizer or a root filesystem that is refused; the text says what would do.
    #[error("{0}")]
    Refused(String),
    /// A reference that names no image.
    #[error(transparent)]
    Reference(#[from] BadReference),
    /// An image whose configuration is none.
    #[error("read the configuration of {image}")]
    Config {
        /// The image.
        image: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// An image for another processor.
    #[error(
        "trainer {image}: it is for {got}, and the build is for {want}; build for {got}, or name another with --build-arg HONE_TRAINER_IMAGE=IMAGE"
    )]
    Architecture {
        /// The trainer.
        image: String,
        /// What it is for.
        got: String,
        /// What is built.
        want: String,
    },
    /// A step's answer that is none: its own image is another version.
    #[error("read {0}, the answer of a step: it is not one")]
    Answer(&'static str),
    /// BuildKit does not do as its protocol says.
    #[error("talk to BuildKit: {0}")]
    Protocol(&'static str),
    /// No model at a hub; the status is BuildKit's.
    #[error("base.model hf://{model}: {}", status.message())]
    NoModel {
        /// Its name.
        model: String,
        /// Why.
        status: Box<Status>,
    },
    /// A hub that describes a model wrongly.
    #[error("base.model hf://{model}: the hub describes it wrongly: {why}")]
    Hub {
        /// Its name.
        model: String,
        /// What is wrong.
        why: String,
    },
    /// No trainer's image; the status is BuildKit's.
    #[error("trainer {image}: {}; name another image with --build-arg HONE_TRAINER_IMAGE=IMAGE", status.message())]
    NoTrainer {
        /// The image.
        image: String,
        /// Why.
        status: Box<Status>,
    },
    /// BuildKit, or a step that it ran, failed.
    #[error("{}", .0.message())]
    BuildKit(Box<Status>),
}

impl From<Status> for FrontendError {
    fn from(status: Status) -> Self {
        Self::BuildKit(Box::new(status))
    }
}

impl FrontendError {
    /// A key that asks for too much.
    pub fn unsupported(key: &'static str, why: impl Into<String>) -> Self {
        Self::Unsupported { key, why: why.into() }
    }
}
