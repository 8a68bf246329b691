//! `delete`: removes what is left of a container, after its keeper has done its part.

use std::time::{Duration, Instant};

use hone_keeper::Staging;
use oci_spec::runtime::LinuxNamespaceType;

use super::Context;
use super::start::report;
use crate::edits::has_namespace;
use crate::error::{Result, RuntimeError};
use crate::state::{Container, Status};
use crate::{hooks, signal};

/// How long a killed process may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the keeper of a training container may take to commit, unless HONE_COMMIT_TIMEOUT says so (seconds).
const COMMIT_TIMEOUT: u64 = 120;
/// Pause between two looks.
const TICK: Duration = Duration::from_millis(10);

/// Deletes container `id`; with `force`, also one that runs.
///
/// # Errors
/// When it runs and `force` is not given, or something of it cannot be removed.
pub fn delete(ctx: &Context, id: &str, force: bool) -> Result<()> {
    let container = match Container::load(&ctx.root, id) {
        Err(RuntimeError::NotFound) if force => return Ok(()),
        other => other?,
    };
    match container.status()? {
        Status::Stopped => {}
        Status::Created | Status::Creating => end(&container)?,
        Status::Running | Status::Paused if force => end(&container)?,
        status => return Err(RuntimeError::NotStopped { id: id.into(), status }),
    }
    destroy(ctx, &container)
}

/// Kills it and waits until its first process is gone.
fn end(container: &Container) -> Result<()> {
    container.cgroup()?.kill(signal::KILL)?;
    let timeout = Instant::now() + END_TIMEOUT;
    while container.record.init.is_some_and(|init| init.lives()) {
        if Instant::now() >= timeout {
            return Err(RuntimeError::Usage("container init still running".into()));
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Removes what is left of a container that has ended.
///
/// # Errors
/// The first failure, after every step was tried; the record stays then, so that it can be tried again.
pub fn destroy(ctx: &Context, container: &Container) -> Result<()> {
    let spec = container.spec().ok();
    let cgroup = container.cgroup()?;
    if spec.as_ref().is_none_or(|spec| !has_namespace(spec, LinuxNamespaceType::Pid)) {
        cgroup.kill(signal::KILL)?;
    }
    // Before the cgroup goes: the keeper reads from it whether the kernel killed for memory.
    let kept = wait_for_keeper(container);
    let removed = cgroup.remove();
    let hooks = spec.and_then(|s| s.hooks().as_ref().and_then(|h| h.poststop().clone())).unwrap_or_default();
    // The specification has a failing poststop hook logged, and the deletion go on.
    if let Err(error) = report(container, Status::Stopped).and_then(|state| hooks::run(&hooks, &state)) {
        ctx.log.warn(&format!("poststop: {error}"));
    }
    match kept {
        Err(error @ RuntimeError::KeeperTimeout { .. }) => ctx.log.warn(&error.to_string()),
        other => other?,
    }
    removed?;
    container.forget()
}

fn wait_for_keeper(container: &Container) -> Result<()> {
    let Some(dir) = &container.record.staging else { return Ok(()) };
    let given = std::env::var("HONE_COMMIT_TIMEOUT").ok().and_then(|text| text.parse().ok());
    let seconds = given.unwrap_or(COMMIT_TIMEOUT);
    if Staging::at(dir).wait_for_keeper(Duration::from_secs(seconds))? {
        return Ok(());
    }
    Err(RuntimeError::KeeperTimeout { seconds })
}
