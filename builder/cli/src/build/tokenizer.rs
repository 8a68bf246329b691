//! Tokenizers: which files one has, and whether it fits the model's embedding.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::model::SourceFile;
use super::weights;
use crate::failure::{Failure, because};

/// The file that every tokenizer has.
pub const FILE: &str = "tokenizer.json";
/// What may come with it.
const BESIDE: [&str; 7] = [
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

#[derive(Debug, thiserror::Error)]
enum TokenizerError {
    #[error("base.tokenizer {}: want tokenizer.json, or a directory that holds it", .0.display())]
    Missing(PathBuf),
    #[error("{}: the tokenizer has {tokens} tokens, the model's embedding only {vocabulary}; it belongs to another model", path.display())]
    TooLarge { path: PathBuf, tokens: u64, vocabulary: u64 },
    #[error("{}: it holds no vocabulary; want a Hugging Face tokenizer.json", .0.display())]
    NoVocabulary(PathBuf),
}

#[derive(Deserialize)]
struct Raw {
    model: RawModel,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct RawModel {
    vocab: Option<Value>,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
}

/// The files of a tokenizer that is kept apart from the model.
pub fn find(path: &Path, vocabulary: Option<u64>) -> Result<Vec<SourceFile>, Failure> {
    let (dir, main) = if path.is_dir() { (Some(path), path.join(FILE)) } else { (None, path.to_owned()) };
    if !main.is_file() {
        return Err(TokenizerError::Missing(path.to_owned()).into());
    }
    check(&main, vocabulary)?;
    let mut files = vec![source(FILE, main)?];
    for name in BESIDE {
        if let Some(beside) = dir.map(|d| d.join(name)).filter(|p| p.is_file()) {
            files.push(source(name, beside)?);
        }
    }
    Ok(files)
}

/// Refuses a tokenizer.json that is none, or whose tokens the embedding has no rows for.
pub fn check(path: &Path, vocabulary: Option<u64>) -> Result<(), Failure> {
    let raw: Raw = serde_json::from_slice(&weights::small(path)?)
        .map_err(because(format!("parse tokenizer {}", path.display())))?;
    let listed = match &raw.model.vocab {
        // BPE and WordPiece: token -> id. Unigram: a list, whose positions are the ids.
        Some(Value::Object(ids)) => ids.values().filter_map(Value::as_u64).map(|id| id + 1).max(),
        Some(Value::Array(pieces)) => Some(pieces.len() as u64),
        _ => None,
    };
    let Some(listed) = listed else {
        return Err(TokenizerError::NoVocabulary(path.to_owned()).into());
    };
    let added = raw.added_tokens.iter().map(|t| t.id.saturating_add(1)).max().unwrap_or(0);
    fits(path, listed.max(added), vocabulary)
}

/// Refuses more tokens than the embedding has rows. Fewer are usual: embeddings are padded.
pub fn fits(path: &Path, tokens: u64, vocabulary: Option<u64>) -> Result<(), Failure> {
    match vocabulary {
        Some(vocabulary) if tokens > vocabulary => {
            Err(TokenizerError::TooLarge { path: path.to_owned(), tokens, vocabulary }.into())
        }
        _ => Ok(()),
    }
}

fn source(name: &str, path: PathBuf) -> Result<SourceFile, Failure> {
    let size = std::fs::metadata(&path).map_err(because(format!("read {}", path.display())))?.len();
    Ok(SourceFile { name: name.to_owned(), source: path, size })
}
