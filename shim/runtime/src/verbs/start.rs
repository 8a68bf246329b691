//! `start`: lets the process of a created container become the payload.

use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};

use super::Context;
use crate::error::{Result, RuntimeError};
use crate::hooks;
use crate::state::{Container, Status};

/// Starts the container.
///
/// # Errors
/// When it is not in the state `created`.
pub fn start(ctx: &Context, container: &mut Container) -> Result<()> {
    match container.status()? {
        Status::Created => {}
        Status::Stopped | Status::Creating => return Err(RuntimeError::HasStopped),
        Status::Running | Status::Paused => return Err(RuntimeError::AlreadyRunning),
    }
    let socket = container.libcontainer_root().join(&container.record.id).join(NOTIFY_FILE);
    let notified = NotifySocket::new(socket).notify_container_start();
    notified.map_err(|error| RuntimeError::Libcontainer(hone_contract::chain(&error)))?;
    container.record.phase = Status::Running;
    container.save()?;
    let hooks = container.spec()?.hooks().as_ref().and_then(|h| h.poststart().clone()).unwrap_or_default();
    let state = report(container, Status::Running)?;
    // The specification has a failing poststart hook logged, and the container go on.
    if let Err(error) = hooks::run(&hooks, &state) {
        ctx.log.warn(&format!("poststart: {error}"));
    }
    Ok(())
}

/// The state as hooks read it.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn report(container: &Container, status: Status) -> Result<String> {
    let path = container.dir().join("state.json");
    serde_json::to_string(&container.report(status)).map_err(|source| RuntimeError::Json { path, source })
}
