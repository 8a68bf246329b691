//! Why a model on disk is refused. Each error names the file, what is wrong, and what would do.

use std::io;
use std::path::{Path, PathBuf};

use hone_model::ModelError;
use hone_model::onnx::OnnxError;

/// A model or a tokenizer that cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
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
    /// There is nothing at the path.
    #[error("base.model {}: it does not exist; the path is relative to the Honefile", .0.display())]
    Missing(PathBuf),
    /// A directory without weights.
    #[error("base.model {}: no weight file in it; want .gguf or .safetensors", .0.display())]
    NoWeights(PathBuf),
    /// Files that the built-in trainer does not read.
    #[error("base.model {}: the onnx trainer reads one .gguf file, or a directory with config.json and model.safetensors; got {got}", path.display())]
    Format {
        /// The model.
        path: PathBuf,
        /// What it has.
        got: String,
    },
    /// An index names a file that is not there.
    #[error("base.model {}: {shard} is missing; model.safetensors.index.json names it", path.display())]
    Shard {
        /// The model.
        path: PathBuf,
        /// The file.
        shard: String,
    },
    /// The trainer needs a tokenizer.
    #[error("base.model {}: no tokenizer in it; give one as base.tokenizer", .0.display())]
    NoTokenizer(PathBuf),
    /// A name that no image can hold.
    #[error("{}: its name is not UTF-8, and an image's names are", .0.display())]
    Name(PathBuf),
    /// More files than a model has.
    #[error("base.model {}: more than {} files", path.display(), most)]
    TooMany {
        /// The model.
        path: PathBuf,
        /// The bound.
        most: usize,
    },
    /// A small file that is not small.
    #[error("read {}: more than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// A file that changed while it was looked at.
    #[error("read {}: it became shorter while it was read", .0.display())]
    Shrunk(PathBuf),
    /// A pickle.
    #[error(
        "{}: it is a pickle, and loading one can run any code; convert the model to safetensors or GGUF, or remove the file",
        .0.display()
    )]
    Pickle(PathBuf),
    /// No tokenizer where one was named.
    #[error("base.tokenizer {}: want tokenizer.json, or a directory that holds it", .0.display())]
    Tokenizer(PathBuf),
    /// A tokenizer of another model.
    #[error("{}: the tokenizer has {tokens} tokens, the model's embedding only {vocabulary}; it belongs to another model", path.display())]
    Vocabulary {
        /// The tokenizer.
        path: PathBuf,
        /// Its tokens.
        tokens: u64,
        /// Rows of the embedding.
        vocabulary: u64,
    },
    /// A tokenizer.json without tokens.
    #[error("{}: it holds no vocabulary; want a Hugging Face tokenizer.json", .0.display())]
    NoVocabulary(PathBuf),
    /// Not JSON.
    #[error("parse tokenizer {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Headers that lie, or that the trainer cannot compute.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An ONNX model that names files outside its directory.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

impl BaseError {
    /// Adds `op` and `path` to a failed system call's error.
    pub(crate) fn at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { op, path, source }
    }
}
