//! What is left of a configuration for libcontainer. Pure.
//!
//! libcontainer sets up namespaces, mounts, devices, rlimits and the terminal. Credentials, capabilities, seccomp,
//! environment, working directory and the read-only root are set by [`crate::init`] at the very end, in the order
//! the kernel needs and in the same way for the first process and for `exec`; limits by [`hone_cgroups`]; hooks of
//! the runtime's namespace by [`crate::hooks`].

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Hooks, HooksBuilder, Process, Spec, User};

use super::CgroupMount;
use super::mounts;

/// What lowering needs to know.
pub struct Lowering<'a> {
    /// The container's cgroup.
    pub cgroup: &'a Path,
    /// How the cgroup filesystem is shown inside; libcontainer's own way when absent.
    pub cgroup_mounts: Option<Vec<CgroupMount>>,
    /// The hook that runs the caller's prestart and createRuntime hooks.
    pub host_hook: Option<Hook>,
    /// The mode of a directory of the root filesystem.
    pub mode_of: &'a dyn Fn(&Path) -> Option<u32>,
}

/// The configuration that libcontainer is given.
pub fn lowered(mut spec: Spec, with: &Lowering<'_>) -> Spec {
    let process = spec.process().as_ref().map(lowered_process);
    spec.set_process(process);
    let hooks = spec.hooks().as_ref().map(|hooks| lowered_hooks(hooks, with.host_hook.clone()));
    spec.set_hooks(hooks);
    if let Some(root) = spec.root_mut() {
        root.set_readonly(Some(false));
    }
    let mounts = spec.mounts().as_deref().map(|m| mounts::lower(m, with.cgroup_mounts.as_deref(), with.mode_of));
    spec.set_mounts(mounts);
    if let Some(linux) = spec.linux_mut() {
        linux.set_resources(None).set_cgroups_path(Some(with.cgroup.into()));
        // A listener gets its descriptor from libcontainer, which must then load the filter itself.
        if linux.seccomp().as_ref().is_some_and(|s| s.listener_path().is_none()) {
            linux.set_seccomp(None);
        }
        let propagation = linux.rootfs_propagation().as_deref().map(|p| p.strip_prefix('r').unwrap_or(p).to_owned());
        linux.set_rootfs_propagation(propagation.filter(|p| !p.is_empty()));
    }
    spec
}

/// A process that stays root until [`crate::init`] takes over.
///
/// HOME is set so that libcontainer does not look the user up: glibc would load the image's name service modules
/// into this process while it still has every capability.
pub fn lowered_process(process: &Process) -> Process {
    let mut process = process.clone();
    process
        .set_user(User::default())
        .set_env(Some(vec!["PATH=/".into(), "HOME=/".into()]))
        .set_cwd(PathBuf::from("/"))
        .set_capabilities(None)
        .set_no_new_privileges(None)
        .set_oom_score_adj(None)
        .set_selinux_label(None);
    process
}

/// prestart and createRuntime run in the runtime's namespaces: through our hook, which knows the caller's bundle.
/// poststart and poststop are run by `start` and `delete`.
fn lowered_hooks(hooks: &Hooks, host_hook: Option<Hook>) -> Hooks {
    let mut builder = HooksBuilder::default();
    if let Some(hook) = host_hook {
        builder = builder.create_runtime(vec![hook]);
    }
    if let Some(hooks) = hooks.create_container() {
        builder = builder.create_container(hooks.clone());
    }
    if let Some(hooks) = hooks.start_container() {
        builder = builder.start_container(hooks.clone());
    }
    // Every field of the builder is optional.
    builder.build().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libcontainer_gets_no_limits_credentials_or_filter() {
        let spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.0.2","root":{"path":"/r","readonly":true},
            "process":{"cwd":"/work","args":["sh"],"user":{"uid":7,"gid":8},"noNewPrivileges":false,
              "capabilities":{"bounding":["CAP_KILL"]},"oomScoreAdj":5,"rlimits":[{"type":"RLIMIT_NOFILE","hard":9,"soft":9}]},
            "hooks":{"prestart":[{"path":"/x"}],"poststop":[{"path":"/y"}],"startContainer":[{"path":"/z"}]},
            "linux":{"resources":{"memory":{"limit":9}},"rootfsPropagation":"rslave",
              "seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}"#,
        )
        .expect("spec");
        let with = Lowering { cgroup: Path::new("/c"), cgroup_mounts: None, host_hook: None, mode_of: &|_| None };
        let got = lowered(spec, &with);
        let linux = got.linux().clone().expect("linux");
        assert!(linux.resources().is_none() && linux.seccomp().is_none());
        assert_eq!(linux.cgroups_path().clone(), Some("/c".into()));
        assert_eq!(linux.rootfs_propagation().as_deref(), Some("slave"));
        let process = got.process().clone().expect("process");
        assert_eq!((process.user().uid(), process.cwd().as_path()), (0, Path::new("/")));
        assert!(process.capabilities().is_none() && process.no_new_privileges().is_none());
        assert!(process.rlimits().is_some());
        let hooks = got.hooks().clone().expect("hooks");
        assert!(hooks.create_runtime().is_none() && hooks.poststop().is_none() && hooks.start_container().is_some());
        assert_eq!(got.root().as_ref().and_then(|r| r.readonly()), Some(false));
    }
}
