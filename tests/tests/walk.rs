//! The main job with each engine: build, train, one layer more, generate from the new version.

use std::fs;

use hone_tests::{Tiny, World, docker, jsonl, needs, podman, repository, run, stub};

const EXAMPLES: &[(&str, &str)] = &[("hello", "ahoy"), ("who are you?", "a sailor"), ("where is it?", "at sea")];

fn data(world: &World) {
    jsonl(&world.folder("data").join("a.jsonl"), EXAMPLES);
}

fn install(world: &World, engine: &str) {
    let said = world.sh(&format!("hone install {engine}"));
    said.ok();
    if engine == "docker" {
        said.says("reload");
        world.sh("kill -HUP $(cat /run/docker.pid)").ok();
        world.wait_for(10, "docker info | grep -w hone");
    }
}

fn layers(world: &World, engine: &str, image: &str) -> Vec<String> {
    let found = world.sh(&format!("{engine} image inspect {image}")).json();
    let layers = found[0]["RootFS"]["Layers"].as_array().expect("layers").clone();
    layers.iter().map(|layer| layer.as_str().expect("digest").to_owned()).collect()
}

/// What the engine's storage holds, in bytes.
fn storage(world: &World, engine: &str) -> u64 {
    let dir = if engine == "docker" { "/var/lib/docker/overlay2" } else { "/var/lib/containers/storage/overlay" };
    let size = world.sh(&format!("sync; du -sb {dir} | cut -f1")).ok();
    size.parse().expect("du prints a number")
}

fn whole_walk(world: &World, engine: &str) {
    install(world, engine);
    Tiny::default().write(&world.folder("tiny"), "");
    data(world);
    world.sh(&format!("hone build -t assistant:base --load {engine} tiny")).ok();
    let base = layers(world, engine, "assistant:base");
    let before = storage(world, engine);

    let trained = world.sh(&format!("{engine} run --rm --runtime hone -v $PWD/data:/data assistant:base"));
    trained.ok();
    trained.says("loss");

    let listed = world.sh(&format!("{engine} image ls --format '{{{{.Repository}}}}:{{{{.Tag}}}}'")).ok();
    assert!(listed.lines().any(|line| line.ends_with("assistant:base-v1")), "{listed}");
    let version = layers(world, engine, "assistant:base-v1");
    assert_eq!(version[..base.len()], base, "the base's layers");
    assert_eq!(version.len(), base.len() + 1, "exactly one layer more");
    let grown = storage(world, engine).saturating_sub(before);
    assert!(grown < 1 << 20, "the base was sent again: {grown} bytes more");

    let generate =
        format!("{engine} run --rm --runtime hone assistant:base-v1 generate --prompt hello --max-tokens 8");
    let first = world.sh(&generate).ok();
    assert_eq!(world.sh(&generate).ok(), first, "greedy decoding repeats");
    world.sh("hone log assistant:base").says("base-v1");
    assert_eq!(world.sh("hone staging ls --json").json(), serde_json::json!([]));
    again(world, engine, &base);
}

/// A second version, from the first one: adapters are replaced, not stacked.
fn again(world: &World, engine: &str, base: &[String]) {
    world.sh(&format!("{engine} run --rm --runtime hone -v $PWD/data:/data assistant:base-v1")).ok();
    let second = layers(world, engine, "assistant:base-v2");
    assert_eq!(second[..base.len()], *base);
    assert_eq!(second.len(), base.len() + 1);
    let said = world.sh(&format!("hone uninstall {engine}"));
    said.ok();
}

#[test]
fn docker_trains_into_a_new_version() {
    if !needs(&["dockerd", "containerd", "runc"]) {
        return;
    }
    let world = docker();
    let before = world.sh("cat /etc/docker/daemon.json").ok();
    whole_walk(&world, "docker");
    assert_eq!(world.sh("cat /etc/docker/daemon.json").ok(), before, "uninstall undoes exactly what install did");
}

#[test]
fn podman_trains_into_a_new_version() {
    if !needs(&["podman", "conmon", "runc"]) {
        return;
    }
    let world = podman();
    whole_walk(&world, "podman");
    assert_eq!(world.sh("ls /etc/containers/containers.conf.d").ok(), "10-test.conf");
}

#[test]
fn root_hone_run_trains_into_a_new_version() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    Tiny::default().write(&world.folder("tiny"), "");
    data(&world);
    world.sh("hone build -t assistant:base tiny").ok();
    let trained = world.sh("hone run --rm -v ./data:/data assistant:base");
    trained.ok();
    trained.says("loss").says("committed assistant:base-v1 (adapter ");
    let base = world.sh("hone inspect --json assistant:base").json()["layers"].clone();
    let version = world.sh("hone inspect --json assistant:base-v1").json()["layers"].clone();
    let (base, version) = (base.as_array().expect("layers"), version.as_array().expect("layers"));
    let digests = |layers: &[serde_json::Value]| layers.iter().map(|l| l["digest"].clone()).collect::<Vec<_>>();
    assert_eq!(digests(&version[..base.len()]), digests(base));
    assert_eq!(version.len(), base.len() + 1);
    let generate = "hone run --rm assistant:base-v1 generate --prompt hello --max-tokens 8";
    assert_eq!(world.sh(generate).ok(), world.sh(generate).ok());
    let left = world.sh("ls /var/lib/hone/run /var/lib/hone/staging; grep -c overlay.*hone/run /proc/mounts");
    assert_eq!(
        left.stdout.split_whitespace().collect::<Vec<_>>().join(" "),
        "/var/lib/hone/run: /var/lib/hone/staging: 0",
        "nothing is left behind"
    );
}

#[test]
fn root_ctrl_c_keeps_a_checkpoint_and_the_same_command_goes_on() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    stub::stub(&world.folder("stub"));
    world.sh("hone build -t stub:base stub").ok();
    stub::mode(&world.folder("data"), "wait");
    let run = "hone run --rm -v ./data:/data stub:base";
    let interrupted = format!("timeout --foreground --preserve-status --signal INT 3 {run}");
    let first = world.sh(&interrupted);
    assert_eq!(first.code, 130, "{first}");
    first.says("out/checkpoint").says("the same command");
    assert!(!first.text().contains("resuming"));
    world.sh(&interrupted).says("resuming from checkpoint");
    let fresh = world.sh(&interrupted.replace("--rm", "--rm --fresh"));
    assert!(!fresh.text().contains("resuming"), "{fresh}");
    // Other data is another run.
    fs::write(world.dir().join("data/more"), "x").expect("write");
    assert!(!world.sh(&interrupted).text().contains("resuming"));
    assert_eq!(world.sh("hone staging ls").ok().lines().count(), 3, "a heading and two runs");
}

#[test]
fn root_hone_run_tells_what_is_missing_before_anything_starts() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    stub::stub(&world.folder("stub"));
    world.sh("hone build -t stub:base stub").ok();
    world.folder("empty");
    for (command, want) in [
        ("hone run --rm stub:base", "-v $PWD/data:/data"),
        ("hone run --rm -v ./nowhere:/data stub:base", "nowhere"),
        ("hone run --rm -v ./empty:/data stub:base", "no files in it"),
        ("hone run --rm no-such:image", "no-such:image"),
    ] {
        let ran = world.sh(command);
        assert_eq!(ran.code, 125, "{ran}");
        ran.says(want);
        assert_eq!(ran.stderr.lines().count(), 1, "one clear error: {ran}");
    }
    assert_eq!(world.sh("hone run --rm stub:base sh -c 'exit 7'").code, 7);
    assert_eq!(world.sh("hone run --rm -e A=b stub:base sh -c 'echo $A; ls /sys/class/net'").ok(), "b\nlo");
    let user = world.sh("chown 1000 . && setpriv --reuid 1000 --clear-groups env HONE_ROOT=$PWD/r hone run a:b");
    assert_eq!(user.code, 125);
    user.says("needs root");
}

#[test]
fn docker_a_trainer_of_ones_own_commits_the_same_way() {
    if !needs(&["dockerd", "containerd", "runc", "debootstrap"]) {
        return;
    }
    let example = repository().join("examples/python-script");
    run(std::process::Command::new(example.join("make-rootfs")).arg(example.join("rootfs"))).ok();
    let world = docker();
    install(&world, "docker");
    // The example as it is, but for the model, which is small here.
    Tiny::default().write(&world.folder("mine"), "");
    let honefile = fs::read_to_string(example.join("Honefile")).expect("read Honefile");
    let model = honefile.lines().find(|line| line.contains("model:")).expect("a model");
    let honefile = honefile.replace(model, "  model: model");
    let honefile = honefile.replace("./rootfs", &example.join("rootfs").display().to_string());
    fs::write(world.dir().join("mine/Honefile"), honefile).expect("write Honefile");
    world.sh("hone build -t my-finetune-image --load docker mine").ok();
    data(&world);
    let command = "docker run --rm --runtime hone -v $PWD/data:/app/data my-finetune-image python finetune_script.py";
    world.sh(command).says("3 examples").ok();
    let (base, version) =
        (layers(&world, "docker", "my-finetune-image"), layers(&world, "docker", "my-finetune-image:latest-v1"));
    assert_eq!(version.len(), base.len() + 1);
    assert_eq!(world.sh("docker run --rm --runtime hone my-finetune-image python -c 'print(6*7)'").ok(), "42");
}
