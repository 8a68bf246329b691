//! `exec`: another process in a running container.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hone_keeper::staging::swap_file;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};

use super::Context;
use crate::cli::ExecArgs;
use crate::edits::{has_namespace, lowered_process};
use crate::error::{Result, RuntimeError};
use crate::foreground::Foreground;
use crate::init::{Payload, Setup};
use crate::process::of_exec;
use crate::state::{Container, Status};
use crate::terminal::{Console, with_size};
use crate::why::{Why, explain};

/// Runs the process; its exit code, or 0 when it was left running.
///
/// # Errors
/// When the container does not run, or the process cannot be started.
pub fn exec(ctx: &Context, args: &ExecArgs) -> Result<i32> {
    let container = Container::load(&ctx.root, &args.id)?;
    match container.status()? {
        Status::Stopped | Status::Creating => return Err(RuntimeError::ExecStopped),
        Status::Paused if !args.ignore_paused => return Err(RuntimeError::ExecPaused),
        _ => {}
    }
    let spec = container.spec()?;
    let mut process = of_exec(args, &spec, &ctx.log)?;
    if !args.detach {
        with_size(&mut process);
    }
    let terminal = process.terminal().unwrap_or(false);
    check_terminal(terminal, args)?;
    let console = (terminal && !args.detach).then(|| Console::listen(container.dir())).transpose()?;
    let socket = console.as_ref().map(|c| c.path().to_owned()).or_else(|| args.console_socket.clone());
    let foreground = (!args.detach).then(Foreground::begin).transpose()?;
    let pid = start(ctx, &container, &spec, process, args, socket.as_deref())?;
    if let Some(path) = &args.pid_file {
        swap_file(path, pid.to_string().as_bytes()).map_err(RuntimeError::io("write", path))?;
    }
    match foreground {
        Some(foreground) => foreground.wait(pid, console.map(Console::master).transpose()?),
        None => Ok(0),
    }
}

fn check_terminal(terminal: bool, args: &ExecArgs) -> Result<()> {
    let bad = |text: &str| Err(RuntimeError::Usage(text.into()));
    match (terminal && args.detach, &args.console_socket) {
        (true, None) => bad("cannot allocate tty if runc will detach without setting console socket"),
        (false, Some(_)) => bad("cannot use console socket if runc will not detach or allocate tty"),
        _ => Ok(()),
    }
}

fn start(
    ctx: &Context,
    container: &Container,
    spec: &Spec,
    process: Process,
    args: &ExecArgs,
    socket: Option<&Path>,
) -> Result<i32> {
    let file = lowered_file(container, &process)?;
    let (why, write) = Why::listen(&ctx.log)?;
    let terminal = process.terminal().unwrap_or(false);
    let payload = Payload::new(setup_of(container, spec, process)?, write, None);
    let sub_cgroup = sub_cgroup(container, args)?;
    let built = ContainerBuilder::new(container.record.id.clone(), SyscallType::default())
        .with_root_path(container.libcontainer_root())
        .map(|builder| {
            builder
                .with_console_socket(socket.filter(|_| terminal))
                .with_preserved_fds(args.preserve_fds)
                .with_executor(payload)
                .as_tenant()
                .with_process(Some(file.clone()))
                .with_sub_cgroup(sub_cgroup)
                .with_ignore_paused(true)
                .with_detach(true)
        })
        .and_then(|builder| builder.build());
    // It was for libcontainer alone; the container's directory goes as a whole anyway.
    let _ = std::fs::remove_file(&file);
    match built {
        Ok(pid) => Ok(pid.as_raw()),
        Err(error) => Err(why.told().unwrap_or_else(|| why.logged(explain(&error)))),
    }
}

fn sub_cgroup(container: &Container, args: &ExecArgs) -> Result<Option<String>> {
    if args.cgroup.is_some() {
        return Ok(args.cgroup.clone());
    }
    let pid = container.record.init.map_or(0, |init| init.pid);
    Ok(container.cgroup()?.inner_of(pid)?.map(|path| path.to_string_lossy().into_owned()))
}

fn lowered_file(container: &Container, process: &Process) -> Result<PathBuf> {
    let path = container.dir().join(format!("process-{}.json", std::process::id()));
    let mut lowered = lowered_process(process);
    lowered.set_oom_score_adj(process.oom_score_adj());
    let text = serde_json::to_vec(&lowered).map_err(|source| RuntimeError::Json { path: path.clone(), source })?;
    std::fs::write(&path, text).map_err(RuntimeError::io("write", &path))?;
    Ok(path)
}

fn setup_of(container: &Container, spec: &Spec, process: Process) -> Result<Setup> {
    let seccomp = spec.linux().as_ref().and_then(|l| l.seccomp().clone());
    if seccomp.as_ref().is_some_and(|s| s.listener_path().is_some()) {
        return Err(RuntimeError::Usage("exec into a container with a seccomp listener is not supported".into()));
    }
    Ok(Setup {
        process,
        seccomp,
        first: false,
        loopback: false,
        readonly_root: false,
        readonly_mounts: Vec::new(),
        propagations: Vec::new(),
        cgroup_links: Vec::new(),
        keyring: CString::new(format!("_ses.{}", container.record.id)).ok(),
        user_namespace: user_namespace(container, spec)?,
    })
}

/// Opened here, on the host: the process enters it as the last of its namespaces.
fn user_namespace(container: &Container, spec: &Spec) -> Result<Option<OwnedFd>> {
    let Some(init) = container.record.init.filter(|_| has_namespace(spec, LinuxNamespaceType::User)) else {
        return Ok(None);
    };
    let path = format!("/proc/{}/ns/user", init.pid);
    let file = std::fs::File::open(&path).map_err(RuntimeError::io("open", path))?;
    Ok(Some(file.into()))
}
