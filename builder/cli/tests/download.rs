//! Downloads that earlier ones began: gone on with, finished, or begun anew, by the same command.

mod common;
#[path = "../../registry/tests/common/mod.rs"]
mod servers;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Site;
use common::gguf::Gguf;
use hone_contract::Digest;
use servers::fake::{Fake, Script};

/// A server with a model, and a Honefile that names it.
fn model(script: Script) -> (Site, Fake, Vec<u8>) {
    let (site, fake, bytes) = (Site::new(), Fake::start(script), Gguf::llama(16, 64).bytes());
    fake.state().files.insert("/m.gguf".into(), bytes.clone());
    let sha256 = Digest::of(&bytes).hex();
    let base = format!("{{model: 'http://{}/m.gguf', sha256: {sha256}}}", fake.host);
    site.write("Honefile", format!("apiVersion: hone.dev/v1\nname: tiny\nbase: {base}\ntrainer: none\n"));
    (site, fake, bytes)
}

/// What an earlier attempt left of the content with this digest.
fn left(site: &Site, hex: &str, bytes: &[u8]) {
    let path = site.write(&format!("root/partial/{hex}"), bytes);
    // As one that was killed in its last steps left it.
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("mode");
}

fn ranges(fake: &Fake) -> Vec<Option<String>> {
    fake.state().seen.iter().filter(|s| s.method == "GET").map(|s| s.header("range").map(str::to_owned)).collect()
}

#[test]
fn what_an_earlier_download_left_is_taken_up() {
    for bare_416 in [false, true] {
        let script = || Script { bare_416, ..Script::default() };
        // Nothing, a beginning, all of it: of a size that nobody knows before.
        for part in [0, 1, 2] {
            let (site, fake, bytes) = model(script());
            let end = bytes.len() * part / 2;
            left(&site, &Digest::of(&bytes).hex(), &bytes[..end]);
            site.ok(&["build", "-t", "tiny:base"]);
            site.ok(&["verify", "tiny:base"]);
            assert_eq!(ranges(&fake)[0], (end > 0).then(|| format!("bytes={end}-")));
            assert!(site.files("partial").is_empty());
        }
        // What is no beginning of it: other bytes, as many other bytes, more of them.
        for size in [100, 0, 100_000_000] {
            let (site, _fake, bytes) = model(script());
            left(&site, &Digest::of(&bytes).hex(), &vec![7; if size == 0 { bytes.len() } else { size }]);
            site.ok(&["build", "-t", "tiny:base"]);
            site.ok(&["verify", "tiny:base"]);
            assert!(site.files("partial").is_empty());
        }
    }
}

#[test]
fn another_file_is_said_to_be_one_and_not_kept() {
    let (site, fake, bytes) = model(Script::default());
    fake.state().files.insert("/m.gguf".into(), vec![1; bytes.len()]);
    left(&site, &Digest::of(&bytes).hex(), &bytes[..10]);
    let said = site.fails(&["build", "-t", "tiny:base"]);
    assert!(said.contains("the server has another file"), "{said}");
    assert!(site.files("partial").is_empty());
    site.assert_empty();
}

#[test]
fn a_layer_that_is_here_is_finished_without_a_request() {
    let fake = Fake::start(Script::default());
    let maker = Site::new();
    maker.write("m.gguf", Gguf::llama(16, 64).bytes());
    maker.write("Honefile", "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: m.gguf}\ntrainer: none\n");
    maker.ok(&["build", "-t", "tiny:base"]);
    let name = format!("{}/team/tiny:base", fake.host);
    maker.ok(&["push", "tiny:base", &name]);
    let layers = maker.json(&["inspect", "--json", "tiny:base"])["layers"].clone();
    let layer = layers.as_array().and_then(|all| all.iter().find(|l| l["kind"] == "weight")).expect("weight");
    let hex = layer["digest"].as_str().and_then(|d| d.strip_prefix("sha256:")).expect("digest").to_owned();
    let whole = fs::read(maker.root().join("blobs/sha256").join(&hex)).expect("blob");
    let asked = |site: &Site| {
        let before = fake.state().seen.len();
        site.ok(&["pull", "-q", &name, "-t", "tiny:base"]);
        site.ok(&["verify", "tiny:base"]);
        assert!(site.files("partial").is_empty());
        let seen = fake.state().seen[before..].to_vec();
        seen.into_iter().filter(|s| s.target.ends_with(&hex)).collect::<Vec<_>>()
    };
    let site = Site::new();
    left(&site, &hex, &whole);
    assert!(asked(&site).is_empty(), "it was here");
    let site = Site::new();
    left(&site, &hex, &whole[..whole.len() - 1]);
    assert_eq!(asked(&site)[0].header("range").map(str::to_owned), Some(format!("bytes={}-", whole.len() - 1)));
    // Spoilt: as long as it should be, and not it.
    let site = Site::new();
    left(&site, &hex, &vec![0; whole.len()]);
    assert_eq!(asked(&site).len(), 1);
}
