//! `run`: create, start, wait and delete, in the foreground unless told otherwise.

use oci_spec::runtime::Spec;

use super::create::{Options, claim, create, make};
use super::{Context, delete, start};
use crate::cli::RunArgs;
use crate::error::{Result, RuntimeError};
use crate::foreground::Foreground;
use crate::state::Container;
use crate::terminal::{Console, with_size};

/// Runs a container; its exit code, or 0 when it was left running.
///
/// # Errors
/// When it cannot be made or started; nothing of it is left then.
pub fn run(ctx: &Context, args: &RunArgs) -> Result<i32> {
    let options = options(&args.create);
    if args.detach {
        let mut container = create(ctx, &args.create.id, &options)?;
        return start_or_delete(ctx, &mut container).map(|()| 0);
    }
    let (container, spec) = claim(ctx, &args.create.id, &options.bundle)?;
    let prepared = prepare(&container, &spec, &options);
    let (console, foreground) = prepared.or_else(|error| {
        container.forget()?;
        Err(error)
    })?;
    let mut spec = spec;
    spec.process_mut().iter_mut().for_each(with_size);
    let path = console.as_ref().map(|c| c.path().to_owned());
    let mut container = make(ctx, container, spec, &options, path.as_deref())?;
    let master = console.map(Console::master).transpose()?;
    start_or_delete(ctx, &mut container)?;
    let pid = container.record.init.map_or(0, |init| init.pid);
    let code = foreground.wait(pid, master)?;
    if !args.keep {
        delete::destroy(ctx, &container)?;
    }
    Ok(code)
}

/// A console socket for a container with a terminal, and signals held back.
fn prepare(container: &Container, spec: &Spec, options: &Options) -> Result<(Option<Console>, Foreground)> {
    if options.console_socket.is_some() {
        return Err(RuntimeError::Usage("cannot use console socket if runc will not detach or allocate tty".into()));
    }
    let terminal = spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
    let console = terminal.then(|| Console::listen(container.dir())).transpose()?;
    Ok((console, Foreground::begin()?))
}

fn start_or_delete(ctx: &Context, container: &mut Container) -> Result<()> {
    start::start(ctx, container).or_else(|error| {
        delete::delete(ctx, &container.record.id, true)?;
        Err(error)
    })
}

/// From the command line.
pub fn options(args: &crate::cli::CreateArgs) -> Options {
    Options {
        bundle: args.bundle.clone(),
        console_socket: args.console_socket.clone(),
        pid_file: args.pid_file.clone(),
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: args.preserve_fds,
    }
}
