//! What libcontainer calls back: the caller's prestart and createRuntime hooks, run as they expect.

use std::io::Read as _;

use serde::Deserialize;

use super::Context;
use crate::error::{Result, RuntimeError};
use crate::hooks::{ERROR_FILE, before_root, run};
use crate::state::{Container, Init, Status};

#[derive(Deserialize)]
struct Given {
    pid: i32,
}

/// Runs them; the error is left where `create` finds it.
///
/// # Errors
/// That of the hook.
pub fn host_hooks(ctx: &Context, id: &str) -> Result<()> {
    let mut container = Container::load(&ctx.root, id)?;
    let result = run_all(&mut container);
    if let Err(error) = &result {
        let path = container.dir().join(ERROR_FILE);
        std::fs::write(&path, error.to_string()).map_err(RuntimeError::io("write", path))?;
    }
    result
}

fn run_all(container: &mut Container) -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(RuntimeError::call("read the container's state"))?;
    let parse = |source| RuntimeError::Json { path: "/dev/stdin".into(), source };
    let given: Given = serde_json::from_str(&text).map_err(parse)?;
    container.record.init = Some(Init::of(given.pid)?);
    let state = serde_json::to_string(&container.report(Status::Creating)).map_err(parse)?;
    let hooks = container.spec()?.hooks().clone().unwrap_or_default();
    run(&before_root(&hooks), &state)
}
