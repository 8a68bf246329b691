//! What is damaged in a store, beside which the rest works.
//!
//! One bad entry must not hide all others, and must not go unsaid either: whoever passes over one notes it here, and the
//! program that owns the store tells it when its work is done.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Store;

/// Most problems that are kept; a store with more is told of these.
const MOST: usize = 100;

/// Something in the store that was passed over, or could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What: a name, a record, a file.
    pub what: String,
    /// Why, and what became of it.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// The problems of one store, shared by its clones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Noticed(Arc<Mutex<Vec<Problem>>>);

impl Store {
    /// What was passed over since this was asked last: one bad entry or record hides no other, and is named here. Of two
    /// problems of the same thing the later one is kept, which knows more.
    pub fn problems(&self) -> Vec<Problem> {
        std::mem::take(&mut *self.noticed.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that something was passed over, and why.
    pub fn notice(&self, what: impl Into<String>, why: impl Into<String>) {
        let problem = Problem { what: what.into(), why: why.into() };
        let mut all = self.noticed.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter().position(|known| known.what == problem.what) {
            Some(known) => all[known] = problem,
            None if all.len() < MOST => all.push(problem),
            None => {}
        }
    }
}
