//! `state`: prints the state of a container.

use super::Context;
use crate::error::{Result, RuntimeError};
use crate::state::Container;

/// The text to print.
///
/// # Errors
/// When there is no such container.
pub fn state(ctx: &Context, id: &str) -> Result<String> {
    let container = Container::load(&ctx.root, id)?;
    let report = container.report(container.status()?);
    let path = container.dir().join("state.json");
    serde_json::to_string_pretty(&report).map_err(|source| RuntimeError::Json { path, source })
}
