//! A docker daemon in a world of its own.

use std::fs;

use crate::world::World;

/// A world in which dockerd and containerd run, with a busybox image named `bb`.
///
/// The daemon's configuration has a key of the user's, which an installation must keep: the parent of its control
/// groups, by which they are found when the world ends.
///
/// # Panics
/// When a daemon does not come up.
pub fn docker() -> World {
    let mut world = World::new();
    let parent = world.dir().file_name().unwrap_or_default().to_string_lossy();
    let config = format!("{{\n  \"cgroup-parent\": \"/{parent}\"\n}}\n");
    fs::write(world.dir().join("daemon.json"), config).expect("write daemon.json");
    world.sh("cp daemon.json /etc/docker/daemon.json").ok();
    world.daemon("containerd", &[]);
    world.wait_for(20, "test -S /run/containerd/containerd.sock");
    world.daemon("dockerd", &["--containerd", "/run/containerd/containerd.sock", "--pidfile", "/run/docker.pid"]);
    world.wait_for(30, "docker info");
    crate::rootfs::busybox(&world.folder("bb"));
    world.sh("tar -C bb -c . | docker import - bb").ok();
    world
}
