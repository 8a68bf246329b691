//! Changes to a configuration, `Spec -> Spec`. Pure: nothing here touches a file, a process or a clock.
//!
//! `fence` is what a training container gets in addition to what its caller asked for; `lowered` is what is
//! left for libcontainer when Hone does the rest itself.

pub mod capabilities;
pub mod fence;
mod lowered;
mod mounts;

pub use lowered::{Lowering, lowered, lowered_process};
pub use mounts::{CgroupMount, Propagation, propagations};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};

/// Whether the container gets a namespace of this kind that nobody else is in.
pub fn has_new_namespace(linux: &Linux, kind: LinuxNamespaceType) -> bool {
    let no_path = |path: &Option<std::path::PathBuf>| path.as_ref().is_none_or(|p| p.as_os_str().is_empty());
    linux.namespaces().iter().flatten().any(|ns| ns.typ() == kind && no_path(ns.path()))
}

/// Whether the container gets a namespace of this kind, new or joined.
pub fn has_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let linux = spec.linux().as_ref();
    linux.is_some_and(|linux| linux.namespaces().iter().flatten().any(|ns| ns.typ() == kind))
}
