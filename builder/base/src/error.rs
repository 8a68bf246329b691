//! Why a model on disk is refused. Each error names the file, what is wrong, and what would do; names are a stranger's
//! words, and shown escaped.

use std::io;
use std::path::{Path, PathBuf};

use hone_contract::{quoted, quoted_path};
use hone_model::ModelError;
use hone_model::onnx::OnnxError;

/// A model or a tokenizer that cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// A system call failed.
    #[error("{op} {}", quoted_path(path))]
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
    #[error("base.model {}: it does not exist; the path is relative to the Honefile", quoted_path(.0))]
    Missing(PathBuf),
    /// A directory without weights.
    #[error("base.model {}: no weight file in it; want .gguf or .safetensors", quoted_path(.0))]
    NoWeights(PathBuf),
    /// Files that the built-in trainer does not read.
    #[error(
        "base.model {}: the onnx trainer reads one .gguf file, or a directory with config.json and model.safetensors; got {}",
        quoted_path(path),
        quoted(got)
    )]
    Format {
        /// The model.
        path: PathBuf,
        /// What it has.
        got: String,
    },
    /// An index names a file that is not there.
    #[error("base.model {}: {} is missing; model.safetensors.index.json names it", quoted_path(path), quoted(shard))]
    Shard {
        /// The model.
        path: PathBuf,
        /// The file.
        shard: String,
    },
    /// The trainer needs a tokenizer.
    #[error("base.model {}: no tokenizer in it; give one as base.tokenizer", quoted_path(.0))]
    NoTokenizer(PathBuf),
    /// Examples longer than what the model was made for.
    #[error("finetune.max_length: got {got}, want at most the model's {positions} positions")]
    MaxLength {
        /// As the Honefile says.
        got: u32,
        /// The model's.
        positions: u64,
    },
    /// Chats cannot be written out without a template.
    #[error(
        "finetune.dataset.format: got chat, but the model has no chat template; put chat_template.jinja beside its \
         tokenizer.json, or use data of format alpaca or text"
    )]
    NoTemplate,
    /// A name that no image can hold.
    #[error("{}: its name is not UTF-8, and an image's names are", quoted_path(.0))]
    Name(PathBuf),
    /// More files than a model has.
    #[error("base.model {}: more than {} files", quoted_path(path), most)]
    TooMany {
        /// The model.
        path: PathBuf,
        /// The bound.
        most: usize,
    },
    /// A small file that is not small.
    #[error("read {}: more than {most} bytes", quoted_path(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// A file that changed while it was looked at.
    #[error("read {}: it became shorter while it was read", quoted_path(.0))]
    Shrunk(PathBuf),
    /// What is neither a file nor a directory.
    #[error("{}: it is {what}, and a model's files are regular files; remove it", quoted_path(path))]
    Special {
        /// Where.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// A link to somewhere else.
    #[error(
        "{}: this link leads out of the directory, to {}; put the file in its place, or allow it with `follow_links: true` under base",
        quoted_path(path),
        quoted_path(target)
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// A link to what is left out of a model.
    #[error(
        "{}: this link leads to {}, and names that begin with a dot are no part of a model; put the file in its place, or allow it with `follow_links: true` under base",
        quoted_path(path),
        quoted_path(target)
    )]
    HiddenLink {
        /// The link.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// A link to a directory.
    #[error("{}: it is a link to a directory, and those are not followed; put the directory in its place, or remove it", quoted_path(.0))]
    LinkedDir(PathBuf),
    /// What Git LFS leaves where the file itself was not fetched.
    #[error("{}: it is a Git LFS pointer, not the file itself; fetch that with `git lfs pull` in its repository", quoted_path(.0))]
    LfsPointer(PathBuf),
    /// A pickle, or what may hold one.
    #[error(
        "{}: it is {what}, and loading one can run any code; convert the model to safetensors or GGUF, or remove the file",
        quoted_path(path)
    )]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A format that nobody looks into here.
    #[error(
        "{}: it is {what}, which is not looked into here: it could run code or read other files; want safetensors, GGUF or ONNX: convert it, have a trainer of your own bring it, or remove the file",
        quoted_path(path)
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Some of the parts of a split GGUF, or a trainer that takes none.
    #[error(
        "{}: it is part of a model that is split into {parts}; {why}: `llama-gguf-split --merge FIRST-PART ONE.gguf` makes one file of them",
        quoted_path(path)
    )]
    Split {
        /// One part.
        path: PathBuf,
        /// How many there are.
        parts: u64,
        /// What is wrong.
        why: String,
    },
    /// No tokenizer where one was named.
    #[error("base.tokenizer {}: want tokenizer.json, or a directory that holds it", quoted_path(.0))]
    Tokenizer(PathBuf),
    /// A tokenizer of another model.
    #[error(
        "{}: the tokenizer has {tokens} tokens, the model's embedding only {vocabulary}; it belongs to another model",
        quoted_path(path)
    )]
    Vocabulary {
        /// The tokenizer.
        path: PathBuf,
        /// Its tokens.
        tokens: u64,
        /// Rows of the embedding.
        vocabulary: u64,
    },
    /// A tokenizer.json without tokens.
    #[error("{}: it holds no vocabulary; want a Hugging Face tokenizer.json", quoted_path(.0))]
    NoVocabulary(PathBuf),
    /// Not JSON.
    #[error("parse tokenizer {}", quoted_path(path))]
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
