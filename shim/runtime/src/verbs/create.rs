//! `create`: everything of a container but its start.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hone_cgroups::{Cgroup, container_path};
use hone_contract::quoted_path;
use hone_keeper::report::rfc3339;
use hone_keeper::staging::swap_file;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::Context;
use crate::edits::capabilities::without;
use crate::edits::has_namespace;
use crate::error::{Result, RuntimeError};
use crate::init::unavailable_capabilities;
use crate::launch::start_init;
use crate::state::{Container, Init, Record, Status};
use crate::training::{Run, job_of};
use crate::{bundle, outside, signal};

/// How a container is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The bundle.
    pub bundle: PathBuf,
    /// Who receives the terminal.
    pub console_socket: Option<PathBuf>,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// chroot instead of pivot_root.
    pub no_pivot: bool,
    /// No session keyring of its own.
    pub no_new_keyring: bool,
    /// Descriptors to pass on.
    pub preserve_fds: i32,
}

/// Makes a container.
///
/// # Errors
/// Nothing of it is left then.
pub fn create(ctx: &Context, id: &str, options: &Options) -> Result<Container> {
    let (container, spec) = claim(ctx, id, &options.bundle)?;
    check_terminal(&spec, options).or_else(|error| {
        container.forget()?;
        Err(error)
    })?;
    make(ctx, container, spec, options, options.console_socket.as_deref())
}

/// Reads the configuration and takes the id; to be followed by [`make`].
///
/// # Errors
/// When the configuration cannot be read or the id is taken.
pub fn claim(ctx: &Context, id: &str, bundle: &Path) -> Result<(Container, Spec)> {
    let bundle = std::fs::canonicalize(bundle).map_err(RuntimeError::io("open bundle", bundle))?;
    let mut spec = bundle::read(&bundle, &ctx.log)?;
    drop_unavailable_capabilities(&mut spec, ctx);
    let linux = spec.linux().as_ref();
    let cgroups_path = linux.and_then(|l| l.cgroups_path().as_deref());
    let record = Record {
        id: id.into(),
        rootfs: bundle::rootfs(&spec),
        bundle,
        annotations: spec.annotations().clone().unwrap_or_default(),
        created: rfc3339(SystemTime::now(), true),
        owner: rustix::process::getuid().as_raw(),
        phase: Status::Creating,
        init: None,
        cgroup: container_path(cgroups_path, id, ctx.systemd)?,
        staging: None,
    };
    Ok((Container::create(&ctx.root, record)?, spec))
}

fn drop_unavailable_capabilities(spec: &mut Spec, ctx: &Context) {
    let Some(process) = spec.process_mut() else { return };
    let Some(wanted) = process.capabilities().clone() else { return };
    let missing = unavailable_capabilities(&wanted);
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|c| format!("CAP_{c}")).collect();
        ctx.log.warn(&format!("ignoring unknown or unavailable capabilities: [{}]", names.join(" ")));
        process.set_capabilities(Some(without(&wanted, &missing)));
    }
}

fn check_terminal(spec: &Spec, options: &Options) -> Result<()> {
    let terminal = spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
    match (terminal, &options.console_socket) {
        (true, None) => {
            Err(RuntimeError::Usage("cannot allocate tty if runc will detach without setting console socket".into()))
        }
        (false, Some(_)) => {
            Err(RuntimeError::Usage("cannot use console socket if runc will not detach or allocate tty".into()))
        }
        _ => Ok(()),
    }
}

/// Makes the container that was claimed.
///
/// # Errors
/// Nothing of it is left then.
pub fn make(
    ctx: &Context,
    mut container: Container,
    spec: Spec,
    options: &Options,
    console: Option<&Path>,
) -> Result<Container> {
    let made = build(ctx, &mut container, spec, options, console);
    made.inspect_err(|_| undo(ctx, &container))?;
    Ok(container)
}

/// Best effort, as the first error is the one to tell; what cannot be undone is logged.
fn undo(ctx: &Context, container: &Container) {
    let cleaned = container.cgroup().and_then(|cgroup| {
        cgroup.kill(signal::KILL)?;
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::empty()) {}
        Ok(cgroup.remove()?)
    });
    for result in [cleaned, container.forget()] {
        if let Err(error) = result {
            ctx.log.warn(&format!("clean up after failed create: {}", hone_contract::chain(&error)));
        }
    }
}

fn build(
    ctx: &Context,
    container: &mut Container,
    spec: Spec,
    options: &Options,
    console: Option<&Path>,
) -> Result<()> {
    let Some(job) = job_of(&spec)? else {
        return build_plain(ctx, container, &spec, options, console, None);
    };
    if let Some(note) = job.note() {
        ctx.log.warn(&note);
    }
    let id = container.record.id.clone();
    let (run, spec, status) = Run::prepare(spec, &job, &id, &container.record.bundle, &ctx.hone)?;
    container.record.staging = Some(run.dir().to_owned());
    let built = build_plain(ctx, container, &spec, options, console, Some((&run, status)));
    built.or_else(|error| {
        run.abandon()?;
        Err(error)
    })
}

fn build_plain(
    ctx: &Context,
    container: &mut Container,
    spec: &Spec,
    options: &Options,
    console: Option<&Path>,
    training: Option<(&Run, OwnedFd)>,
) -> Result<()> {
    container.save()?;
    container.set_spec(spec)?;
    check_sources(spec)?;
    let cgroup = container.cgroup()?;
    limit(&cgroup, spec)?;
    let (run, status) = training.map_or((None, None), |(run, status)| (Some(run), Some(status)));
    let pid = start_init(ctx, container, spec, options, console, status)?;
    container.record.init = Some(Init::of(pid)?);
    cgroup.add(pid)?;
    finish_outside(pid, spec, &container.record.rootfs)?;
    limit_processor(&cgroup, spec)?;
    container.record.phase = Status::Created;
    container.save()?;
    if let Some(path) = &options.pid_file {
        swap_file(path, pid.to_string().as_bytes()).map_err(RuntimeError::io("write", path))?;
    }
    // Last: a keeper that has begun sees the run through, also one that never starts.
    run.map_or(Ok(()), |run| run.guard(pid, cgroup.dir("memory"), &ctx.log))
}

/// libcontainer would fail without saying which mount.
fn check_sources(spec: &Spec) -> Result<()> {
    for mount in spec.mounts().iter().flatten().filter(|m| libcontainer::rootfs::utils::is_bind(m)) {
        let Some(source) = mount.source() else { continue };
        if let Err(error) = std::fs::metadata(source) {
            let (source, destination) = (quoted_path(source), quoted_path(mount.destination()));
            let why = format!("stat {source}: {}", crate::init::plain(&error));
            let text = format!("error mounting \"{source}\" to rootfs at \"{destination}\": {why}");
            return Err(RuntimeError::Libcontainer(text));
        }
    }
    Ok(())
}

fn limit(cgroup: &Cgroup, spec: &Spec) -> Result<()> {
    cgroup.create()?;
    let resources = spec.linux().as_ref().and_then(|l| l.resources().clone());
    if let Some(resources) = &resources {
        let mut now = resources.clone();
        now.set_cpu(None);
        cgroup.limit(&now)?;
    }
    // In a user namespace the kernel forbids device nodes anyway, and the rules cannot be written from inside one.
    if has_namespace(spec, LinuxNamespaceType::User) {
        return Ok(());
    }
    let rules = resources.and_then(|r| r.devices().clone()).unwrap_or_default();
    Ok(cgroup.allow_devices(&rules)?)
}

/// Last: making the container is the runtime's own work, which the lowest processor share would starve.
fn limit_processor(cgroup: &Cgroup, spec: &Spec) -> Result<()> {
    let Some(mut resources) = spec.linux().as_ref().and_then(|l| l.resources().clone()) else { return Ok(()) };
    resources.set_memory(None).set_pids(None).set_block_io(None).set_hugepage_limits(None).set_network(None);
    resources.set_unified(None);
    Ok(cgroup.limit(&resources)?)
}

fn finish_outside(pid: i32, spec: &Spec, rootfs: &Path) -> Result<()> {
    if let Some(process) = spec.process() {
        outside::set_oom_score(pid, process)?;
    }
    outside::copy_up(pid, spec, rootfs)
}
