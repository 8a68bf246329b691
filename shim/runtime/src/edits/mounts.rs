//! Mounts as libcontainer can make them. Pure.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder, Spec};
use rustix::mount::MountPropagationFlags;

/// One directory of the container's cgroup, shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// The directory on the host.
    pub source: PathBuf,
    /// Its name below `/sys/fs/cgroup`; empty for a v2-only host.
    pub name: String,
}

/// A propagation to be set after the mount was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// The mount.
    pub destination: PathBuf,
    /// Its type.
    pub flags: MountPropagationFlags,
}

/// libcontainer drops the propagation of bind mounts: these are to be set inside, before the payload starts.
pub fn propagations(spec: &Spec) -> Vec<Propagation> {
    let mut out = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        for flags in mount.options().iter().flatten().filter_map(|option| propagation(option)) {
            out.push(Propagation { destination: mount.destination().clone(), flags });
        }
    }
    out
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    let (name, recursive) = match option.strip_prefix('r') {
        Some(name) => (name, MountPropagationFlags::REC),
        None => (option, MountPropagationFlags::empty()),
    };
    let kind = match name {
        "shared" => MountPropagationFlags::SHARED,
        "private" => MountPropagationFlags::PRIVATE,
        // "slave" is named downstream here (mount_namespaces(7)).
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

/// The mounts for libcontainer: no `tmpcopyup`, which the runtime does itself; a tmpfs over a directory takes its
/// mode, as `mode_of` gives it; the cgroup filesystem as binds of the container's own directories.
pub(super) fn lower(
    mounts: &[Mount],
    cgroups: Option<&[CgroupMount]>,
    mode_of: &dyn Fn(&Path) -> Option<u32>,
) -> Vec<Mount> {
    let mut out = Vec::new();
    for mount in mounts {
        match (mount.typ().as_deref(), cgroups) {
            (Some("cgroup"), Some(cgroups)) => out.extend(cgroup_binds(mount, cgroups)),
            (Some("tmpfs"), _) => out.push(tmpfs(mount, mode_of)),
            _ => out.push(mount.clone()),
        }
    }
    out
}

fn tmpfs(mount: &Mount, mode_of: &dyn Fn(&Path) -> Option<u32>) -> Mount {
    let mut options: Vec<String> = mount.options().iter().flatten().filter(|o| *o != "tmpcopyup").cloned().collect();
    if !options.iter().any(|o| o.starts_with("mode="))
        && let Some(mode) = mode_of(mount.destination())
    {
        options.push(format!("mode={mode:o}"));
    }
    let mut mount = mount.clone();
    mount.set_options(Some(options));
    mount
}

/// What libcontainer would bind itself, but writable whatever the caller said.
fn cgroup_binds(mount: &Mount, cgroups: &[CgroupMount]) -> Vec<Mount> {
    let given = mount.options().clone().unwrap_or_default();
    let build = |kind: &str, source: &Path, destination: PathBuf, options: Vec<String>| {
        let builder = MountBuilder::default().typ(kind).source(source).destination(destination).options(options);
        // A mount with a destination always builds.
        builder.build().unwrap_or_default()
    };
    let bound = |c: &CgroupMount| {
        let options = given.iter().cloned().chain(["bind".to_owned()]).collect();
        let destination =
            if c.name.is_empty() { mount.destination().clone() } else { mount.destination().join(&c.name) };
        build("bind", &c.source, destination, options)
    };
    let mut out = Vec::new();
    if cgroups.iter().any(|c| !c.name.is_empty()) {
        let options = ["nosuid", "noexec", "nodev", "mode=755"].map(str::to_owned).to_vec();
        out.push(build("tmpfs", Path::new("tmpfs"), mount.destination().clone(), options));
    }
    out.extend(cgroups.iter().map(bound));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(json: &str) -> Mount {
        serde_json::from_str(json).expect("mount")
    }

    #[test]
    fn a_tmpfs_takes_the_mode_of_what_it_covers() {
        let given =
            mount(r#"{"destination":"/tmp","type":"tmpfs","source":"tmpfs","options":["nosuid","tmpcopyup"]}"#);
        let got = lower(&[given], None, &|_| Some(0o1777));
        assert_eq!(got[0].options().clone().expect("options"), ["nosuid", "mode=1777"]);
    }

    #[test]
    fn cgroups_are_bound_with_the_callers_options() {
        let given =
            mount(r#"{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["ro","nosuid"]}"#);
        let cgroups = [CgroupMount { source: "/sys/fs/cgroup/memory/c".into(), name: "memory".into() }];
        let got = lower(std::slice::from_ref(&given), Some(&cgroups), &|_| None);
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].typ().as_deref(), Some("tmpfs"));
        assert_eq!(got[1].destination(), Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(got[1].options().clone().expect("options"), ["ro", "nosuid", "bind"]);
        let v2 = [CgroupMount { source: "/sys/fs/cgroup/c".into(), name: String::new() }];
        let got = lower(&[given], Some(&v2), &|_| None);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].destination(), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn propagation_words() {
        let rshared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
        assert_eq!(propagation("rshared"), Some(rshared));
        assert_eq!(propagation("slave"), Some(MountPropagationFlags::DOWNSTREAM));
        assert_eq!(propagation("ro"), None);
        assert_eq!(propagation("rbind"), None);
    }
}
