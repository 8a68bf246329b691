//! Who the payload is: user, groups, capabilities, seccomp filter. Each failure is fatal.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxSeccomp, Process, User};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Names in the kernel's order (linux/capability.h): the position is the number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Capabilities of `wanted` that this process cannot give, by name: it does not have them itself.
pub fn unavailable_capabilities(wanted: &LinuxCapabilities) -> Vec<Capability> {
    let own = rustix::thread::capabilities(None).map_or(CapabilitySet::all(), |sets| sets.permitted);
    let sets = [wanted.bounding(), wanted.effective(), wanted.permitted(), wanted.inheritable(), wanted.ambient()];
    let mut missing: Vec<Capability> =
        sets.into_iter().flatten().flatten().filter(|c| !own.contains(bit(**c))).copied().collect();
    missing.sort_by_key(|c| c.to_string());
    missing.dedup();
    missing
}

fn bit(capability: Capability) -> CapabilitySet {
    let name = capability.to_string();
    // Every name of the library is in the kernel's list; one that were not would be no capability at all.
    let at = NAMES.iter().position(|n| *n == name);
    at.map_or(CapabilitySet::empty(), |at| CapabilitySet::from_bits_retain(1 << at))
}

fn set(names: &Option<HashSet<Capability>>) -> CapabilitySet {
    names.iter().flatten().fold(CapabilitySet::empty(), |all, c| all | bit(*c))
}

/// The filter, while the process may still load one without giving up new privileges.
pub fn filter_before(process: &Process, seccomp: Option<&LinuxSeccomp>) -> Result<(), String> {
    if process.no_new_privileges() == Some(true) {
        return set_no_new_privs(true).map_err(|errno| format!("set no_new_privs: {}", say(errno)));
    }
    load(seccomp)
}

/// The filter, as late as it can be.
pub fn filter_after(process: &Process, seccomp: Option<&LinuxSeccomp>) -> Result<(), String> {
    if process.no_new_privileges() == Some(true) { load(seccomp) } else { Ok(()) }
}

fn load(seccomp: Option<&LinuxSeccomp>) -> Result<(), String> {
    let Some(seccomp) = seccomp else { return Ok(()) };
    let loaded = libcontainer::seccomp::initialize_seccomp(seccomp);
    loaded.map(drop).map_err(|error| format!("load seccomp filter: {}", hone_contract::chain(&error)))
}

/// Drops what the bounding set does not keep; must come while the process is still root.
pub fn bound(capabilities: Option<&LinuxCapabilities>) -> Result<(), String> {
    let keep = capabilities.map_or(CapabilitySet::empty(), |c| set(c.bounding()));
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if keep.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The first number that the kernel does not know ends the list.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(format!("drop capability {number} from the bounding set: {}", say(errno))),
        }
    }
    Ok(())
}

/// Becomes the user, keeping permitted capabilities for [`limit`].
pub fn become_user(user: &User) -> Result<(), String> {
    set_keep_capabilities(true).map_err(|errno| format!("keep capabilities: {}", say(errno)))?;
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        Err(Errno::PERM) if groups.is_empty() && setgroups_denied() => {}
        other => other.map_err(|errno| format!("setgroups: {}", say(errno)))?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    set_thread_res_gid(gid, gid, gid).map_err(|errno| format!("setgid {}: {}", user.gid(), say(errno)))?;
    set_thread_res_uid(uid, uid, uid).map_err(|errno| format!("setuid {}: {}", user.uid(), say(errno)))?;
    set_keep_capabilities(false).map_err(|errno| format!("keep capabilities: {}", say(errno)))
}

/// In a user namespace made without privilege (user_namespaces(7)) groups can be neither added nor dropped.
fn setgroups_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// Leaves exactly the capabilities asked for.
pub fn limit(capabilities: Option<&LinuxCapabilities>) -> Result<(), String> {
    let none = CapabilitySet::empty();
    let of =
        |pick: fn(&LinuxCapabilities) -> &Option<HashSet<Capability>>| capabilities.map_or(none, |c| set(pick(c)));
    let sets = CapabilitySets {
        effective: of(LinuxCapabilities::effective),
        permitted: of(LinuxCapabilities::permitted),
        inheritable: of(LinuxCapabilities::inheritable),
    };
    set_capabilities(None, sets).map_err(|errno| format!("unable to apply caps: {}", say(errno)))?;
    clear_ambient_capability_set().map_err(|errno| format!("clear ambient capabilities: {}", say(errno)))?;
    // An ambient capability must be permitted and inheritable (capabilities(7)); engines list more, runc skips them.
    for one in (of(LinuxCapabilities::ambient) & sets.permitted & sets.inheritable).iter() {
        configure_capability_in_ambient_set(one, true)
            .map_err(|errno| format!("raise ambient capability: {}", say(errno)))?;
    }
    Ok(())
}

fn say(errno: Errno) -> String {
    super::plain(&errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_the_kernels() {
        assert_eq!(bit(Capability::Chown), CapabilitySet::CHOWN);
        assert_eq!(bit(Capability::SysResource), CapabilitySet::SYS_RESOURCE);
        assert_eq!(bit(Capability::CheckpointRestore), CapabilitySet::CHECKPOINT_RESTORE);
        assert_eq!(bit(Capability::DacReadSearch), CapabilitySet::DAC_READ_SEARCH);
    }
}
