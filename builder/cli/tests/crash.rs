//! `hone build` killed at any moment: afterwards the name stands for the old image or the new one, whole, and the
//! next build leaves nothing of the dead one.

mod common;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Site;
use common::gguf::Gguf;

const HONEFILE: &str = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: tiny.gguf}\ntrainer: none\n";

/// Every byte of the image is there and is what its digest says.
fn whole(site: &Site) -> String {
    let store = site.store();
    let image = store.resolve("tiny:base").expect("the name stands for something").image;
    for layer in image.layers() {
        let mut bytes = Vec::new();
        store
            .open_layer(layer, &hone_store::Budget::of_layer(layer))
            .expect("layer")
            .read_to_end(&mut bytes)
            .expect("verified to the end");
    }
    image.digest().to_string()
}

#[test]
fn a_killed_build_leaves_the_old_image_or_the_new_one() {
    let site = Site::new();
    site.write("Honefile", HONEFILE);
    let rows = |n: u64| Gguf::llama(16, 8192 + n).bytes();
    site.write("tiny.gguf", rows(0));
    let begin = Instant::now();
    let mut old = site.ok(&["build", "-q", "-t", "tiny:base"]).trim().to_owned();
    let usual = begin.elapsed();
    let (mut kept, mut replaced) = (0, 0);
    for n in 1..=24u32 {
        site.write("tiny.gguf", rows(u64::from(n)));
        let mut build = site.command(&["build", "-q", "-t", "tiny:base"]);
        let mut child = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hone");
        // Moments over 1.1 times the usual duration, the last ones after its end.
        std::thread::sleep(usual.mul_f64(1.1 * f64::from(n) / 24.0));
        let _ = child.kill();
        let finished = child.wait().expect("hone").success();
        let now = whole(&site);
        assert!(!finished || now != old, "a build that said yes has replaced the image");
        if now == old {
            kept += 1
        } else {
            replaced += 1
        }
        old = now;
    }
    assert!(kept > 0, "no build was cut off: {replaced} finished");
    site.write("tiny.gguf", rows(99));
    std::thread::sleep(Duration::from_millis(10));
    site.ok(&["build", "-q", "-t", "tiny:base"]);
    whole(&site);
    assert!(site.files("tmp").is_empty());
    let want = "weight, job, index, and manifest and configuration of the image and of the model's artifact";
    assert_eq!(site.files("blobs/sha256").len(), 7, "{want}");
}

#[test]
fn two_builds_at_once_both_succeed() {
    let site = Site::new();
    site.write("Honefile", HONEFILE);
    site.write("tiny.gguf", Gguf::llama(16, 4096).bytes());
    let start = |tag: &str| {
        let mut command: Command = site.command(&["build", "-q", "-t", tag]);
        command.stdout(Stdio::piped()).spawn().expect("hone")
    };
    let builds = [start("tiny:a"), start("tiny:b"), start("tiny:c")];
    let digests = builds.map(|build| {
        let output = build.wait_with_output().expect("hone");
        assert!(output.status.success());
        output.stdout
    });
    assert!(digests.iter().all(|d| *d == digests[0]));
    assert_eq!(site.json(&["images", "--json"]).as_array().map(Vec::len), Some(3));
    assert_eq!(site.files("blobs/sha256").len(), 7);
}
