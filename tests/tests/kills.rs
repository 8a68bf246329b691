//! `hone build`, `load` and `pull` killed at any moment, as root and as somebody else: the same command then does its work,
//! and nothing of the dead one is left.
//!
//! HONE_KILLS says how often each is killed (`./x faults`: 50).

#[allow(dead_code, reason = "each test program uses a part of it")]
mod models;

use std::fs;
use std::time::Instant;

use hone_tests::{World, needs};
use models::{HEAD, registry};

/// Nobody in particular.
const USER: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent ";

fn kills() -> u32 {
    std::env::var("HONE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// A world whose registry and archive hold `kill:a`, and with the program where anybody can start it.
fn world() -> World {
    let world = registry();
    fs::write(world.dir().join("H"), format!("{HEAD}base: {{model: w.data}}\n")).expect("write");
    world.sh("head -c 24M /dev/urandom >w.data && cp $(which hone) h && chmod 755 h . && mkdir -m 777 tried").ok();
    world.sh("hone --root root build -q H -t kill:a && hone --root root save kill:a -o oci-archive:kill.tar").ok();
    world.sh("hone --root root push -q kill:a 127.0.0.1:5000/m/kill:a && chmod 644 kill.tar w.data H").ok();
    world
}

/// Kills `work` at `kills()` moments over 1.1 times its usual duration; every time the same command must then succeed.
#[allow(clippy::print_stdout, reason = "docs/testing.md quotes it")]
fn killed(world: &World, who: &str, name: &str, work: &str) {
    let work = format!("{who}./h --root tried/root {work}");
    let begin = Instant::now();
    world.sh(&work).ok();
    let usual = begin.elapsed();
    let mut cut = 0;
    for n in 1..=kills() {
        let after = usual.mul_f64(1.1 * f64::from(n) / f64::from(kills())).as_secs_f64();
        world.sh("rm -rf tried/root").ok();
        let first = world.sh(&format!("timeout --foreground -s KILL {after:.4} {work}"));
        // 124: it ended by itself as the time was up.
        assert!([0, 124, 137].contains(&first.code), "{first}");
        cut += u32::from(first.code == 137);
        world.sh(&work).ok();
        world.sh(&format!("{who}./h --root tried/root verify {name}")).says("ok").ok();
        assert_eq!(world.sh("ls tried/root/tmp tried/root/partial | grep -v :").stdout.trim(), "", "{work}: left");
    }
    assert!(cut > 0, "{work}: nothing was cut off");
    println!("{work}: {cut} of {} cut off, each recovered", kills());
}

/// As root and as a user.
fn both(name: &str, work: &str) {
    if !needs(&["docker-registry", "setpriv"]) {
        return;
    }
    let world = world();
    for who in ["", USER] {
        killed(&world, who, name, work);
        world.sh("rm -rf tried/root").ok();
    }
}

#[test]
fn root_a_killed_build_is_finished_by_the_same_command() {
    both("kill:a", "build -q H -t kill:a");
}

#[test]
fn root_a_killed_load_is_finished_by_the_same_command() {
    both("kill:a", "load oci-archive:kill.tar");
}

#[test]
fn root_a_killed_pull_is_finished_by_the_same_command() {
    both("127.0.0.1:5000/m/kill:a", "pull -q 127.0.0.1:5000/m/kill:a");
}
