//! The exit codes of docs/cli.md.

mod common;

use std::fs;
use std::process::Stdio;

use common::{Site, exited};

fn code(site: &Site, args: &[&str]) -> i32 {
    let mut command = site.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("start hone").code().expect("a code")
}

/// Command lines, and how they end.
const CODES: &[(&[&str], i32)] = &[
    // Done.
    (&["--help"], 0),
    (&["--version"], 0),
    (&["help", "build"], 0),
    (&["images"], 0),
    (&["verify", "assistant:base"], 0),
    (&["commit", "good"], 0),
    // An error, told in one line; a refused run; a claim that is wrong (below).
    (&["inspect", "nothing"], 1),
    (&["build", "nowhere", "-t", "a:b"], 1),
    (&["convert", "nowhere"], 1),
    (&["commit", "bad"], 1),
    (&["commit", "nothing"], 1),
    (&["staging", "rm", "nothing"], 1),
    (&["inspect", "nothing", "--json"], 1),
    (&["images", "--format", "{{.Nothing}}"], 1),
    // A command line that is not understood.
    (&[], 2),
    (&["nonsense"], 2),
    (&["../hone"], 2),
    (&["build"], 2),
    (&["build", "-t", "Not A Name"], 2),
    (&["build", "-t", "a:b", "--created", "yesterday"], 2),
    (&["images", "--nonsense"], 2),
    (&["images", "--format", "{{"], 2),
    (&["images", "--filter", "dangling=true"], 2),
    (&["images", "--quiet", "--json"], 2),
    (&["tag", "assistant:base"], 2),
    (&["tag", "assistant:base", "Not A Name"], 2),
    (&["rm"], 2),
    (&["pull", "a@sha256:00"], 2),
    (&["staging", "nonsense"], 2),
];

#[test]
fn exit_codes_are_those_of_the_manual() {
    let mut site = Site::new();
    site.llama_image();
    site.stage("good", "assistant:base", exited(0));
    site.stage("bad", "assistant:base", exited(3));
    for (args, want) in CODES {
        assert_eq!(code(&site, args), *want, "{args:?}");
    }
    let image = site.store().resolve("assistant:base").expect("resolve").image;
    let blob = site.store().blob_path(image.layers()[1].descriptor.digest);
    let mut bytes = fs::read(&blob).expect("blob");
    bytes[5000] ^= 1;
    fs::remove_file(&blob).expect("remove");
    fs::write(&blob, bytes).expect("damage");
    assert_eq!(code(&site, &["verify", "assistant:base"]), 1);
    assert_eq!(code(&site, &["verify", "assistant:base", "--json"]), 1);
}
