//! The bundle's config.json: what docker would ask a runtime for, or less.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::RunError;
use crate::seccomp;
use crate::user::User;
use hone_commands::run::{Args, Network, Volume};

/// docker's, without those that make devices, raw sockets and file capabilities.
const CAPABILITIES: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The period of the CPU quota (microseconds), docker's.
const PERIOD: u64 = 100_000;
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the container runs as.
pub(crate) struct Process {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: User,
}

/// The image's environment, docker's default path, and the caller's variables over both.
pub(crate) fn environment(image: &[String], caller: &[String], container: &str) -> Vec<String> {
    let passed = caller.iter().filter_map(|v| match v.contains('=') {
        true => Some(v.clone()),
        false => std::env::var(v).ok().map(|value| format!("{v}={value}")),
    });
    let own = [PATH.to_owned(), format!("HOSTNAME={container}")];
    let (mut all, mut places) = (Vec::new(), HashMap::new());
    for variable in own.into_iter().chain(image.iter().cloned()).chain(passed) {
        let name = variable.split('=').next().unwrap_or_default().to_owned();
        match places.entry(name) {
            Entry::Occupied(place) => all[*place.get()] = variable,
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(variable);
            }
        }
    }
    all
}

/// Writes the whole file as a value.
pub(crate) fn config(args: &Args, container: &str, process: &Process) -> Result<Value, RunError> {
    let user = &process.user;
    let capabilities: &[&str] = if user.uid == 0 { &CAPABILITIES } else { &[] };
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
            "args": process.args,
            "env": process.env,
            "cwd": process.cwd,
            "capabilities": { "bounding": CAPABILITIES, "effective": capabilities, "permitted": capabilities },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": args.read_only },
        "hostname": container,
        "mounts": mounts(args)?,
        "linux": {
            "cgroupsPath": format!("/hone/{container}"),
            "namespaces": namespaces(args),
            "resources": resources(args),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "seccomp": seccomp::profile(),
        },
    }))
}

fn namespaces(args: &Args) -> Vec<Value> {
    let own = ["mount", "pid", "ipc", "uts", "cgroup"].into_iter();
    own.chain((args.network == Network::None).then_some("network")).map(|kind| json!({ "type": kind })).collect()
}

fn resources(args: &Args) -> Value {
    let mut resources = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    if let Some(bytes) = args.memory {
        // No more swap than memory: a limit that pages out to a flash disk protects nobody.
        resources["memory"] = json!({ "limit": bytes, "swap": bytes });
    }
    if let Some(cpus) = args.cpus {
        resources["cpu"] = json!({ "period": PERIOD, "quota": (cpus * PERIOD as f64).round() as u64 });
    }
    if let Some(pids) = args.pids_limit {
        resources["pids"] = json!({ "limit": pids });
    }
    resources
}

fn mounts(args: &Args) -> Result<Vec<Value>, RunError> {
    let kernel = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let mut mounts = vec![
        kernel("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        kernel("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        kernel(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        kernel("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
        kernel("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        kernel("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        kernel("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        kernel("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ];
    if args.network == Network::Host {
        for path in ["/etc/resolv.conf", "/etc/hosts"] {
            mounts.push(kernel(path, "bind", path, &["rbind", "ro"]));
        }
    }
    for volume in &args.volumes {
        mounts.push(bind(volume)?);
    }
    Ok(mounts)
}

fn bind(volume: &Volume) -> Result<Value, RunError> {
    let source: PathBuf =
        std::fs::canonicalize(&volume.source).map_err(RunError::io("mount the volume", &volume.source))?;
    let access = if volume.read_only { "ro" } else { "rw" };
    Ok(json!({
        "destination": volume.destination, "type": "bind", "source": source,
        "options": ["rbind", "rprivate", "nosuid", "nodev", access],
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn args(words: &[&str]) -> Args {
        Args::parse_from(["hone run"].iter().chain(words).chain(&["a:b"]))
    }

    fn made(words: &[&str], uid: u32) -> Value {
        let user = User { uid, gid: uid, groups: vec![] };
        let process = Process { args: vec!["x".into()], env: vec![], cwd: "/".into(), user };
        config(&args(words), "box", &process).unwrap()
    }

    #[test]
    fn a_container_has_no_network_unless_asked() {
        let kinds = |config: Value| config["linux"]["namespaces"].as_array().unwrap().len();
        assert_eq!(kinds(made(&[], 0)), 6);
        assert_eq!(kinds(made(&["--network", "host"], 0)), 5);
    }

    #[test]
    fn limits_arrive_and_a_user_has_no_capabilities() {
        let config = made(&["--memory", "64m", "--cpus", "1.5", "--pids-limit", "9"], 1000);
        let resources = &config["linux"]["resources"];
        assert_eq!(resources["memory"]["limit"], 64 << 20);
        assert_eq!(resources["cpu"]["quota"], 150_000);
        assert_eq!(resources["pids"]["limit"], 9);
        assert_eq!(config["process"]["capabilities"]["effective"], json!([]));
    }

    #[test]
    fn the_caller_s_variables_win() {
        let env = environment(&["A=image".into(), "PATH=/x".into()], &["A=caller".into(), "B=c=d".into()], "box");
        assert_eq!(env, ["PATH=/x", "HOSTNAME=box", "A=caller", "B=c=d"]);
    }

    #[test]
    fn many_variables_are_no_work() {
        let begun = std::time::Instant::now();
        let image: Vec<_> = (0..200_000).map(|n| format!("NAME{n}=image")).collect();
        let caller: Vec<_> = (0..200_000).step_by(2).map(|n| format!("NAME{n}=caller")).collect();
        let env = environment(&image, &caller, "box");
        assert_eq!(env.len(), 200_002);
        assert_eq!(env[2..5], ["NAME0=caller", "NAME1=image", "NAME2=caller"]);
        // A comparison of each with each takes minutes.
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_variable_that_comes_twice_or_has_no_value_is_the_last_one() {
        let image = ["A=1", "B", "A=2", "B=3", "=x"].map(str::to_owned);
        let env = environment(&image, &["HOSTNAME=other".into()], "box");
        assert_eq!(env[1..], ["HOSTNAME=other", "A=2", "B=3", "=x"]);
    }

    #[test]
    fn a_volume_that_is_not_there_is_named() {
        let error = mounts(&args(&["-v", "/no/such:/data"])).unwrap_err().to_string();
        assert_eq!(error, "mount the volume /no/such");
    }
}
