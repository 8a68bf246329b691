//! The system calls that a container does not get: those with which one leaves it, or reaches what has no namespace.
//!
//! Most of them need a capability that the container lacks; refusing them here means that a hole in such a check
//! is not a way out. clone3 answers ENOSYS, because its flags cannot be filtered: C libraries then use clone.

use serde_json::{Value, json};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET of linux/sched.h.
const NAMESPACES: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

const REFUSED: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
];

/// The `linux.seccomp` object of a bundle.
pub(crate) fn profile() -> Value {
    // A rule for each bit: several conditions in one rule would all have to hold.
    let clone = |bit: u64| {
        let flags = json!({ "index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ" });
        json!({ "names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": [flags] })
    };
    let mut rules = vec![
        json!({ "names": REFUSED, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM }),
        json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }),
    ];
    rules.extend(NAMESPACES.map(clone));
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_a_rule_of_its_own() {
        let profile = profile();
        let rules = profile["syscalls"].as_array().unwrap();
        let clones: Vec<_> = rules.iter().filter(|rule| rule["names"][0] == "clone").collect();
        assert_eq!(clones.len(), NAMESPACES.len());
        assert!(clones.iter().all(|rule| rule["args"].as_array().unwrap().len() == 1));
    }
}
