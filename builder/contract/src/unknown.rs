//! Keys of a document that this program does not know: kept as they are, and named.
//!
//! A later contract may have keys that an older reader can do without. What it cannot do without is said apart
//! ([`crate::job::Job::requires`]).

use std::collections::BTreeMap;

use serde_ignored::Path;
use serde_json::Value;

use crate::quote::quoted;

/// Most keys of one document that are kept.
pub const MOST_UNKNOWN: usize = 64;
/// As many are named.
const MOST_NAMED: usize = 8;

/// Unknown keys by where they stand (`finetune`, `later`), with their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unknown(BTreeMap<Vec<String>, Value>);

impl Unknown {
    /// Remembers a key that nothing asked for. Above [`MOST_UNKNOWN`] one is kept, so that there are too many.
    pub(crate) fn see(&mut self, path: &Path<'_>) {
        if self.0.len() <= MOST_UNKNOWN {
            self.0.insert(steps(path), Value::Null);
        }
    }

    /// Takes the values of what was seen out of the document.
    pub(crate) fn take_from(&mut self, mut document: Value) {
        for (path, value) in &mut self.0 {
            if let Some(found) = at(&mut document, path) {
                *value = found.take();
            }
        }
    }

    /// Puts everything where it was.
    pub(crate) fn put_into(&self, document: &mut Value) {
        for (path, value) in &self.0 {
            let Some((key, above)) = path.split_last() else { continue };
            if let Some(Value::Object(object)) = at(document, above) {
                object.insert(key.clone(), value.clone());
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether everything was known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to tell who is about to use the document `what`; nothing where everything was known.
    pub fn note(&self, what: &str) -> Option<String> {
        let names: Vec<String> = self.0.keys().map(|path| path.join(".")).collect();
        (!names.is_empty())
            .then(|| format!("{what} has {}, not known to this program: kept, and not followed", named(&names)))
    }
}

/// The first of them in quotes, and how many more there are.
pub(crate) fn named(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(MOST_NAMED).map(|name| format!("\"{}\"", quoted(name))).collect();
    let more = match names.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

/// Keys and indices, from the root on.
fn steps(path: &Path<'_>) -> Vec<String> {
    let (mut above, step) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (steps(parent), index.to_string()),
        Path::Map { parent, key } => (steps(parent), key.clone()),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            return steps(parent);
        }
    };
    above.push(step);
    above
}

fn at<'v>(document: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(document, |value, step| match value {
        Value::Object(object) => object.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}
