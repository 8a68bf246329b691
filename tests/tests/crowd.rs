//! Everybody at once on one store: who builds, removes, saves, pushes, pulls, verifies and looks must not see each other.
//!
//! HONE_CROWD_SECONDS says for how long (`./x faults`: 30).

#[allow(dead_code, reason = "each test program uses a part of it")]
mod models;

use std::fs;

use hone_tests::{World, needs};
use models::{HEAD, registry};

/// What each of them does over and over; none may ever fail, whatever the others do.
const CROWD: [(&str, &str); 9] = [
    ("rebuild", "hone build -q Ha -t crowd:a && hone build -q Hb -t crowd:a"),
    ("come-and-go", "hone build -q Hc -t gone:a && hone rm gone:a"),
    ("tag", "hone tag crowd:a crowd:other && hone rm crowd:other"),
    ("save", "hone save crowd:a -o oci:saved:a && hone save tiny:path -o oci-archive:saved.tar"),
    ("push", "hone push -q crowd:a 127.0.0.1:5000/m/crowd:a"),
    ("pull", "hone pull -q 127.0.0.1:5000/m/tiny:1"),
    ("verify", "hone verify crowd:a && hone verify tiny:path"),
    ("images", "hone images"),
    ("inspect", "hone inspect crowd:a"),
];

fn seconds() -> u64 {
    std::env::var("HONE_CROWD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8)
}

fn weights(world: &World) {
    for (name, mib) in [("a", 6), ("b", 6), ("c", 3)] {
        world.sh(&format!("head -c {mib}M /dev/urandom >{name}.data")).ok();
        fs::write(world.dir().join(format!("H{name}")), format!("{HEAD}base: {{model: {name}.data}}\n"))
            .expect("write");
    }
}

#[test]
fn root_a_crowd_on_one_store_sees_no_wrong_failure() {
    if !needs(&["docker-registry"]) {
        return;
    }
    let world = registry();
    weights(&world);
    world.sh("hone --root root build -q Ha -t crowd:a").ok();
    let mut script = format!("export HONE_ROOT=$PWD/root\nend=$(($(date +%s) + {}))\n", seconds());
    for (name, work) in CROWD {
        script += &format!(
            "( n=0; while [ $(date +%s) -lt $end ]; do n=$((n+1)); \
            {{ {work}; }} >{name}.out 2>&1 || {{ echo \"== {name}, rc $?\"; cat {name}.out; }} >>wrong; \
            done; echo {name} $n >>counts ) &\n"
        );
    }
    world.sh(&(script + "wait; touch wrong")).ok();
    let counts = world.sh("sort counts").ok();
    assert_eq!(world.sh("cat wrong").ok(), "", "{counts}");
    assert_eq!(counts.lines().count(), CROWD.len(), "{counts}");
    assert!(counts.lines().all(|line| !line.ends_with(" 0")), "each did something: {counts}");
    world.sh("hone --root root verify crowd:a && hone --root root verify tiny:path").ok();
    println!("in {} s: {}", seconds(), counts.replace('\n', ", "));
}
