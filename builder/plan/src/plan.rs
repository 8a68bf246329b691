//! The checked Honefile: what to build, every default resolved.

use hone_image::job::{Finetune, Resources};

/// What to build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildPlan {
    /// The Honefile's name.
    pub name: String,
    /// The base model, when there is one.
    pub base: Option<BasePlan>,
    /// Who trains.
    pub trainer: TrainerPlan,
    /// How to train; absent when nothing is trained, or a user's own trainer decides by itself.
    pub finetune: Option<Finetune>,
    /// Limits asked for.
    pub resources: Resources,
    /// What becomes of a successful run.
    pub adapter: AdapterPlan,
}

/// Where the base model is, as written: relative to the Honefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePlan {
    /// A weight file or a model directory.
    pub model: String,
    /// A tokenizer file or directory, when it is not the model's own.
    pub tokenizer: Option<String>,
}

/// Who trains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainerPlan {
    /// A trainer that comes with Hone.
    BuiltIn(String),
    /// Nobody: the image carries a model.
    None,
    /// A user's own.
    Rootfs(RootfsPlan),
}

/// A user's own trainer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsPlan {
    /// The root filesystem's directory, as written: relative to the Honefile.
    pub dir: String,
    /// The command line that trains.
    pub command: Vec<String>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// `NAME=value`, in the order written.
    pub env: Vec<String>,
    /// `user`, `uid` or `uid:gid`.
    pub user: Option<String>,
}

/// What becomes of a successful run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterPlan {
    /// Whether it becomes a version.
    pub commit: bool,
    /// Tag of new versions, with `{tag}` and `{n}`.
    pub tag: String,
}
