//! Tokenizers: which files one has, and whether it fits the model's embedding.

use std::path::Path;

use hone_model::bounded;
use serde::Deserialize;
use serde_json::Value;

use crate::{BaseError, SourceFile, Sources, content, read};

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

/// Whether a file gives the tokenizer beside it a chat template, as the trainer reads it.
pub(crate) fn has_template(file: &SourceFile) -> Result<bool, BaseError> {
    match file.name.as_str() {
        "chat_template.jinja" => Ok(true),
        "tokenizer_config.json" => {
            let json: Value = serde_json::from_slice(&read::small(file)?)
                .map_err(|source| BaseError::Json { path: file.source.clone(), source })?;
            Ok(match &json["chat_template"] {
                Value::String(_) => true,
                Value::Array(all) => all.iter().any(|one| one["template"].is_string()),
                _ => false,
            })
        }
        _ => Ok(false),
    }
}

/// The files of a tokenizer that is kept apart from the model: `tokenizer.json`, or a file that is one under another
/// name, and its companions.
pub(crate) fn find(given: &Sources, vocabulary: Option<u64>) -> Result<Vec<SourceFile>, BaseError> {
    let main = if given.lone { given.files.first() } else { given.get(FILE) };
    let main = main.ok_or_else(|| BaseError::Tokenizer(given.shown.clone()))?;
    let beside: Vec<&SourceFile> = BESIDE.iter().filter_map(|name| given.get(name)).collect();
    [main].iter().chain(&beside).try_for_each(|file| content::refuse(&file.source, file))?;
    check(main, vocabulary)?;
    let mut files = vec![SourceFile { name: FILE.to_owned(), ..main.clone() }];
    files.extend(beside.into_iter().filter(|file| file.name != FILE).cloned());
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Refuses a tokenizer.json that is none, or whose tokens the embedding has no rows for.
pub(crate) fn check(file: &SourceFile, vocabulary: Option<u64>) -> Result<(), BaseError> {
    let path = &file.source;
    let tokens = tokens_of(&read::small(file)?)
        .map_err(|source| BaseError::Json { path: path.clone(), source: bounded(source) })?;
    fits(path, tokens.ok_or_else(|| BaseError::NoVocabulary(path.clone()))?, vocabulary)
}

/// How many tokens a tokenizer.json knows; `None` when it holds no vocabulary.
///
/// # Errors
/// When the bytes are not such a document.
pub fn tokens_of(json: &[u8]) -> Result<Option<u64>, serde_json::Error> {
    let raw: Raw = serde_json::from_slice(json)?;
    let listed = match &raw.model.vocab {
        // BPE and WordPiece: token -> id. Unigram: a list, whose positions are the ids.
        Some(Value::Object(ids)) => ids.values().filter_map(Value::as_u64).map(|id| id.saturating_add(1)).max(),
        Some(Value::Array(pieces)) => Some(pieces.len() as u64),
        _ => None,
    };
    let added = raw.added_tokens.iter().map(|t| t.id.saturating_add(1)).max().unwrap_or(0);
    Ok(listed.map(|listed| listed.max(added)))
}

/// Refuses more tokens than the embedding has rows. Fewer are usual: embeddings are padded.
pub(crate) fn fits(path: &Path, tokens: u64, vocabulary: Option<u64>) -> Result<(), BaseError> {
    match vocabulary {
        Some(vocabulary) if tokens > vocabulary => {
            Err(BaseError::Vocabulary { path: path.to_owned(), tokens, vocabulary })
        }
        _ => Ok(()),
    }
}
