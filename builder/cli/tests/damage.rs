//! A store that lost some of its bytes: what is damaged is told, mended where it can be, and hides nothing else.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Site, exited};
use hone_contract::Digest;
use hone_contract::run::Outcome;
use serde_json::Value;

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

/// Other bytes of the same number, in place.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("blob");
    bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x20);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
    fs::write(path, bytes).expect("write");
}

fn blob(site: &Site, digest: &Value) -> PathBuf {
    let digest: Digest = digest.as_str().expect("digest").parse().expect("digest");
    site.store().blob_path(digest)
}

/// The first layer of this kind, and where it lies.
fn layer(site: &Site, image: &str, kind: &str) -> PathBuf {
    let view = site.json(&["inspect", image, "--json"]);
    let layers = view["layers"].as_array().expect("layers");
    blob(site, &layers.iter().find(|l| l["kind"] == kind).expect(kind)["digest"])
}

fn run(site: &Site, args: &[&str]) -> Output {
    site.command(args).output().expect("start hone")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_build_mends_every_blob_of_it_that_is_damaged() {
    let site = site();
    let before = site.json(&["inspect", "assistant:base", "--json"]);
    for name in site.files("blobs/sha256") {
        damage(&site.root().join("blobs/sha256").join(&name));
        site.ok(&["build", ".", "-t", "assistant:base"]);
        let said = run(&site, &["verify", "assistant:base"]);
        assert!(said.status.success(), "{name}: {}", text(&said.stdout));
    }
    assert_eq!(site.json(&["inspect", "assistant:base", "--json"]), before);
}

#[test]
fn what_was_built_here_is_taken_away_and_the_next_build_writes_it() {
    let site = site();
    let said = site.ok(&["verify", "assistant:base", "--repair"]);
    assert!(said.starts_with("assistant:base: ok"), "nothing to mend: {said}");
    let all = site.files("blobs/sha256");
    let weight = layer(&site, "assistant:base", "weight");
    let manifest = blob(&site, &site.json(&["inspect", "assistant:base", "--json"])["digest"]);
    for damaged in [&weight, &manifest] {
        damage(damaged);
        assert_eq!(run(&site, &["verify", "assistant:base"]).status.code(), Some(1));
        let repair = run(&site, &["verify", "assistant:base", "--repair"]);
        assert_eq!(repair.status.code(), Some(1), "{repair:?}");
        assert!(text(&repair.stdout).contains("which was damaged"), "{repair:?}");
        assert!(text(&repair.stderr).contains("build or pull it again"), "{repair:?}");
        assert!(!damaged.exists());
        assert_eq!(site.files("blobs/sha256").len(), all.len() - 1, "and nothing else");
        site.ok(&["build", ".", "-t", "assistant:base"]);
        assert!(site.ok(&["verify", "assistant:base"]).starts_with("assistant:base: ok"));
    }
    assert_eq!(site.files("blobs/sha256"), all);
}

#[test]
fn a_sealed_adapter_that_is_damaged_is_sealed_again() {
    let site = site();
    site.stage("run1", "assistant:base", exited(0));
    site.ok(&["commit", "run1"]);
    let sealed = layer(&site, "assistant:base-v1", "adapter");
    let digest = sealed.file_name().expect("name").to_string_lossy().into_owned();
    for (run, spoil) in [("run2", &damage as &dyn Fn(&Path)), ("run3", &|path| fs::write(path, "").expect("cut"))] {
        let staging = site.stage(run, "assistant:base", exited(0));
        let layer = format!("sha256:{digest}").parse().expect("digest");
        let outcome = serde_json::to_vec(&Outcome::Sealed { layer }).expect("JSON");
        fs::write(staging.join("outcome.json"), outcome).expect("write");
        fs::set_permissions(&sealed, fs::Permissions::from_mode(0o600)).expect("mode");
        spoil(&sealed);
        site.ok(&["commit", run]);
        assert!(site.ok(&["verify", "assistant:base-v1"]).starts_with("assistant:base-v1: ok"), "{run}");
    }
}

/// A registry that has what a directory of blobs has, and one tag; while a file `down` lies there, it is out of order.
fn registry(blobs: PathBuf, root: Digest) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let host = listener.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever hangs up early has seen enough.
            let _ = answer(&stream, &blobs, root);
        }
    });
    host
}

fn answer(mut stream: &TcpStream, blobs: &Path, root: Digest) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while !lines.next().unwrap_or_else(|| Ok(String::new()))?.is_empty() {}
    let words: Vec<&str> = request.split(' ').collect();
    let wanted = words.get(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let digest = if wanted == "base" { root.to_string() } else { wanted.to_owned() };
    let served = request.contains("/manifests/") || request.contains("/blobs/");
    let body = served.then(|| fs::read(blobs.join(digest.trim_start_matches("sha256:"))).ok()).flatten();
    let (status, body) = match body {
        _ if blobs.join("down").exists() => ("503 Service Unavailable", Vec::new()),
        Some(body) => ("200 OK", body),
        None if wanted.is_empty() => ("200 OK", Vec::new()),
        None => ("404 Not Found", Vec::new()),
    };
    let kind = serde_json::from_slice::<Value>(&body).ok().and_then(|v| v["mediaType"].as_str().map(str::to_owned));
    let kind = kind.unwrap_or_else(|| "application/octet-stream".to_owned());
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if words[0] == "HEAD" { Ok(()) } else { stream.write_all(&body) }
}

#[test]
fn what_was_pulled_is_fetched_again_from_where_it_was() {
    let (source, site) = (site(), Site::new());
    let view = source.json(&["inspect", "assistant:base", "--json"]);
    let root: Digest = view["digest"].as_str().expect("digest").parse().expect("digest");
    let name = format!("{}/assistant:base", registry(source.root().join("blobs/sha256"), root));
    site.ok(&["pull", &name]);
    site.ok(&["tag", &name, "mine:base"]);
    site.ok(&["rm", &name]);
    let all = site.files("blobs/sha256");
    for name in &all {
        damage(&site.root().join("blobs/sha256").join(name));
        assert_ne!(run(&site, &["verify", "mine:base"]).status.code(), Some(0), "{name}");
        let said = site.ok(&["verify", "mine:base", "--repair"]);
        assert!(said.contains(&format!("fetched sha256:{name} again")) && said.contains("mine:base: ok"), "{said}");
    }
    // All at once, and one that is gone.
    let weight = layer(&site, "mine:base", "weight");
    all.iter().for_each(|name| damage(&site.root().join("blobs/sha256").join(name)));
    fs::remove_file(weight).expect("remove");
    site.ok(&["verify", "mine:base", "--repair"]);
    assert_eq!(site.files("blobs/sha256"), all);
    // Pulling again mends, too, and `verify` did not have to see it before.
    all.iter().for_each(|name| damage(&site.root().join("blobs/sha256").join(name)));
    site.ok(&["pull", &name]);
    site.ok(&["verify", &name]);
}

#[test]
fn a_version_made_here_is_mended_from_where_its_base_was_pulled() {
    let (source, site) = (site(), Site::new());
    let view = source.json(&["inspect", "assistant:base", "--json"]);
    let root: Digest = view["digest"].as_str().expect("digest").parse().expect("digest");
    let base = format!("{}/assistant:base", registry(source.root().join("blobs/sha256"), root));
    site.ok(&["pull", &base]);
    site.stage("run1", &base, exited(0));
    site.ok(&["commit", "run1"]);
    let version = format!("{base}-v1");
    let (weight, adapter) = (layer(&site, &version, "weight"), layer(&site, &version, "adapter"));
    damage(&weight);
    let said = site.ok(&["verify", &version, "--repair"]);
    assert!(said.contains(&format!("again from {base}")), "{said}");
    // What was made here is to be had from nowhere, and what was pulled is mended all the same.
    damage(&weight);
    damage(&adapter);
    let repair = run(&site, &["verify", &version, "--repair"]);
    assert_eq!(repair.status.code(), Some(1), "{repair:?}");
    assert!(!adapter.exists() && site.ok(&["verify", &base]).contains(": ok"), "{repair:?}");
}

#[test]
fn what_a_registry_did_not_answer_for_is_kept() {
    let (source, site) = (site(), Site::new());
    let view = source.json(&["inspect", "assistant:base", "--json"]);
    let root: Digest = view["digest"].as_str().expect("digest").parse().expect("digest");
    let blobs = source.root().join("blobs/sha256");
    let host = registry(blobs.clone(), root);
    let name = format!("{host}/assistant:base");
    site.ok(&["pull", &name]);
    let weight = layer(&site, &name, "weight");
    damage(&weight);
    let damaged = fs::read(&weight).expect("weight");
    let index = site.root().join("index.json");
    let before = fs::read_to_string(&index).expect("index.json");
    fs::write(blobs.join("down"), "").expect("down");
    for nobody in [None, Some("127.0.0.1:1/")] {
        let there = nobody.map_or(before.clone(), |nobody| before.replace(&format!("{host}/"), nobody));
        fs::write(&index, there).expect("index.json");
        let image = format!("{}assistant:base", nobody.map_or(format!("{host}/"), str::to_owned));
        let repair = run(&site, &["verify", &image, "--repair"]);
        assert_eq!(repair.status.code(), Some(1), "{repair:?}");
        assert!(text(&repair.stderr).contains("1 damaged blob is kept, since"), "{repair:?}");
        assert!(!text(&repair.stdout).contains("removed"), "{repair:?}");
        assert_eq!(fs::read(&weight).expect("kept"), damaged);
    }
    // The twin: it was a passing error.
    fs::remove_file(blobs.join("down")).expect("up again");
    fs::write(&index, before).expect("index.json");
    site.ok(&["verify", &name, "--repair"]);
}

#[test]
fn a_document_that_is_refused_for_what_it_says_is_not_called_damaged() {
    let site = site();
    let view = site.json(&["inspect", "assistant:base", "--json"]);
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(blob(&site, &view["manifest"])).expect("blob")).expect("JSON");
    manifest["manifests"] = serde_json::json!([]);
    let bytes = serde_json::to_vec(&manifest).expect("JSON");
    let digest = site.store().ingest().expect("ingest").put(&bytes).expect("put");
    let path = site.root().join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).expect("index")).expect("JSON");
    index["manifests"].as_array_mut().expect("entries").push(serde_json::json!({
        "mediaType": manifest["mediaType"], "digest": digest.to_string(), "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "two:things"},
    }));
    fs::write(&path, index.to_string()).expect("index");
    let repair = run(&site, &["verify", "two:things", "--repair"]);
    assert_eq!(repair.status.code(), Some(1), "{repair:?}");
    assert!(text(&repair.stdout).contains("programs would read it differently"), "{repair:?}");
    let said = text(&repair.stderr);
    assert!(said.contains("two:things: 1 document is whole and refused for what it says"), "{said}");
    assert!(!said.contains("nowhere") && !text(&repair.stdout).contains("damaged"), "{repair:?}");
    assert!(site.store().blob_path(digest).exists());
}

#[test]
fn one_bad_entry_is_named_and_every_verb_works_for_the_others() {
    let site = site();
    site.stage("run1", "assistant:base", exited(0));
    let path = site.root().join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).expect("index")).expect("JSON");
    let mut gone = index["manifests"][0].clone();
    gone["digest"] = Digest::of(b"gone").to_string().into();
    gone["annotations"]["org.opencontainers.image.ref.name"] = "aaa:base".into();
    index["manifests"].as_array_mut().expect("manifests").push(gone);
    fs::write(&path, index.to_string()).expect("write");
    let digest = site.json(&["inspect", "assistant:base", "--json"])["config"].as_str().expect("digest").to_owned();
    let short = &digest["sha256:".len()..][..12];
    for args in [
        &["images", "--json"][..],
        &["inspect", short],
        &["verify", short],
        &["save", "assistant:base", "-o", "oci:saved"],
        &["commit", "run1"],
        &["rm", "assistant:base-v1"],
        &["build", ".", "-t", "assistant:base"],
    ] {
        let output = run(&site, args);
        let error = text(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        // A name that is said is looked up by itself.
        let scans = !["save", "verify", "commit"].contains(&args[0]) || args[1] == short;
        assert_eq!(error.contains("aaa:base: "), scans, "{args:?}: {error}");
    }
    let images = site.json(&["images", "--json"]);
    assert_eq!(images.as_array().expect("rows").len(), 1, "{images}");
    // It is in nobody's way, and goes as any name does.
    site.ok(&["rm", "aaa:base"]);
    assert_eq!(text(&run(&site, &["images"]).stderr), "");
}

/// The same tensors with one weight another.
fn moved(safetensors: &[u8]) -> Vec<u8> {
    let mut bytes = safetensors.to_vec();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    bytes
}

#[test]
fn verbs_at_the_same_time_do_not_take_from_each_other_what_they_read() {
    let site = site();
    // Not a blob of it is the other image's, but the trainer's.
    site.write("other/Honefile", common::LLAMA.replace("assistant", "other"));
    site.llama_dir("other/model", 31);
    let weight = fs::read(site.path("model/model.safetensors")).expect("weight");
    site.write("other/model/model.safetensors", moved(&weight));
    let done = AtomicBool::new(false);
    let (site, done) = (&site, &done);
    std::thread::scope(|scope| {
        let mut verbs = Vec::new();
        for (n, args) in [
            &["images", "--json"][..],
            &["inspect", "other:base", "--json"],
            &["verify", "other:base"],
            &["save", "other:base", "-o"],
            &["rm", "other:base"],
        ]
        .into_iter()
        .enumerate()
        {
            verbs.push(scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let place = format!("oci-archive:saved-{n}.tar");
                    let args: Vec<&str> =
                        if args.ends_with(&["-o"]) { [args, &[&place]].concat() } else { args.to_vec() };
                    let output = run(site, &args);
                    let error = text(&output.stderr);
                    let fine = output.status.success() || error.contains("image other:base: not found");
                    assert!(fine && !error.contains("warning"), "{args:?}: {}{error}", text(&output.stdout));
                }
            }));
        }
        for n in 0..20 {
            site.ok(&["build", "other", "-t", "other:base", "-o", "oci-archive:built.tar"]);
            // At another moment of what the others do each time.
            std::thread::sleep(std::time::Duration::from_millis(n));
        }
        done.store(true, Ordering::Relaxed);
        verbs.into_iter().for_each(|verb| verb.join().expect("a verb"));
    });
    assert!(site.ok(&["verify", "assistant:base"]).starts_with("assistant:base: ok"));
}
