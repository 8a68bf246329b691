//! Sets of capabilities, changed. Pure.

use oci_spec::runtime::{Capability, LinuxCapabilities};

/// Without `gone`, in every set.
pub fn without(capabilities: &LinuxCapabilities, gone: &[Capability]) -> LinuxCapabilities {
    let keep = |set: &Option<std::collections::HashSet<Capability>>| {
        set.as_ref().map(|set| set.iter().filter(|c| !gone.contains(c)).copied().collect())
    };
    let mut out = capabilities.clone();
    out.set_bounding(keep(capabilities.bounding()))
        .set_effective(keep(capabilities.effective()))
        .set_inheritable(keep(capabilities.inheritable()))
        .set_permitted(keep(capabilities.permitted()))
        .set_ambient(keep(capabilities.ambient()));
    out
}

/// With `more`, where `exec --cap` adds them: inheritable stays as it is (CVE-2022-29162).
pub fn with(capabilities: &LinuxCapabilities, more: &[Capability]) -> LinuxCapabilities {
    let add = |set: &Option<std::collections::HashSet<Capability>>| {
        Some(set.iter().flatten().chain(more).copied().collect::<std::collections::HashSet<_>>())
    };
    let mut out = capabilities.clone();
    out.set_bounding(add(capabilities.bounding()))
        .set_effective(add(capabilities.effective()))
        .set_permitted(add(capabilities.permitted()));
    out
}
