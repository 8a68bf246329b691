//! `spec`: writes a configuration to start from.

use serde_json::{Value, json};

use crate::cli::SpecArgs;
use crate::error::{Result, RuntimeError};
use crate::state::OCI_VERSION;

/// Capabilities of the example process: enough for a shell, too few for harm.
const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
/// What tells about the host or changes it.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
/// What may be read but not written.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Writes `config.json` into the bundle.
///
/// # Errors
/// When there is one already.
pub fn spec(args: &SpecArgs) -> Result<()> {
    let path = args.bundle.join("config.json");
    if path.exists() {
        let text = format!("File {} exists. Remove it first", path.display());
        return Err(RuntimeError::Usage(text));
    }
    let text = serde_json::to_string_pretty(&example(args.rootless))
        .map_err(|source| RuntimeError::Json { path: path.clone(), source })?;
    std::fs::write(&path, text).map_err(RuntimeError::io("write", path))
}

fn example(rootless: bool) -> Value {
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let mut spec = json!({
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "hone",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY
        }
    });
    if rootless {
        without_root(&mut spec);
    }
    spec
}

/// The caller becomes root of a user namespace, and does not own the network or the cgroups.
fn without_root(spec: &mut Value) {
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    spec["linux"]["uidMappings"] = map(uid);
    spec["linux"]["gidMappings"] = map(gid);
    let kinds = ["pid", "ipc", "uts", "mount", "cgroup", "user"].map(|kind| json!({ "type": kind }));
    spec["linux"]["namespaces"] = json!(kinds);
    if let Some(linux) = spec["linux"].as_object_mut() {
        linux.remove("resources");
    }
}

fn mounts() -> Value {
    let mount = |to: &str, kind: &str, from: &str, options: &[&str]| json!({ "destination": to, "type": kind, "source": from, "options": options });
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration() {
        for rootless in [false, true] {
            let spec: oci_spec::runtime::Spec = serde_json::from_value(example(rootless)).expect("spec");
            assert_eq!(spec.process().as_ref().and_then(|p| p.terminal()), Some(true));
        }
    }
}
