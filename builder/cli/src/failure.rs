//! Errors on their way to the user: whatever went wrong, printed once, by `main`, with its causes.

use std::error::Error;

pub use hone_contract::chain;

/// Any error of a verb. Libraries have types of their own; here one is only shown.
pub type Failure = Box<dyn Error + Send + Sync>;

/// An error with something that a person can do about it, or with the place where it happened.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Because {
    /// Operation and object.
    pub what: String,
    /// Why.
    #[source]
    pub source: Failure,
}

/// Says what was being done when `source` happened.
pub fn because<E: Into<Failure>>(what: impl Into<String>) -> impl FnOnce(E) -> Failure {
    let what = what.into();
    move |source| Because { what, source: source.into() }.into()
}
