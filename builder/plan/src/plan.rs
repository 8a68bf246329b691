//! The checked Honefile: what to build, every default resolved.

use hone_contract::job::{Finetune, Resources};
use hone_contract::{Digest, Pinned};
use hone_image::oci::Platform;
use hone_image::transport::Place;

/// What to build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildPlan {
    /// The Honefile's name.
    pub name: String,
    /// The base model, when there is one.
    pub base: Option<BasePlan>,
    /// Who trains.
    pub trainer: TrainerPlan,
    /// What the image is to run on, in the order written; empty: whatever the trainer's programs are for.
    pub platforms: Vec<Platform>,
    /// How to train; absent when nothing is trained, or a user's own trainer decides by itself.
    pub finetune: Option<Finetune>,
    /// Which of its values the Honefile says itself.
    pub said: Said,
    /// Limits asked for.
    pub resources: Resources,
    /// What becomes of a successful run.
    pub adapter: AdapterPlan,
}

/// Values that depend on the model, when the Honefile says them: what nobody asked for is fitted to the model, and what
/// somebody asked for is refused where it does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// `finetune.max_length`.
    pub max_length: bool,
    /// `finetune.dataset.format`.
    pub format: bool,
}

/// Where the base model is, as written: paths are relative to the Honefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePlan {
    /// The model.
    pub model: ModelSource,
    /// A tokenizer file or directory, when it is not the model's own.
    pub tokenizer: Option<String>,
    /// Whether links in the directories of the two may lead out of them.
    pub follow_links: bool,
    /// What the Honefile says of where the model comes from.
    pub origin: Origin,
}

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A weight file or a model directory.
    Path(String),
    /// One file behind an http or https address.
    Url {
        /// The address.
        url: String,
        /// The file's name: the last part of the address's path.
        name: String,
        /// Of the file.
        sha256: Digest,
    },
    /// A model of a hub that speaks Hugging Face's protocol.
    Hub {
        /// `org/name`.
        repository: String,
        /// A branch, a tag or a commit; the hub's default branch when absent.
        revision: Option<String>,
    },
    /// A model artifact or an image of a registry.
    Registry {
        /// Its name.
        name: Pinned,
        /// The name as written: the image says so where its model comes from.
        written: String,
    },
    /// A model artifact or an image of an OCI layout; the tag may be absent when the layout has one image.
    Layout(Place),
}

/// Where a model comes from, for the image's annotations (image-spec, annotations.md).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `org.opencontainers.image.source`.
    pub source: Option<String>,
    /// `org.opencontainers.image.revision`.
    pub revision: Option<String>,
    /// `org.opencontainers.image.licenses`, an SPDX expression.
    pub licenses: Option<String>,
}

/// Who trains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainerPlan {
    /// A trainer that comes with Hone.
    BuiltIn(String),
    /// Nobody: the image carries a model.
    None,
    /// A user's own.
    Own(OwnTrainer),
}

/// A user's own trainer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTrainer {
    /// Its root filesystem.
    pub from: TrainerSource,
    /// The command line that trains; absent: the image's own.
    pub command: Option<Vec<String>>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// `NAME=value`, in the order written.
    pub env: Vec<String>,
    /// `user`, `uid` or `uid:gid`.
    pub user: Option<String>,
}

/// Where a user's own trainer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainerSource {
    /// A root filesystem's directory, as written: relative to the Honefile.
    Rootfs(String),
    /// An image of the store or of a registry.
    Image(Pinned),
    /// An image of an OCI layout, its directory as written; the tag may be absent when the layout has one image.
    Layout(Place),
}

/// What becomes of a successful run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterPlan {
    /// Whether it becomes a version.
    pub commit: bool,
    /// Tag of new versions, with `{tag}` and `{n}`.
    pub tag: String,
}
