//! Packing on disks of their own: one that shares blocks between files, and one that is too small.

use std::fs;

use hone_tests::{World, needs};

/// Makes a file system of `mib` MiB in `DISK` of the world.
fn disk(world: &World, mkfs: &str, mib: u32) {
    world.sh(&format!("truncate -s {mib}M image && {mkfs} image && mkdir disk && mount -o loop image disk")).ok();
}

/// Writes a weight of `mib` MiB, and a Honefile for it, into `DIR`.
fn weight(world: &World, dir: &str, mib: u32) {
    let honefile = "apiVersion: hone.dev/v1\\nname: w\\nbase: {model: w.data}\\ntrainer: none\\n";
    let write = format!("head -c {mib}M /dev/urandom >{dir}/w.data && printf '{honefile}' >{dir}/Honefile && sync");
    world.sh(&format!("mkdir -p {dir} && {write}")).ok();
}

fn used(world: &World) -> u64 {
    world.sh("sync -f disk; df -B1 --output=used disk | tail -1").ok().trim().parse().expect("a number")
}

#[test]
fn root_a_weight_shares_its_blocks_on_xfs() {
    if !needs(&["mkfs.xfs"]) {
        return;
    }
    let world = World::new();
    disk(&world, "mkfs.xfs -q -m reflink=1", 512);
    weight(&world, "disk/in", 300);
    let before = used(&world);
    // There is no room for a copy, and none is made.
    world.sh("hone --root disk/root build disk/in -t w:base").ok();
    let grown = used(&world).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    world.sh("hone --root disk/root verify w:base").says("ok").ok();
    world.sh("hone --root elsewhere build -q disk/in -t w:base").ok();
    let digest = |root: &str| world.sh(&format!("hone --root {root} inspect --json w:base")).json()["digest"].clone();
    assert_eq!(digest("disk/root"), digest("elsewhere"), "shared or copied, the same bytes");
    // Somebody writes to the source all the while: an error, or a layer that is what its digest says.
    let write = "dd if=/dev/urandom of=disk/in/w.data bs=1M count=1 seek=$i conv=notrunc status=none";
    let writer = format!("(i=0; while :; do i=$(((i + 7) % 32)); {write}; done) & writer=$!");
    let build = "hone --root disk/root build disk/in -t torn:base; kill $writer";
    let hashed = "for blob in disk/root/blobs/sha256/*; do sha256sum <$blob | grep -q ${blob##*/} || echo torn; done";
    let torn = world.sh(&format!("{writer}; {build}; {hashed}")).ok();
    assert!(!torn.lines().any(|line| line == "torn"), "{torn}");
}

#[test]
fn root_a_weight_that_does_not_fit_leaves_nothing() {
    if !needs(&["mkfs.ext4"]) {
        return;
    }
    let world = World::new();
    disk(&world, "mkfs.ext4 -q", 64);
    weight(&world, "in", 80);
    let before = used(&world);
    let said = world.sh("hone --root disk/root build in -t w:base").fails(1);
    assert!(said.contains("no space left; the store is as it was"), "{said}");
    assert!(used(&world) < before + (1 << 20));
    weight(&world, "in", 40);
    world.sh("hone --root disk/root build in -t w:base").ok();
    world.sh("hone --root disk/root verify w:base").says("ok").ok();
}

#[test]
fn root_packing_takes_the_same_memory_whatever_the_model() {
    if !needs(&["python3"]) {
        return;
    }
    let world = World::new();
    weight(&world, "one", 16);
    weight(&world, "eight", 48);
    // More files than are packed at a time, each larger than all the buffers.
    world.sh("cd eight && mkdir m && for n in 1 2 3 4 5 6 7 8; do cp w.data m/$n.data; done").ok();
    world.sh("cd eight && rm w.data && sed -i 's/w.data/m/' Honefile && sync").ok();
    let peak = |dir: &str| -> u64 {
        let program = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True, stdout=2)\n\
            print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
        fs::write(world.dir().join("peak.py"), program).expect("write");
        world.sh(&format!("python3 peak.py hone build -q -t {dir}:base {dir}")).ok().parse().expect("KiB")
    };
    for dir in ["one", "eight"] {
        let kib = peak(dir);
        assert!(kib < 64 << 10, "{dir}: {kib} KiB");
    }
}
