//! Docker 28 with the BuildKit inside it, in the root that `tests/engines/make-chroot` makes, in a world of its own.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::programs::{bin, repository};
use crate::ran::Ran;
use crate::world::{World, needs};

/// Where the registry listens; the network is the world's own.
const REGISTRY: &str = "127.0.0.1:5000";

/// A world with a registry and a docker 28, which knows the runtime `hone`.
#[derive(Debug)]
pub struct Docker28 {
    /// The world; its `hone` reaches this docker as `docker=unix://$PWD/docker.sock`.
    pub world: World,
}

/// How docker keeps images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// By itself: its default.
    InGraph,
    /// In containerd's store: needed for an index and for the `oci` exporter.
    InContainerd,
}

fn root() -> PathBuf {
    repository().join(".cache/forky-engines")
}

/// Says whether this machine has the root with docker 28, and what else a build needs; see [`needs`].
///
/// # Panics
/// In CI, when something is missing.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
pub fn needs_docker28() -> bool {
    if !needs(&["docker-registry", "skopeo", "docker"]) {
        return false;
    }
    let there = root().join(".ready").exists();
    assert!(there || std::env::var_os("CI").is_none(), "no docker 28, and in CI nothing is skipped");
    if !there {
        eprintln!("skipped: tests/engines/make-chroot {} was not run", root().display());
    }
    there
}

impl Docker28 {
    /// Starts both, and puts the frontend's image and the built-in trainer's into the registry.
    ///
    /// # Panics
    /// When one does not come up, or `./x build` did not make the images.
    pub fn new(images: Images) -> Self {
        let mut world = World::new();
        let dir = world.dir().display().to_string();
        let registry = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {dir}/registry}}}}\nhttp: {{addr: \"{REGISTRY}\"}}\n"
        );
        fs::write(world.dir().join("registry.yml"), registry).expect("write registry.yml");
        world.daemon("docker-registry", &["serve", &format!("{dir}/registry.yml")]);
        let parent = world.dir().file_name().unwrap_or_default().to_string_lossy();
        let runtime = bin().join("hone-runtime").display().to_string();
        let engine = format!("docker=unix://{dir}/docker.sock");
        let config = json!({
            "cgroup-parent": format!("/{parent}"), "bridge": "none", "iptables": false,
            "hosts": [format!("unix://{dir}/docker.sock")], "data-root": format!("{dir}/docker28"),
            "exec-root": "/run/docker28", "pidfile": format!("{dir}/docker28.pid"),
            "features": {"containerd-snapshotter": images == Images::InContainerd},
            "runtimes": {"hone": {"path": runtime,
                "runtimeArgs": ["--hone-root", format!("{dir}/hone"), "--hone-engine", engine]}},
        });
        fs::write(world.dir().join("docker28.json"), config.to_string()).expect("write docker28.json");
        let script = in_root(&format!("dockerd --config-file {dir}/docker28.json"), &dir);
        world.daemon("sh", &["-c", &script]);
        let docker = Self { world };
        docker.world.wait_for(30, &in_root("docker version", &dir));
        docker.push(&bin().join("frontend").display().to_string(), "hone/frontend:1");
        docker.push(&bin().join("trainers/onnx").display().to_string(), "hone/trainer-onnx:1");
        docker
    }

    /// The first line of a Honefile that is for this frontend.
    pub fn syntax() -> String {
        format!("# syntax={REGISTRY}/hone/frontend:1\n")
    }

    /// Puts the only image of a layout into the registry, which may still be coming up.
    ///
    /// # Panics
    /// When skopeo fails for ten seconds.
    pub fn push(&self, layout: &str, name: &str) {
        let copy = format!("skopeo copy -q --dest-tls-verify=false oci:{layout} docker://{REGISTRY}/{name}");
        self.world.wait_for(10, &copy);
    }

    /// Runs a command in docker's root, in the world's directory.
    pub fn run(&self, command: &str) -> Ran {
        let script = in_root(command, &self.world.dir().display().to_string());
        Ran { command: command.to_owned(), ..self.world.sh(&script) }
    }

    /// `docker build` (or `docker buildx build`) with a progress that can be read, and without a network.
    pub fn build(&self, command: &str, rest: &str) -> Ran {
        self.run(&format!("docker {command} --progress plain --network none {rest}"))
    }
}

/// The shell line that runs `command` in docker's root, where the world's directory and Hone's programs are in their places.
fn in_root(command: &str, dir: &str) -> String {
    let (repository, root, bin) = (repository(), root(), bin());
    format!(
        "CHROOT_BINDS={dir}:{bin} {repository}/tests/engines/make-chroot {root} \
        env DOCKER_HOST=unix://{dir}/docker.sock DOCKER_CONFIG={dir}/.docker PATH=/usr/sbin:/usr/bin {command}",
        bin = bin.display(),
        repository = repository.display(),
        root = root.display(),
    )
}
