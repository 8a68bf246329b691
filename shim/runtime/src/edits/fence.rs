//! What a training container gets in addition (docs/contract.md, "What a runtime does for a training container").
//! Pure: a job narrows what the caller allowed and never widens it.

use std::path::{Path, PathBuf};

use hone_contract::job::{DATA_DIRS, Job, OUT_DIR};
use hone_contract::quoted_path;
use oci_spec::runtime::{
    LinuxCpu, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, Mount, MountBuilder, Spec,
};

/// The environment variable by which the caller lets a training container keep the engine's network.
const NETWORK_VARIABLE: &str = "HONE_NETWORK=engine";
/// The hook by which docker moves its interface into the container's network namespace.
const DOCKER_NETWORK_HOOK: &str = "libnetwork-setkey";
/// Everything Hone lies below this.
const HONE_DIR: &str = "/hone";
/// The kernel's first choice when memory runs out.
const OOM_FIRST: i32 = 1000;
/// The least that `cpu.shares` can say.
const LEAST_SHARES: u64 = 2;
/// Period of the processor quota (microseconds), the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// A caller's wish that a training container cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    /// A mount where the runtime's own lies.
    #[error("mount at \"{}\": {HONE_DIR} and what lies below it belong to the runtime; mount your data at /data", quoted_path(.0))]
    MountAtHone(PathBuf),
}

/// What the edits need to know.
pub struct Training<'a> {
    /// The job.
    pub job: &'a Job,
    /// The staging directory's `out`.
    pub out: &'a Path,
    /// Where a path of the image leads, links followed: `/data` may be a link, and so may what it points at.
    pub resolve: &'a dyn Fn(&Path) -> PathBuf,
}

/// Whether the caller wants the engine's network.
pub fn wants_engine_network(spec: &Spec) -> bool {
    let env = spec.process().as_ref().and_then(|p| p.env().clone()).unwrap_or_default();
    env.iter().rev().find(|v| v.starts_with("HONE_NETWORK=")).is_some_and(|v| v == NETWORK_VARIABLE)
}

/// The configuration of a training container.
///
/// # Errors
/// See [`TrainingError`].
pub fn training(mut spec: Spec, with: &Training<'_>) -> Result<Spec, TrainingError> {
    if !wants_engine_network(&spec) {
        fence_network(&mut spec);
    }
    edit_mounts(&mut spec, with)?;
    if with.job.trainer.as_ref().is_some_and(|t| t.readonly_root)
        && let Some(root) = spec.root_mut()
    {
        root.set_readonly(Some(true));
    }
    if let Some(process) = spec.process_mut() {
        let score = process.oom_score_adj().unwrap_or(0).max(OOM_FIRST);
        process.set_oom_score_adj(Some(score));
    }
    if let Some(linux) = spec.linux_mut() {
        let resources = linux.resources().clone().unwrap_or_else(empty_resources);
        linux.set_resources(Some(tighten(resources, &with.job.resources)));
    }
    Ok(spec)
}

/// A new network namespace, whatever the engine prepared, and none of its hooks that would put an interface in.
fn fence_network(spec: &mut Spec) {
    if let Some(linux) = spec.linux_mut() {
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        namespaces.retain(|ns| ns.typ() != LinuxNamespaceType::Network);
        // A namespace with a type always builds.
        namespaces.extend(LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network).build().ok());
        linux.set_namespaces(Some(namespaces));
        linux.set_net_devices(None);
    }
    if let Some(hooks) = spec.hooks_mut() {
        let is_network = |args: &Option<Vec<String>>| {
            args.iter().flatten().any(|arg| arg.rsplit('/').next() == Some(DOCKER_NETWORK_HOOK))
        };
        #[allow(deprecated)] // docker 20.10 to 28 use prestart
        if let Some(list) = hooks.prestart_mut() {
            list.retain(|hook| !is_network(hook.args()));
        }
        if let Some(list) = hooks.create_runtime_mut() {
            list.retain(|hook| !is_network(hook.args()));
        }
    }
}

fn edit_mounts(spec: &mut Spec, with: &Training<'_>) -> Result<(), TrainingError> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let hone = [PathBuf::from(HONE_DIR), (with.resolve)(Path::new(HONE_DIR))];
    let data: Vec<PathBuf> =
        DATA_DIRS.iter().flat_map(|dir| [PathBuf::from(dir), (with.resolve)(Path::new(dir))]).collect();
    for mount in &mut mounts {
        let real = (with.resolve)(mount.destination());
        if hone.iter().any(|dir| real.starts_with(dir)) {
            return Err(TrainingError::MountAtHone(mount.destination().clone()));
        }
        if data.iter().any(|dir| real.starts_with(dir)) {
            make_read_only(mount);
        }
    }
    let options = ["bind", "rprivate", "rw", "nosuid", "nodev"].map(str::to_owned).to_vec();
    let out = MountBuilder::default().typ("bind").source(with.out).destination(OUT_DIR).options(options);
    // A mount with a destination always builds.
    mounts.extend(out.build().ok());
    spec.set_mounts(Some(mounts));
    Ok(())
}

/// `rro` as well: what is mounted below the source must not stay writable.
fn make_read_only(mount: &mut Mount) {
    let mut options = mount.options().clone().unwrap_or_default();
    options.retain(|o| !matches!(o.as_str(), "rw" | "rrw" | "ro" | "rro"));
    options.extend(["ro".to_owned(), "rro".to_owned()]);
    mount.set_options(Some(options));
}

/// `LinuxResources::default()` of the library is not empty.
fn empty_resources() -> LinuxResources {
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    resources
}

/// The tighter of the caller's and the job's; the lowest processor share when the caller named none.
fn tighten(mut resources: LinuxResources, job: &hone_contract::job::Resources) -> LinuxResources {
    let mut cpu = resources.cpu().clone().unwrap_or_else(empty_cpu);
    if cpu.shares().is_none_or(|shares| shares == 0) {
        cpu.set_shares(Some(LEAST_SHARES));
    }
    if let Some(wanted) = job.cpu {
        tighten_cpu(&mut cpu, wanted);
    }
    resources.set_cpu(Some(cpu));
    if let Some(wanted) = job.memory {
        let mut memory = resources.memory().unwrap_or_default();
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        memory.set_limit(Some(tighter(memory.limit(), wanted)));
        resources.set_memory(Some(memory));
    }
    if let Some(wanted) = job.pids {
        let given = resources.pids().as_ref().map(|p| p.limit());
        let limit = tighter(given, i64::try_from(wanted).unwrap_or(i64::MAX));
        resources.set_pids(LinuxPidsBuilder::default().limit(limit).build().ok());
    }
    resources
}

/// Zero and below mean "no limit" in a caller's configuration.
fn tighter(given: Option<i64>, wanted: i64) -> i64 {
    given.filter(|limit| *limit > 0).map_or(wanted, |limit| limit.min(wanted))
}

fn tighten_cpu(cpu: &mut LinuxCpu, wanted: f64) {
    let period = cpu.period().filter(|p| *p > 0).unwrap_or(CPU_PERIOD);
    // At least 1000 microseconds: the kernel takes no smaller quota.
    let quota = ((wanted * period as f64) as i64).max(1000);
    let quota = tighter(cpu.quota(), quota);
    cpu.set_period(Some(period)).set_quota(Some(quota));
}

fn empty_cpu() -> LinuxCpu {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(None);
    cpu
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{"ociVersion":"1.0.2","root":{"path":"/r"},
        "process":{"cwd":"/","args":["train"],"user":{"uid":0,"gid":0},"env":["A=b"]},
        "hooks":{"prestart":[
          {"path":"/proc/1/exe","args":["libnetwork-setkey","-exec-root=/run","id"]},
          {"path":"/usr/bin/nvidia-container-runtime-hook","args":["nvidia","prestart"]}]},
        "mounts":[{"destination":"/proc","type":"proc","source":"proc"},
          {"destination":"/app/data/","type":"bind","source":"/home/me","options":["rbind","rw","rprivate"]},
          {"destination":"/database","type":"bind","source":"/db","options":["rbind","rw"]}],
        "linux":{"namespaces":[{"type":"network","path":"/run/netns/x"},{"type":"mount"}],
          "resources":{"memory":{"limit":1000,"swap":2000},"cpu":{"quota":50000,"period":100000},"pids":{"limit":-1}}}}"#;

    fn job(resources: &str) -> Job {
        let text = format!(
            r#"{{"contract":1,"name":"a",
              "trainer":{{"name":"t","digest":"sha256:{}","command":["train"],"readonly_root":true}},
              "adapter":{{"commit":true,"tag":"v{{n}}","max_bytes":1}}}}"#,
            "0".repeat(64)
        );
        // Smaller limits than a job may have: what is tested is which of two wins.
        let resources = serde_json::from_str(resources).expect("resources");
        Job { resources, ..Job::parse(text.as_bytes()).expect("job") }
    }

    fn edit(spec: &str, resources: &str) -> Result<Spec, TrainingError> {
        let resolve = |path: &Path| path.components().collect::<PathBuf>();
        let spec = serde_json::from_str(spec).expect("spec");
        training(spec, &Training { job: &job(resources), out: Path::new("/staging/out"), resolve: &resolve })
    }

    #[test]
    #[allow(deprecated)]
    fn the_network_is_new_and_dockers_hook_is_gone() {
        let spec = edit(SPEC, "{}").expect("edit");
        let linux = spec.linux().clone().expect("linux");
        let network: Vec<_> =
            linux.namespaces().iter().flatten().filter(|n| n.typ() == LinuxNamespaceType::Network).collect();
        assert_eq!(network.len(), 1);
        assert!(network[0].path().is_none());
        let hooks = spec.hooks().clone().expect("hooks");
        assert_eq!(hooks.prestart().as_ref().map(Vec::len), Some(1), "other hooks stay");
    }

    #[test]
    #[allow(deprecated)]
    fn the_caller_may_keep_the_engines_network() {
        let spec = edit(&SPEC.replace("A=b", "HONE_NETWORK=engine"), "{}").expect("edit");
        let linux = spec.linux().clone().expect("linux");
        assert!(linux.namespaces().iter().flatten().any(|n| n.path().is_some()));
        assert_eq!(spec.hooks().as_ref().and_then(|h| h.prestart().as_ref()).map(Vec::len), Some(2));
    }

    #[test]
    fn data_is_read_only_and_the_rest_is_as_it_was() {
        let spec = edit(SPEC, "{}").expect("edit");
        let mounts = spec.mounts().clone().expect("mounts");
        assert_eq!(mounts[1].options().clone().expect("options"), ["rbind", "rprivate", "ro", "rro"]);
        assert_eq!(mounts[2].options().clone().expect("options"), ["rbind", "rw"]);
        assert_eq!(mounts[3].destination(), Path::new("/hone/out"));
        assert_eq!(mounts[3].source().clone(), Some("/staging/out".into()));
        assert_eq!(spec.root().as_ref().and_then(|r| r.readonly()), Some(true));
        assert_eq!(spec.process().as_ref().and_then(|p| p.oom_score_adj()), Some(1000));
    }

    #[test]
    fn a_mount_at_hone_is_refused() {
        for at in ["/hone", "/hone/out", "/hone/job.json"] {
            let error = edit(&SPEC.replace("/database", at), "{}").expect_err(at);
            assert_eq!(error, TrainingError::MountAtHone(at.into()));
        }
    }

    #[test]
    fn the_tighter_limit_wins() {
        let limits = |resources: &str| {
            let spec = edit(SPEC, resources).expect("edit");
            let r = spec.linux().as_ref().and_then(|l| l.resources().clone()).expect("resources");
            let cpu = r.cpu().clone().expect("cpu");
            (
                r.memory().as_ref().and_then(|m| m.limit()),
                cpu.quota(),
                cpu.shares(),
                r.pids().as_ref().map(|p| p.limit()),
            )
        };
        assert_eq!(limits("{}"), (Some(1000), Some(50000), Some(2), Some(-1)));
        assert_eq!(limits(r#"{"cpu":1.5,"memory":900,"pids":7}"#), (Some(900), Some(50000), Some(2), Some(7)));
        assert_eq!(limits(r#"{"cpu":0.25,"memory":5000}"#), (Some(1000), Some(25000), Some(2), Some(-1)));
    }
}
