//! Other tools' files -> a Honefile: AIKit's fine-tune YAML (v1alpha1) and Ollama's Modelfile.
//!
//! What has a meaning here is carried over; what has none is a comment in the Honefile and a [`Note`] with the way out;
//! what the other tool itself would not accept is an error with its place. Nothing is looked up: a name is told from a
//! path by how it is written, or by asking the caller.

mod aikit;
mod draft;
mod modelfile;
mod yaml;

use std::fmt;

use crate::error::{HonefileError, Source};

pub use aikit::aikit;
pub use modelfile::modelfile;

/// A larger file is refused unread (bytes).
pub const MAX_INPUT: usize = 1 << 20;

/// A Honefile, and what it does not say of what the other file said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The Honefile's text; [`crate::parse`] accepts it.
    pub honefile: String,
    /// In the order of the lines.
    pub notes: Vec<Note>,
}

/// Something that could not be carried over as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The line in the other file, from 1.
    pub line: usize,
    /// The key or instruction.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to do about it.
    pub way_out: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}; {}", self.line, self.what, self.why, self.way_out)
    }
}

/// A file format that can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// AIKit's fine-tune configuration.
    Aikit,
    /// Ollama's Modelfile.
    Modelfile,
}

/// What the caller knows.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// What the file is called in errors.
    pub file: &'a str,
    /// The Honefile's `name`, when the file's own is not to be taken.
    pub name: Option<&'a str>,
    /// Whether a path, relative to the file, is there: `FROM x` means the path when it is, and a library's model when not.
    pub exists: &'a dyn Fn(&str) -> bool,
}

impl<'a> Options<'a> {
    /// For a file of which nothing but its text is known.
    pub fn of(file: &'a str) -> Self {
        Self { file, name: None, exists: &|_| false }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("file", &self.file).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Tells the format by the first line that is no comment: an instruction, or a key.
pub fn detect(text: &str) -> Option<Dialect> {
    let significant = |line: &&str| !line.is_empty() && !line.starts_with(['#', '%']) && *line != "---";
    let line = text.trim_start_matches('\u{feff}').lines().map(str::trim).find(significant)?;
    let (word, rest) = line.split_at(line.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(line.len()));
    if modelfile::is_instruction(word) && rest.starts_with([' ', '\t']) {
        return Some(Dialect::Modelfile);
    }
    let key = !word.is_empty() && rest.trim_start().starts_with(':');
    (key || line.starts_with(['{', '"', '\''])).then_some(Dialect::Aikit)
}

/// The text as lines are counted in it, within the limit.
fn source<'a>(options: &Options<'a>, text: &'a str) -> Result<Source<'a>, HonefileError> {
    let source = Source { file: options.file, text: text.trim_start_matches('\u{feff}') };
    if text.len() > MAX_INPUT {
        return Err(source.whole(format!("it has {} bytes, want at most {MAX_INPUT}", text.len())));
    }
    Ok(source)
}
