//! `pause` and `resume`.

use super::Context;
use crate::error::{Result, RuntimeError};
use crate::state::{Container, Status};

/// Freezes every process of the container.
///
/// # Errors
/// When it does not run.
pub fn pause(ctx: &Context, id: &str) -> Result<()> {
    let container = Container::load(&ctx.root, id)?;
    match container.status()? {
        Status::Running | Status::Created => Ok(container.cgroup()?.freeze()?),
        _ => Err(RuntimeError::NotRunning),
    }
}

/// Lets them go on.
///
/// # Errors
/// When they are not frozen.
pub fn resume(ctx: &Context, id: &str) -> Result<()> {
    let container = Container::load(&ctx.root, id)?;
    if container.status()? == Status::Stopped || !container.cgroup()?.is_frozen()? {
        return Err(RuntimeError::NotPaused);
    }
    Ok(container.cgroup()?.thaw()?)
}
