//! What this program does inside a build, as steps that BuildKit runs: it reads the user's files where they are mounted
//! and leaves its answer where BuildKit keeps it.
//!
//! A refusal of the user's files is an answer. A failure of the machine is an exit code, so that it is not kept.

mod hash;
mod inspect;
mod lay;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hone_base::{BaseError, Links};
use hone_contract::{chain, quoted_path};
use hone_tree::TreeError;
use serde::Serialize;

use crate::exchange::{ANSWER, ANSWER_FILE, Answer, FOLLOW_LINKS};

/// A step that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
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
    /// A document that another step or the frontend left.
    #[error("parse {}", quoted_path(path))]
    Json {
        /// The document.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The user's files are refused.
    #[error("{0}")]
    Refused(String),
    /// Not this program's command line.
    #[error("{0}: no such step; this program is a BuildKit frontend, use it as `# syntax=IMAGE` in a Honefile")]
    NoStep(String),
}

impl StepError {
    fn at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { op, path, source }
    }
}

impl From<BaseError> for StepError {
    fn from(error: BaseError) -> Self {
        match error {
            BaseError::Io { op, path, source } if source.kind() != io::ErrorKind::NotFound => {
                Self::Io { op, path, source }
            }
            error => Self::Refused(chain(&error)),
        }
    }
}

impl From<TreeError> for StepError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Io { op, path, source } => Self::Io { op, path, source },
            error => Self::Refused(chain(&error)),
        }
    }
}

/// Runs the step that a command line names.
///
/// # Errors
/// When the machine fails.
pub fn run(args: &[String]) -> Result<(), StepError> {
    let answer = Path::new(ANSWER);
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["hash", model] => answer_with(answer, hash::hash(Path::new(model), Links::Within)),
        ["hash", FOLLOW_LINKS, model] => answer_with(answer, hash::hash(Path::new(model), Links::Anywhere)),
        ["inspect", model] => answer_with(answer, inspect::inspect(Path::new(model), None)),
        ["inspect", model, tokenizer] => {
            answer_with(answer, inspect::inspect(Path::new(model), Some(Path::new(tokenizer))))
        }
        ["tree", dir] => answer_with(answer, tree::tree(Path::new(dir), Path::new(crate::exchange::IMAGE))),
        ["lay"] => lay::lay(Path::new(crate::exchange::REQUEST), Path::new(crate::exchange::IMAGE)),
        words => Err(StepError::NoStep(words.join(" "))),
    }
}

fn answer_with<T: Serialize>(dir: &Path, found: Result<T, StepError>) -> Result<(), StepError> {
    let answer = match found {
        Ok(found) => Answer::Found(found),
        Err(StepError::Refused(why)) => Answer::Refused(why),
        Err(error) => return Err(error),
    };
    let path = dir.join(ANSWER_FILE);
    let json = serde_json::to_vec(&answer).map_err(|source| StepError::Json { path: path.clone(), source })?;
    fs::write(&path, json).map_err(StepError::at("write", &path))
}

/// The answer of a step before.
fn answer_of<T: serde::de::DeserializeOwned>(dir: &Path) -> Result<T, StepError> {
    match document(&dir.join(ANSWER_FILE))? {
        Answer::Found(found) => Ok(found),
        Answer::Refused(why) => Err(StepError::Refused(why)),
    }
}

fn document<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, StepError> {
    let json = fs::read(path).map_err(StepError::at("read", path))?;
    serde_json::from_slice(&json).map_err(|source| StepError::Json { path: path.to_owned(), source })
}
