//! `create`: everything of a container but its start.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hone_cgroups::{Cgroup, Hierarchies, container_path};
use hone_keeper::report::rfc3339;
use hone_keeper::staging::replace_file;
use libcontainer::container::ContainerStatus;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::Context;
use crate::edits::capabilities::without;
use crate::edits::{CgroupMount, Lowering, has_namespace, has_new_namespace, lowered, propagations};
use crate::error::{Result, RuntimeError};
use crate::init::{CgroupLink, Payload, Setup, unavailable_capabilities};
use crate::state::{Container, Init, Record, Status};
use crate::training::{Run, job_of};
use crate::{bundle, hooks, outside, signal};

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
            ctx.log.warn(&format!("clean up after failed create: {}", hone_keeper::keep::chain(&error)));
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
    let id = container.record.id.clone();
    let cgroup = container.cgroup()?;
    let (run, spec, status) = match job_of(&spec)? {
        Some(job) => {
            let (run, spec, status) = Run::prepare(spec, &job, &id, &container.record.bundle, &ctx.hone)?;
            container.record.staging = Some(run.dir().to_owned());
            (Some(run), spec, Some(status))
        }
        None => (None, spec, None),
    };
    container.save()?;
    container.set_spec(&spec)?;
    check_sources(&spec)?;
    limit(&cgroup, &spec)?;
    let pid = start_init(ctx, container, &spec, options, console, status)?;
    container.record.init = Some(Init::of(pid)?);
    cgroup.add(pid)?;
    finish_outside(pid, &spec, &container.record.rootfs)?;
    if let Some(run) = &run {
        run.guard(pid, cgroup.dir("memory"), &ctx.log)?;
    }
    limit_processor(&cgroup, &spec)?;
    container.record.phase = Status::Created;
    container.save()?;
    match &options.pid_file {
        Some(path) => replace_file(path, pid.to_string().as_bytes()).map_err(RuntimeError::io("write", path)),
        None => Ok(()),
    }
}

/// libcontainer would fail without saying which mount.
fn check_sources(spec: &Spec) -> Result<()> {
    for mount in spec.mounts().iter().flatten().filter(|m| libcontainer::rootfs::utils::is_bind(m)) {
        let Some(source) = mount.source() else { continue };
        if let Err(error) = std::fs::metadata(source) {
            let why = format!("stat {}: {}", source.display(), crate::init::plain(&error));
            let text = format!("error mounting {source:?} to rootfs at {:?}: {why}", mount.destination());
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

/// Lets libcontainer make the process; it waits before the payload.
fn start_init(
    ctx: &Context,
    container: &Container,
    spec: &Spec,
    options: &Options,
    console: Option<&Path>,
    status: Option<OwnedFd>,
) -> Result<i32> {
    let id = &container.record.id;
    write_lowered(ctx, container, spec)?;
    let (errors, write) = error_pipe()?;
    let trace = listen(ctx)?;
    let payload = Payload::new(setup_of(spec, options, id)?, write, status);
    let say = |error: libcontainer::error::LibcontainerError| explain(&error);
    let built = (|| {
        ContainerBuilder::new(id.clone(), SyscallType::default())
            .with_root_path(container.libcontainer_root())
            .map_err(say)?
            .with_console_socket(console)
            .with_preserved_fds(options.preserve_fds)
            .with_executor(payload)
            .as_init(container.libcontainer_bundle())
            .with_systemd(false)
            .with_detach(true)
            .with_no_pivot(options.no_pivot)
            .build()
            .map_err(say)
    })();
    match built {
        Ok(mut made) => {
            let pid = made.pid().ok_or_else(|| RuntimeError::Libcontainer("no process".into()))?.as_raw();
            // For libcontainer's own `exec`, which asks its own record.
            made.set_status(ContainerStatus::Running).save().map_err(|e| RuntimeError::Libcontainer(explain(&e)))?;
            Ok(pid)
        }
        Err(text) => Err(first_cause(container, errors, trace, text)),
    }
}

fn write_lowered(ctx: &Context, container: &Container, spec: &Spec) -> Result<()> {
    let rootfs = &container.record.rootfs;
    let mode_of = |path: &Path| outside::mode_of(rootfs, path);
    let with = Lowering {
        cgroup: &container.record.cgroup,
        cgroup_mounts: cgroup_view(spec, &container.record.cgroup)?.map(|view| view.0),
        host_hook: hooks::host_hook(spec, &ctx.root, &container.record.id)?,
        mode_of: &mode_of,
    };
    let lowered = lowered(spec.clone(), &with);
    let dirs = [container.libcontainer_bundle(), container.libcontainer_root()];
    for dir in &dirs {
        std::fs::DirBuilder::new().mode(0o700).create(dir).map_err(RuntimeError::io("create", dir))?;
    }
    let path = dirs[0].join("config.json");
    let text = serde_json::to_vec(&lowered).map_err(|source| RuntimeError::Json { path: path.clone(), source })?;
    std::fs::write(&path, text).map_err(RuntimeError::io("write", path))
}

/// What the container sees of its cgroup, when libcontainer's own way would show it writable or whole.
fn cgroup_view(spec: &Spec, cgroup: &Path) -> Result<Option<(Vec<CgroupMount>, Vec<CgroupLink>)>> {
    let Some(mount) = spec.mounts().iter().flatten().find(|m| m.typ().as_deref() == Some("cgroup")) else {
        return Ok(None);
    };
    let hierarchies = Hierarchies::detect()?;
    if hierarchies.only_v2() {
        let own = spec.linux().as_ref().is_some_and(|l| has_new_namespace(l, LinuxNamespaceType::Cgroup));
        let whole = |h: &hone_cgroups::Hierarchy| CgroupMount { source: h.dir(cgroup), name: String::new() };
        return Ok((!own).then(|| (hierarchies.unified().iter().map(|h| whole(h)).collect(), Vec::new())));
    }
    let (mut mounts, mut links) = (Vec::new(), Vec::new());
    for hierarchy in hierarchies.iter().filter(|h| !h.v2) {
        let name = hierarchy.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for controller in hierarchy.controllers.iter().filter(|c| **c != name && !c.starts_with("name=")) {
            links.push(CgroupLink { path: mount.destination().join(controller), target: name.clone() });
        }
        mounts.push(CgroupMount { source: hierarchy.dir(cgroup), name });
    }
    Ok(Some((mounts, links)))
}

fn setup_of(spec: &Spec, options: &Options, id: &str) -> Result<Setup> {
    let linux = spec.linux().clone().unwrap_or_default();
    let view = cgroup_view(spec, Path::new("/"))?;
    let links = view.map(|(_, links)| links).unwrap_or_default();
    let read_only = |m: &&oci_spec::runtime::Mount| m.options().iter().flatten().any(|o| o == "ro");
    // Whatever is made in them comes first: device nodes in /dev, directories and links in the cgroup tmpfs.
    let late = |m: &&oci_spec::runtime::Mount| {
        m.destination() == Path::new("/dev") || (m.typ().as_deref() == Some("cgroup") && has_tmpfs())
    };
    let mounts = spec.mounts().iter().flatten();
    let readonly_mounts = mounts.filter(read_only).filter(late).map(|m| m.destination().clone()).collect();
    Ok(Setup {
        process: spec.process().clone().unwrap_or_default(),
        seccomp: linux.seccomp().clone().filter(|s| s.listener_path().is_none()),
        first: true,
        loopback: has_new_namespace(&linux, LinuxNamespaceType::Network),
        readonly_root: spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        readonly_mounts,
        propagations: propagations(spec),
        cgroup_links: links,
        keyring: if options.no_new_keyring { None } else { CString::new(format!("_ses.{id}")).ok() },
        user_namespace: None,
    })
}

/// On a v1 or hybrid host the cgroup directory of a container is a tmpfs with one mount per hierarchy.
fn has_tmpfs() -> bool {
    Hierarchies::detect().is_ok_and(|h| !h.only_v2())
}

/// A pipe for one sentence, which the payload never holds.
///
/// # Errors
/// When the kernel refuses.
pub fn error_pipe() -> Result<(File, OwnedFd)> {
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK);
    let (read, write) = pipe.map_err(RuntimeError::call("make a pipe"))?;
    Ok((read.into(), write))
}

/// Keeps what libcontainer logs as its first error.
///
/// # Errors
/// When the kernel refuses a pipe.
pub fn listen(ctx: &Context) -> Result<File> {
    let (read, write) = error_pipe()?;
    crate::trace::listen(write.into(), ctx.log.clone());
    Ok(read)
}

/// What the process itself told, else what a hook told, else libcontainer's own words.
fn first_cause(container: &Container, errors: File, trace: File, text: String) -> RuntimeError {
    if let Some(told) = told(errors) {
        return RuntimeError::Init(told);
    }
    match std::fs::read_to_string(container.dir().join(hooks::ERROR_FILE)) {
        Ok(told) => RuntimeError::Told(told),
        Err(_) => RuntimeError::Libcontainer(first_line(trace).unwrap_or(text)),
    }
}

/// The sentence in the pipe, if there is one.
pub fn told(mut errors: File) -> Option<String> {
    let mut text = Vec::new();
    // Without a writer that wrote, the pipe is empty or would block: then nothing was told.
    let _ = errors.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    (!text.is_empty()).then_some(text)
}

/// The first of libcontainer's errors: those after it are what its parents made of it.
pub fn first_line(trace: File) -> Option<String> {
    told(trace)?.lines().next().map(str::to_owned)
}

/// libcontainer's error, each cause once.
pub fn explain(error: &libcontainer::error::LibcontainerError) -> String {
    hone_keeper::keep::chain(error)
}
