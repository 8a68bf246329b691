//! Starts libcontainer for a container's first process: what it is given, what it is not, and why it failed.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use hone_cgroups::{Hierarchies, Hierarchy};
use libcontainer::container::ContainerStatus;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use crate::edits::{CgroupMount, Lowering, has_new_namespace, lowered, propagations};
use crate::error::{Result, RuntimeError};
use crate::init::{CgroupLink, Payload, Setup};
use crate::state::Container;
use crate::verbs::Context;
use crate::verbs::create::Options;
use crate::why::{Why, explain};
use crate::{hooks, outside};

/// Lets libcontainer make the process; it waits before the payload.
///
/// # Errors
/// In the words of whoever knows the cause: the process itself, a hook, or libcontainer.
pub fn start_init(
    ctx: &Context,
    container: &Container,
    spec: &Spec,
    options: &Options,
    console: Option<&Path>,
    status: Option<OwnedFd>,
) -> Result<i32> {
    let id = &container.record.id;
    write_lowered(ctx, container, spec)?;
    let (why, write) = Why::listen(&ctx.log)?;
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
        Err(text) => Err(why.told().or_else(|| told_by_hook(container)).unwrap_or_else(|| why.logged(text))),
    }
}

fn told_by_hook(container: &Container) -> Option<RuntimeError> {
    std::fs::read_to_string(container.dir().join(hooks::ERROR_FILE)).ok().map(RuntimeError::Told)
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
        let whole = |h: &Hierarchy| CgroupMount { source: h.dir(cgroup), name: String::new() };
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
    let read_only = |m: &&Mount| m.options().iter().flatten().any(|o| o == "ro");
    // Whatever is made in them comes first: device nodes in /dev, directories and links in the cgroup tmpfs.
    let late =
        |m: &&Mount| m.destination() == Path::new("/dev") || (m.typ().as_deref() == Some("cgroup") && has_tmpfs());
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
