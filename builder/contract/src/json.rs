//! What is wrong with JSON from outside, in words that are fit to be shown.

use std::error::Error;
use std::fmt;

use crate::quote::quoted;

/// What is wrong with a text that should be JSON of some form: what it repeats of the text is quoted.
#[derive(Debug)]
pub struct BadJson(serde_json::Error);

impl Error for BadJson {}

impl From<serde_json::Error> for BadJson {
    fn from(error: serde_json::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for BadJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let place = format!(" at line {} column {}", self.0.line(), self.0.column());
        match text.strip_suffix(&place) {
            Some(what) => write!(f, "{}{place}", quoted(what)),
            None => write!(f, "{}", quoted(&text)),
        }
    }
}
