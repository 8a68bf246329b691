//! Data does not leave, and is not changed: no network for a training container, and a read-only mount of the data.

use std::fs;

use hone_tests::{docker, needs, stub};

#[test]
fn docker_a_training_container_reaches_nothing_unless_the_caller_says_so() {
    if !needs(&["dockerd", "containerd", "runc"]) {
        return;
    }
    let mut world = docker();
    world.sh("hone install docker && kill -HUP $(cat /run/docker.pid)").ok();
    world.wait_for(10, "docker info | grep -w hone");
    stub::stub(&world.folder("stub"));
    world.sh("hone build -t stub:base --load docker stub").ok();
    let gateway = world.sh("ip -4 -o addr show docker0 | tr -s ' /' '\n\n' | grep '^172'| head -n 1").ok();
    world.daemon("busybox", &["nc", "-ll", "-p", "7777", "-e", "/bin/true"]);
    world.wait_for(5, &format!("busybox nc -w 1 {gateway} 7777 </dev/null"));
    stub::mode(&world.folder("data"), "network");
    fs::write(world.dir().join("data/address"), &gateway).expect("write address");

    let run = "docker run --rm --runtime hone -v $PWD/data:/data";
    let open = world.sh(&format!("{run} -e HONE_NETWORK=engine stub:base"));
    open.ok();
    open.says("reached").says("eth0");
    for network in ["", "--network host", "--network bridge"] {
        let fenced = world.sh(&format!("{run} {network} stub:base"));
        assert!(!fenced.text().contains("reached"), "{network}: {fenced}");
        assert_eq!(fenced.ok().lines().nth(1), Some("lo"), "{network}: loopback and nothing else: {fenced}");
    }
    // A container that does not train has the engine's network.
    world.sh("docker run --rm --runtime hone stub:base ls /sys/class/net").says("eth0");
}

#[test]
fn docker_the_user_s_data_is_read_only() {
    if !needs(&["dockerd", "containerd", "runc"]) {
        return;
    }
    let world = docker();
    world.sh("hone install docker && kill -HUP $(cat /run/docker.pid)").ok();
    world.wait_for(10, "docker info | grep -w hone");
    stub::stub(&world.folder("stub"));
    world.sh("hone build -t stub:base --load docker stub").ok();
    stub::mode(&world.folder("data"), "write");
    for place in ["/data", "/app/data"] {
        let ran = world.sh(&format!("docker run --rm --runtime hone -v $PWD/data:{place} stub:base"));
        ran.ok();
        ran.says("Read-only file system");
        assert!(!ran.text().contains("the data was written"), "{ran}");
    }
    assert!(!world.dir().join("data/x").exists());
}
