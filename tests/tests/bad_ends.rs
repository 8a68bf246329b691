//! Trainings that end badly: nothing is committed, what there is is kept and named, and the container's own exit code
//! stands. Each with docker, podman and `hone run`.

use hone_tests::{Ran, World, docker, needs, podman, stub};

/// What the trainer does, the container's exit code, and a part of the reason.
const BAD: &[(&str, i32, &str)] = &[
    ("exit3", 3, "3"),
    ("none", 0, "adapter"),
    ("nan", 0, "finite"),
    ("shape", 0, "[64, 4]"),
    ("link", 0, "adapter_config.json"),
];

fn image(world: &World, load: &str) {
    stub::stub(&world.folder("stub"));
    world.sh(&format!("hone build -t stub:base {load} stub")).ok();
}

fn train(world: &World, command: &str, mode: &str) -> Ran {
    let data = world.folder(&format!("data-{mode}"));
    stub::mode(&data, mode);
    world.sh(&format!("{command} -v $PWD/data-{mode}:/data stub:base"))
}

/// Nothing new in the store; one staging directory with this reason.
fn refused(world: &World, mode: &str, reason: &str) {
    assert_eq!(world.sh("hone images --json").json().as_array().map(Vec::len), Some(1), "{mode}");
    let staged = world.sh("hone staging ls");
    assert_eq!(staged.ok().lines().count(), 2, "{mode}: a heading and one directory: {staged}");
    world.sh("hone log stub:base").says(reason);
    let id = staged.stdout.lines().nth(1).and_then(|line| line.split_whitespace().next()).expect("an id").to_owned();
    world.sh(&format!("hone staging rm {id}")).ok();
    assert!(!world.sh("hone staging ls").ok().contains(&id));
}

fn with_engine(world: &World, engine: &str) {
    world.sh(&format!("hone install {engine}")).ok();
    if engine == "docker" {
        world.sh("kill -HUP $(cat /run/docker.pid)").ok();
        world.wait_for(10, "docker info | grep -w hone");
    }
    image(world, &format!("--load {engine}"));
    for (mode, code, reason) in BAD {
        let ran = train(world, &format!("{engine} run --rm --runtime hone --memory 100m"), mode);
        assert_eq!(ran.code, *code, "{mode}: {ran}");
        let tags = world.sh(&format!("{engine} image ls --format '{{{{.Tag}}}}'")).ok();
        assert!(!tags.contains("base-v1"), "{mode}: {tags}");
        refused(world, mode, reason);
    }
    let ran = train(world, &format!("{engine} run --rm --runtime hone --memory 100m --memory-swap 100m"), "oom");
    assert_ne!(ran.code, 0, "{ran}");
    refused(world, "oom", "memory");
}

#[test]
fn docker_commits_nothing_of_a_bad_end() {
    if needs(&["dockerd", "containerd", "runc"]) {
        with_engine(&docker(), "docker");
    }
}

#[test]
fn podman_commits_nothing_of_a_bad_end() {
    if needs(&["podman", "conmon", "runc"]) {
        with_engine(&podman(), "podman");
    }
}

#[test]
fn root_hone_run_commits_nothing_of_a_bad_end_and_says_so() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    image(&world, "");
    for (mode, code, reason) in BAD {
        let ran = train(&world, "hone run --rm", mode);
        // The commit was refused after a good end: that is an error of the run.
        assert_eq!(ran.code, if *code == 0 { 1 } else { *code }, "{mode}: {ran}");
        ran.says("/var/lib/hone/staging/run-");
        refused(&world, mode, reason);
    }
    let ran = train(&world, "hone run --rm --memory 100m", "oom");
    assert_ne!(ran.code, 0, "{ran}");
    ran.says("out of memory");
    refused(&world, "oom", "memory");
}

#[test]
fn root_a_run_that_is_to_become_no_version_is_no_failure() {
    if !needs(&[]) {
        return;
    }
    let world = World::new();
    let context = world.folder("stub");
    stub::stub(&context);
    let honefile = std::fs::read_to_string(context.join("Honefile")).expect("read Honefile");
    std::fs::write(context.join("Honefile"), honefile + "adapter: { commit: false }\n").expect("write Honefile");
    world.sh("hone build -t stub:base stub").ok();
    let ran = train(&world, "hone run --rm", "good");
    ran.ok();
    ran.says("adapter.commit: false");
    assert_eq!(world.sh("hone images --json").json().as_array().map(Vec::len), Some(1));
}
