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
/// Most bytes of them and their values together, as JSON without spaces: a record that has them has a bound, too.
pub const MOST_UNKNOWN_BYTES: usize = 64 << 10;
/// Deepest that arrays and objects of one value are in each other: they stand deeper wherever they are written again.
pub const MOST_UNKNOWN_DEPTH: usize = 16;
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

    /// Whether they are few, small and flat enough to be kept, and `refused` has nothing against one of them.
    pub(crate) fn check(&self, refused: impl Fn(&[String]) -> Option<String>) -> Result<(), String> {
        let mut bytes = 0;
        for (path, value) in &self.0 {
            if let Some(why) = refused(path) {
                return Err(why);
            }
            if deeper(value, MOST_UNKNOWN_DEPTH) {
                let key = path.join(".");
                let key = quoted(&key);
                return Err(format!(
                    "\"{key}\" is not known to this program, and is nested more than {MOST_UNKNOWN_DEPTH} deep: update hone"
                ));
            }
            bytes += serde_json::to_vec(&(path.last(), value)).map_or(MOST_UNKNOWN_BYTES, |json| json.len());
        }
        if self.0.len() > MOST_UNKNOWN {
            return Err(format!("more than {MOST_UNKNOWN} keys that this program does not know: update hone"));
        }
        if bytes > MOST_UNKNOWN_BYTES {
            return Err(format!(
                "keys that this program does not know have {bytes} bytes, want at most {MOST_UNKNOWN_BYTES}: update hone"
            ));
        }
        Ok(())
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

/// Whether arrays and objects are in each other more than `most` deep.
fn deeper(value: &Value, most: usize) -> bool {
    let below = |value: &Value| deeper(value, most - 1);
    match value {
        Value::Array(items) => most == 0 || items.iter().any(below),
        Value::Object(object) => most == 0 || object.values().any(below),
        _ => false,
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
