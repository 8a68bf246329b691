//! podman in a world of its own.

use crate::world::World;

/// A world for podman, with a busybox image named `bb`.
///
/// # Panics
/// When podman does not work.
pub fn podman() -> World {
    let world = World::new();
    // Without systemd there is no other cgroup manager, and not every machine's root may raise limits.
    let config = "[containers]\\ndefault_ulimits = []\\n[engine]\\ncgroup_manager = \"cgroupfs\"\\nruntime = \"runc\"\\nevents_logger = \"file\"\\n";
    world.sh(&format!("printf '{config}' >/etc/containers/containers.conf.d/10-test.conf")).ok();
    crate::rootfs::busybox(&world.folder("bb"));
    world.sh("tar -C bb -c . | podman import - bb").ok();
    world
}
