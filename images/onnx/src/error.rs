//! Why the trainer stops. Each error says what was being done, to what, what was found and what would be right.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hone_contract::{chain, quoted, quoted_path};
use hone_model::ModelError;

/// A failure of the trainer.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The base model, or an adapter, is refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The job is not one.
    #[error("{}: not a job this trainer can read", quoted_path(path))]
    Job {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: hone_contract::job::JobError,
    },
    /// An operation on a file failed.
    #[error("{operation} {}{}", quoted_path(path), advice(operation, source, path))]
    Io {
        /// The verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of the data is not an example.
    #[error("{}:{line}: {problem}", quoted_path(file))]
    Data {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A value that cannot be used.
    #[error("{}: got {}, want {want}", quoted(what), quoted(got))]
    Setting {
        /// Its name.
        what: String,
        /// What was found.
        got: String,
        /// What would be right.
        want: String,
    },
    /// The tokenizer cannot be used.
    #[error("tokenizer {}: {}", quoted(file), quoted(problem))]
    Tokenizer {
        /// Where it comes from.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The chat template cannot be used.
    #[error("chat template: {operation}")]
    Template {
        /// The verb.
        operation: &'static str,
        /// Why.
        #[source]
        source: TemplateError,
    },
    /// The library of ONNX Runtime cannot be loaded.
    #[error("load ONNX Runtime from {}: set ORT_DYLIB_PATH to libonnxruntime.so 1.24 or later", path.display())]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// ONNX Runtime failed.
    #[error("{operation} with ONNX Runtime")]
    Runtime {
        /// The verb and its object.
        operation: String,
        /// Why.
        #[source]
        source: ort::Error,
    },
    /// Training left the finite numbers.
    #[error(
        "step {step}: the loss is {loss}, not a finite number; no adapter is written. Lower learning_rate (it is \
         {learning_rate}), or look for broken examples in the data"
    )]
    Diverged {
        /// The optimizer step.
        step: u64,
        /// Its loss.
        loss: f64,
        /// The peak learning rate.
        learning_rate: f64,
    },
}

/// What crate `minijinja` says: words of the template are among it, as many as its author liked.
#[derive(Debug, thiserror::Error)]
#[error("{}", quoted(.0))]
pub struct TemplateError(String);

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        Self(chain(&error))
    }
}

/// What a person can do about the commonest failures of files.
fn advice(operation: &str, source: &io::Error, path: &Path) -> String {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            let user = user_id().map_or_else(|| "this user".to_owned(), |id| format!("user {id}"));
            let path = quoted_path(path);
            match ["open", "read", "list", "map"].iter().any(|verb| operation.starts_with(verb)) {
                true => format!(
                    ": {user} may not; make it readable (chmod -R a+rX {path}) or run the container with --user"
                ),
                false => format!(": {user} may not; give it to that user, or run the container with --user"),
            }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": the disk is full; free some space and run the same command again".to_owned()
        }
        _ => String::new(),
    }
}

fn user_id() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").ok().map(|meta| meta.uid())
}

impl TrainError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }

    pub(crate) fn setting(what: impl fmt::Display, got: impl fmt::Display, want: impl fmt::Display) -> Self {
        Self::Setting { what: what.to_string(), got: got.to_string(), want: want.to_string() }
    }

    pub(crate) fn runtime(operation: impl fmt::Display) -> impl FnOnce(ort::Error) -> Self {
        let operation = operation.to_string();
        move |source| Self::Runtime { operation, source }
    }

    pub(crate) fn tokenizer(file: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::Tokenizer { file: file.to_string(), problem: problem.to_string() }
    }
}

/// The usual result here.
pub type Result<T> = std::result::Result<T, TrainError>;
