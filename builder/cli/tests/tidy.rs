//! `hone rm` and `hone prune`: what they remove, what they leave, and that both is said.

mod common;

use std::fs::{self, File};
use std::path::PathBuf;

use common::{Site, exited};

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

/// What `hone run` leaves of each layer of an image: a directory of its files.
fn unpacked(site: &Site, image: &str) -> Vec<PathBuf> {
    let image = site.store().resolve(image).expect("resolve").image;
    let ids = image.layers().iter().map(|layer| layer.diff_id.hex());
    ids.map(|id| {
        site.write(&format!("root/snapshots/{id}/hone/file"), [7; 20_000])
            .parent()
            .expect("dir")
            .parent()
            .expect("dir")
            .to_owned()
    })
    .collect()
}

#[test]
fn rm_removes_unpacked_layers_that_no_image_has_any_more() {
    let site = site();
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    let base = unpacked(&site, "assistant:base");
    let version = unpacked(&site, "assistant:base-v1");
    let said = site.ok(&["rm", "assistant:base-v1"]);
    assert!(said.contains(" blobs, ") && said.ends_with(" in 1 unpacked layer\n"), "{said}");
    assert!(base.iter().all(|dir| dir.exists()) && !version.last().expect("adapter").exists());
    // While a container reads there, all of it stays, and that is said.
    let lock = File::create(site.root().join("snapshots.lock")).expect("lock");
    lock.lock_shared().expect("a container");
    let output = site.command(&["rm", "assistant:base"]).output().expect("hone");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("a container is running: unpacked layers stay"), "{told}");
    assert!(base.iter().all(|dir| dir.exists()));
    drop(lock);
    let said = site.ok(&["prune"]);
    assert!(said.contains(&format!("unpacked layers             {}", base.len())), "{said}");
    assert!(site.files("snapshots").is_empty());
}

#[test]
fn prune_removes_what_nothing_needs_and_says_how_much() {
    let site = site();
    assert!(site.ok(&["prune"]).ends_with("\nTotal reclaimed space: 0 B\n"));
    let before = site.files("blobs/sha256");
    site.write(&format!("root/blobs/sha256/{}", "1".repeat(64)), [1; 30_000]);
    site.write(&format!("root/partial/{}", "2".repeat(64)), [2; 50_000]);
    let now = site.write(&format!("root/partial/{}", "3".repeat(64)), [3; 10]);
    let going_on = File::open(&now).expect("partial");
    going_on.lock().expect("a download");
    let staging = site.stage("run1", "assistant:base", exited(1));
    fs::create_dir_all(site.root().join("snapshots").join("4".repeat(64))).expect("layer");
    let said = site.ok(&["prune", "-f"]);
    for part in ["downloads that did not end  1", "blobs                       1", "unpacked layers             1"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let total = said.lines().last().expect("a line");
    assert!(total.starts_with("Total reclaimed space: ") && total.ends_with(" kB"), "{said}");
    // What has a name, what goes on, and what a run left are as they were.
    assert_eq!(site.files("blobs/sha256"), before);
    assert!(now.exists() && staging.exists() && site.files("partial").len() == 1);
    assert!(site.ok(&["verify", "assistant:base"]).contains("ok"));
}

#[test]
fn prune_leaves_blobs_while_a_build_goes_on_and_says_so() {
    let site = site();
    let stray = site.write(&format!("root/blobs/sha256/{}", "1".repeat(64)), [1; 30_000]);
    let store = site.store();
    let ingest = store.ingest().expect("a build");
    let output = site.command(&["prune"]).output().expect("hone");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("blobs stay"), "{told}");
    assert!(stray.exists());
    drop(ingest);
    site.ok(&["prune"]);
    assert!(!stray.exists());
}

#[test]
fn whoever_reads_keeps_blobs_and_rm_and_prune_say_so_alike() {
    let site = site();
    let store = site.store();
    let reading = store.reading().expect("a push");
    let stray = site.write(&format!("root/blobs/sha256/{}", "1".repeat(64)), [1; 30_000]);
    for args in [&["rm", "assistant:base"][..], &["prune"]] {
        let output = site.command(args).output().expect("hone");
        let want =
            "hone: the store is being read or written: blobs stay; `hone prune` removes them when that is done\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), want, "{args:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains("the store") && !said.contains("in use"), "{said}");
        assert!(stray.exists(), "{args:?}");
    }
    drop(reading);
    site.ok(&["prune"]);
    assert!(!stray.exists());
}

#[test]
fn what_is_one_is_said_to_be_one() {
    let site = site();
    site.ok(&["build", ".", "-t", "assistant:base"]);
    fs::create_dir_all(site.root().join("snapshots").join("4".repeat(64))).expect("layer");
    site.ok(&["tag", "assistant:base", "second:name"]);
    let stray = site.write(&format!("root/blobs/sha256/{}", "1".repeat(64)), [1; 30_000]);
    let said = site.ok(&["rm", "second:name"]);
    assert!(said.contains(" in 1 blob, ") && said.ends_with(" in 1 unpacked layer\n"), "{said}");
    assert!(!stray.exists());
}

#[test]
fn an_empty_place_is_pruned_without_being_made() {
    let site = Site::new();
    assert!(site.ok(&["prune"]).ends_with("Total reclaimed space: 0 B\n"));
    assert!(!site.root().exists());
}
