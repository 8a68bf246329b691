//! A containerd in a world of its own, at a socket that the outside reaches, too.

use std::fs;

use crate::world::World;

/// A world in which a containerd runs that has root, state and socket in the world's directory.
///
/// # Panics
/// When it does not come up.
pub fn containerd() -> World {
    let mut world = World::new();
    let dir = world.dir().display().to_string();
    let config = format!(
        "version = 2\nroot = \"{dir}/lib/containerd\"\nstate = \"/run/containerd\"\n\
        disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{dir}/containerd.sock\"\n"
    );
    let path = world.dir().join("containerd.toml");
    fs::write(&path, config).expect("write containerd.toml");
    world.daemon("containerd", &["--config", &path.display().to_string()]);
    world.wait_for(20, "ctr --address \"$PWD/containerd.sock\" version");
    world
}
