//! Downloads from URLs, and a hub on this machine that speaks Hugging Face's API.

#![allow(missing_docs)]

mod common;

use common::fake::{Canned, Fake, Script};
use common::{client, read, seeded};
use hone_contract::digest::Digest;
use hone_registry::Error;
use hone_registry::hub::{GitVerified, Identity, Name};

#[test]
fn a_download_is_resumed() {
    for ignore_range in [false, true] {
        let fake = Fake::start(Script {
            cut_down: vec![10, 1 << 20],
            etag: Some("\"v1\"".into()),
            ignore_range,
            ..Script::default()
        });
        let bytes = seeded(3 << 20);
        fake.state().files.insert("/m.gguf".into(), bytes.clone());
        let download = client().download(&format!("http://{}/m.gguf?sig=secret#x", fake.host)).expect("url");
        let source = download.open(0).expect("open");
        assert_eq!(source.size(), Some(bytes.len() as u64));
        assert!(read(source).expect("download") == bytes);
        assert!(fake.state().seen.iter().any(|s| s.header("if-range") == Some("\"v1\"")));
        assert!(read(download.open(1000).expect("open")).expect("rest") == bytes[1000..]);
    }
}

#[test]
fn a_download_that_is_here_already_is_none() {
    for bare_416 in [false, true] {
        let fake = Fake::start(Script { bare_416, ..Script::default() });
        let bytes = seeded(3000);
        fake.state().files.insert("/m".into(), bytes.clone());
        let download = client().download(&format!("http://{}/m", fake.host)).expect("url");
        let source = download.open(3000).expect("open");
        assert_eq!(source.size(), Some(3000));
        assert!(read(source).expect("nothing").is_empty());
        assert!(read(download.open(2999).expect("open")).expect("the last byte") == bytes[2999..]);
        // One that is longer than the file is no beginning of it.
        let error = download.open(3001).expect_err("longer");
        assert!(matches!(error, Error::Fewer { have: 3001, .. }), "{error}");
    }
}

#[test]
fn a_server_that_refuses_ranges_is_asked_for_the_whole() {
    for bare_416 in [false, true] {
        let script = Script { refuse_range: true, bare_416, cut_down: vec![1 << 20], ..Script::default() };
        let fake = Fake::start(script);
        let bytes = seeded(2 << 20);
        fake.state().files.insert("/m".into(), bytes.clone());
        let download = client().download(&format!("http://{}/m", fake.host)).expect("url");
        assert!(read(download.open(0).expect("open")).expect("download") == bytes);
        assert_eq!(fake.count("GET"), 3, "the beginning, the rest in vain, the whole");
        assert!(read(download.open(1000).expect("open")).expect("rest") == bytes[1000..]);
    }
    // A blob's size is known: one that ends before is another.
    let fake = Fake::start(Script::default());
    let blob = common::described(b"12345");
    fake.state().blobs.insert(blob.digest.to_string(), b"12".to_vec());
    let repository = common::repository(&client(), &fake.host, "a");
    let said = repository.blob(&blob, 3).expect_err("shorter").to_string();
    assert!(said.contains("has 2 bytes, want 5"), "{said}");
}

#[test]
fn a_download_from_a_busy_server_is_asked_for_again() {
    let busy = |status, wish: &str| {
        let headers = vec![("Retry-After".to_owned(), wish.to_owned())];
        ("GET /m".to_owned(), Canned { status, headers, body: b"busy".to_vec() })
    };
    let canned = vec![busy(429, "1"), busy(503, "0")];
    let fake = Fake::start(Script { canned, cut_down: vec![1 << 20], ..Script::default() });
    let bytes = seeded(2 << 20);
    fake.state().files.insert("/m".into(), bytes.clone());
    let before = std::time::Instant::now();
    let source = client().download(&format!("http://{}/m", fake.host)).expect("url").open(0).expect("open");
    assert!(before.elapsed() >= std::time::Duration::from_secs(1), "the wish of a second was not kept");
    // In the middle: the connection breaks, and whoever is asked for the rest is busy.
    fake.state().script.canned = vec![busy(503, "0"), busy(429, "0")];
    assert!(read(source).expect("download") == bytes);
    assert_eq!(fake.count("GET"), 6);
}

#[test]
fn a_file_that_changes_is_not_spliced() {
    let fake = Fake::start(Script { cut_down: vec![1 << 20], etag: Some("\"v1\"".into()), ..Script::default() });
    fake.state().files.insert("/m".into(), seeded(3 << 20));
    let source = client().download(&format!("http://{}/m", fake.host)).expect("url").open(0).expect("open");
    fake.state().script.etag = Some("\"v2\"".into());
    let error = read(source).expect_err("changed");
    assert!(error.to_string().contains("start again"), "{error}");
}

#[test]
fn what_is_no_url_or_not_there_is_said_so() {
    for bad in ["", "ftp://x/y", "/x", "https://user:pw@host/x", "http://"] {
        assert!(matches!(client().download(bad).expect_err("url"), Error::Name { .. }), "{bad}");
    }
    let fake = Fake::start(Script::default());
    let url = format!("http://{}/none?sig=secret", fake.host);
    let error = client().download(&url).expect("url").open(0).expect_err("404").to_string();
    assert!(error.contains("404") && error.contains("check the URL") && !error.contains("secret"), "{error}");
}

#[test]
fn a_hub_gives_a_model_at_one_commit() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let (weights, config) = (seeded(2 << 20), b"hello".to_vec());
    let storage = Fake::start(Script::default());
    storage.state().files.insert("/lfs/w".into(), weights.clone());
    let hub = Fake::start(Script::default());
    let body = format!(
        r#"{{"sha":"{commit}","cardData":{{"license":"apache-2.0"}},"siblings":[
            {{"rfilename":"config.json","size":5,"blobId":"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"}},
            {{"rfilename":"a b.gguf","size":{0},"blobId":"{commit}","lfs":{{"sha256":"{1}","size":{0}}}}}]}}"#,
        weights.len(),
        Digest::of(&weights).hex()
    );
    hub.state().files.insert("/api/models/o/m/revision/refs%2Fpr%2F1".into(), body.into_bytes());
    hub.state().files.insert(format!("/o/m/resolve/{commit}/config.json"), config.clone());
    let to = format!("http://{}/lfs/w", storage.host);
    let moved = Canned { status: 302, headers: vec![("Location".into(), to)], body: Vec::new() };
    hub.state().script.canned = vec![(format!("GET /o/m/resolve/{commit}/a%20b.gguf"), moved)];

    let there = client().hub(&format!("http://{}/", hub.host), Some("hf_secret".into())).expect("hub");
    let name: Name = "hf://o/m@refs/pr/1".parse().expect("name");
    let model = there.model(&name).expect("model");
    assert_eq!((model.commit.as_str(), model.licence.as_deref()), (commit, Some("apache-2.0")));
    let Identity::GitBlob(id) = model.files[0].identity else { panic!("{:?}", model.files[0]) };
    let source = there.file(&model, &model.files[0]).expect("file").open(0).expect("open");
    assert_eq!(read(GitVerified::new(source, 5, id)).expect("verified"), config);
    let source = there.file(&model, &model.files[1]).expect("file").open(0).expect("open");
    assert!(read(source).expect("weights") == weights);
    assert_eq!(model.files[1].identity, Identity::Sha256(Digest::of(&weights)));

    let token = |s: &common::fake::Seen| s.header("authorization").map(str::to_owned);
    assert!(hub.state().seen.iter().all(|s| token(s).as_deref() == Some("Bearer hf_secret")));
    assert!(storage.state().seen.iter().all(|s| token(s).is_none()));

    let error = there.model(&"hf://o/none".parse().expect("name")).expect_err("none").to_string();
    assert!(error.contains("HF_TOKEN") && !error.contains("hf_secret"), "{error}");
}
