//! Against a registry that fails on demand: nothing that can be got over is given up, nothing false is taken.

#![allow(missing_docs)]

mod common;

use common::fake::{Canned, Fake, Script, Seen};
use common::{client, described, opener, quick, read, repository, seeded};
use hone_contract::chain;
use hone_contract::digest::Digest;
use hone_image::media;
use hone_registry::{Client, Error, Options, Pushed, Repository};

const MIB: usize = 1 << 20;

fn canned(start: &str, status: u16, headers: &[(&str, &str)], body: &str) -> (String, Canned) {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    (start.to_owned(), Canned { status, headers, body: body.into() })
}

fn start(script: Script) -> (Fake, Repository) {
    let fake = Fake::start(script);
    let repository = repository(&client(), &fake.host, "team/a");
    (fake, repository)
}

/// Pushes `size` bytes and checks that they arrived.
fn push(fake: &Fake, repository: &Repository, size: usize) -> Pushed {
    let bytes = seeded(size);
    let blob = described(&bytes);
    let pushed = repository
        .push_blob(&blob, &opener(&bytes), &[], &mut |n| assert!(n <= blob.size))
        .unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert!(fake.blob(blob.digest).as_deref() == Some(&bytes[..]), "other bytes arrived");
    pushed
}

fn pull(fake: &Fake, repository: &Repository, size: usize) {
    let bytes = seeded(size);
    fake.put_blob(&bytes);
    let got = read(repository.blob(&described(&bytes), 0).expect("open")).expect("pull");
    assert!(got == bytes, "{} bytes of {size} came, or others", got.len());
}

#[test]
fn blobs_of_all_sizes_are_pushed() {
    let (fake, repository) = start(Script::default());
    for size in [0, 1, 2, 1000, MIB, MIB + 1, 5 * MIB] {
        assert_eq!(push(&fake, &repository, size), Pushed::Sent { bytes: size as u64 }, "{size}");
    }
}

#[test]
fn a_busy_server_is_asked_again_as_it_wishes() {
    let (fake, repository) = start(Script {
        canned: vec![
            canned("HEAD", 503, &[], ""),
            canned("POST", 429, &[("Retry-After", "0")], ""),
            canned("POST", 429, &[("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")], ""),
            canned("PATCH", 429, &[("Retry-After", "1")], ""),
            canned("PATCH", 500, &[], ""),
            canned("PUT", 502, &[], ""),
        ],
        ..Script::default()
    });
    let before = std::time::Instant::now();
    push(&fake, &repository, 2 * MIB);
    assert!(before.elapsed() >= std::time::Duration::from_secs(1), "the wish of a second was not kept");
}

#[test]
fn a_pull_from_a_busy_server_is_asked_for_again() {
    let (fake, repository) = start(Script {
        canned: vec![
            canned("GET", 429, &[("Retry-After", "1")], ""),
            canned("GET", 503, &[("Retry-After", "0")], ""),
            canned("GET", 503, &[], ""),
        ],
        ..Script::default()
    });
    let before = std::time::Instant::now();
    pull(&fake, &repository, 2 * MIB);
    assert!(before.elapsed() >= std::time::Duration::from_secs(1), "the wish of a second was not kept");
    assert_eq!(fake.count("GET"), 4);
    // In the middle: the connection breaks, and whoever is asked for the rest is busy.
    fake.state().script.cut_down = vec![MIB];
    let bytes = seeded(2 * MIB);
    let mut source = repository.blob(&described(&bytes), 0).expect("open");
    fake.state().script.canned = vec![canned("GET", 503, &[], ""), canned("GET", 429, &[("Retry-After", "0")], "")];
    assert!(read(&mut source).expect("pull") == bytes);
    assert_eq!(fake.count("GET"), 8);
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let many = (0..50).map(|_| canned("HEAD", 503, &[], r#"{"errors":[{"code":"UNAVAILABLE","message":"later"}]}"#));
    let (fake, repository) = start(Script { canned: many.collect(), ..Script::default() });
    let push = || repository.push_blob(&described(b"x"), &opener(b"x"), &[], &mut |_| ());
    let error = push().expect_err("busy");
    assert_eq!(error.status(), Some(503));
    assert!(error.to_string().contains("try again later"), "{error}");
    assert_eq!(fake.count("HEAD"), 5, "attempts are bounded");
    // A wish beyond all bounds is refused at once.
    fake.state().script.canned = vec![canned("HEAD", 429, &[("Retry-After", "86400")], "")];
    assert_eq!(push().expect_err("busy").status(), Some(429));
}

#[test]
fn a_pull_survives_cut_connections() {
    let (fake, repository) = start(Script { cut_down: vec![10, 700_000, 0, 2 * MIB], ..Script::default() });
    pull(&fake, &repository, 5 * MIB);
    let ranges: Vec<_> = fake.state().seen.iter().filter_map(|s| s.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
}

#[test]
fn a_server_without_ranges_is_skipped_through() {
    let (fake, repository) =
        start(Script { cut_down: vec![10, 700_000, 2 * MIB], ignore_range: true, ..Script::default() });
    pull(&fake, &repository, 5 * MIB);
    let bytes = seeded(5 * MIB);
    let rest = read(repository.blob(&described(&bytes), 4_000_000).expect("open")).expect("pull");
    assert!(rest == bytes[4_000_000..]);
}

#[test]
fn a_pull_that_is_always_cut_ends() {
    let (fake, repository) = start(Script { cut_down: vec![10; 100], ..Script::default() });
    let bytes = seeded(MIB);
    fake.put_blob(&bytes);
    let error = read(repository.blob(&described(&bytes), 0).expect("open")).expect_err("cut");
    assert!(error.to_string().contains("breaks off"), "{error}");
}

#[test]
fn a_push_survives_cut_connections() {
    let (fake, repository) = start(Script { cut_up: vec![MIB, 2 * MIB], ..Script::default() });
    push(&fake, &repository, 6 * MIB);
    let ranges: Vec<_> =
        fake.state().seen.iter().filter_map(|s| s.header("content-range").map(str::to_owned)).collect();
    let end = 6 * MIB - 1;
    assert_eq!(ranges, [format!("{MIB}-{end}"), format!("{}-{end}", 3 * MIB)], "it goes on where it broke");
}

#[test]
fn a_push_whose_bytes_are_lost_begins_again() {
    let (fake, repository) = start(Script { cut_up: vec![MIB, 2 * MIB], forget_cut: true, ..Script::default() });
    push(&fake, &repository, 6 * MIB);
}

#[test]
fn large_bodies_that_are_refused_go_in_chunks() {
    let (fake, repository) = start(Script { max_body: Some(3 * MIB), chunk_min: Some(MIB), ..Script::default() });
    push(&fake, &repository, 9 * MIB);
    let largest = fake.state().seen.iter().map(|s| s.body).max();
    assert!(largest <= Some(3 * MIB), "{largest:?}");
}

#[test]
fn a_refusal_comes_before_the_bytes() {
    let size = 17 * MIB;
    let (fake, repository) = start(Script { max_body: Some(9 * MIB), ..Script::default() });
    assert_eq!(push(&fake, &repository, size), Pushed::Sent { bytes: size as u64 });
    assert!(fake.state().seen.iter().any(|s| s.header("expect") == Some("100-continue")));
}

#[test]
fn patch_that_is_refused_gives_way_to_put() {
    for status in [404, 405, 501, 400] {
        let (fake, repository) = start(Script { no_patch: Some(status), ..Script::default() });
        push(&fake, &repository, 3 * MIB);
    }
}

#[test]
fn chunks_that_are_refused_give_way_to_one_put() {
    for status in [405, 416, 400] {
        let script = Script { cut_up: vec![MIB], no_second_patch: Some(status), ..Script::default() };
        let (fake, repository) = start(script);
        push(&fake, &repository, 3 * MIB);
    }
}

#[test]
fn a_token_that_ends_in_the_middle_is_renewed() {
    let (fake, repository) = start(Script { token_uses: Some(2), max_body: Some(2 * MIB), ..Script::default() });
    push(&fake, &repository, 7 * MIB);
    assert!(fake.state().tokens >= 3, "{} tokens", fake.state().tokens);
    pull(&fake, &repository, MIB);
}

/// A repository whose credentials are in a file of this text.
fn with_auths(fake: &Fake, auth: &str) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("auth.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{}/team":{auth}}}}}"#, fake.host)).expect("write");
    let options = Options { auth_files: vec![file], retry: quick(), ..Options::default() };
    let repository = repository(&Client::new(options), &fake.host, "team/a");
    (dir, repository)
}

#[test]
fn a_token_service_hears_who_we_are_and_the_registry_does_not() {
    let fake = Fake::start(Script { token_uses: Some(99), ..Script::default() });
    // hone:pw
    let (_dir, repository) = with_auths(&fake, r#"{"auth":"aG9uZTpwdw=="}"#);
    push(&fake, &repository, 1000);
    let (_dir, repository) = with_auths(&fake, r#"{"auth":"","identitytoken":"a+b"}"#);
    push(&fake, &repository, 2000);
    let seen = fake.state().seen.clone();
    let (asked, others): (Vec<Seen>, Vec<Seen>) = seen.into_iter().partition(|s| s.target.starts_with("/token"));
    assert_eq!(asked[0].header("authorization"), Some("Basic aG9uZTpwdw=="));
    assert_eq!((asked[1].method.as_str(), asked[1].header("authorization")), ("POST", None));
    assert!(asked[1].form.contains("grant_type=refresh_token&refresh_token=a%2Bb"), "{}", asked[1].form);
    let bearer = |s: &Seen| s.header("authorization").is_none_or(|a| a.starts_with("Bearer "));
    assert!(others.iter().all(bearer));
}

#[test]
fn a_token_service_that_is_none_is_refused() {
    for realm in ["ftp://x/", "/token", "", "https://user:pw@x/"] {
        let question = format!("Bearer realm=\"{realm}\"");
        let script =
            Script { canned: vec![canned("HEAD", 401, &[("WWW-Authenticate", &question)], "")], ..Script::default() };
        let (_fake, repository) = start(script);
        let push = repository.push_blob(&described(b"x"), &opener(b"x"), &[], &mut |_| ());
        let error = push.expect_err("realm");
        assert!(error.to_string().contains("token service"), "{realm}: {error}");
    }
    let (fake, repository) = start(Script { token_uses: Some(9), ..Script::default() });
    fake.state().script.canned = vec![canned("GET /token", 200, &[], "{}"), canned("GET /token", 403, &[], "no")];
    let push = || repository.push_blob(&described(b"x"), &opener(b"x"), &[], &mut |_| ());
    assert!(push().expect_err("no token").to_string().contains("no usable token"));
    let error = push().expect_err("refused");
    assert!(error.status() == Some(403) && error.to_string().contains("docker login"), "{error}");
}

#[test]
fn threads_push_side_by_side() {
    // More uses than there are threads: a token that others always use up first is nobody's, and time ends real ones.
    let (fake, repository) = start(Script { token_uses: Some(15), ..Script::default() });
    std::thread::scope(|scope| {
        for size in [1, 1000, MIB, 2 * MIB, 3 * MIB] {
            let (fake, repository) = (&fake, &repository);
            scope.spawn(move || push(fake, repository, size));
        }
    });
}

#[test]
fn blobs_are_mounted_or_sent() {
    let bytes = seeded(2 * MIB);
    let blob = described(&bytes);
    for no_mount in [false, true] {
        let (fake, repository) = start(Script { no_mount, token_uses: Some(9), ..Script::default() });
        fake.state().blobs.insert(format!("other {}", blob.digest), bytes.clone());
        let pushed = repository.push_blob(&blob, &opener(&bytes), &["team/b"], &mut |_| ()).expect("push");
        let want = if no_mount { Pushed::Sent { bytes: blob.size } } else { Pushed::Mounted };
        assert_eq!(pushed, want);
        let asked = fake.state().seen.iter().any(|s| {
            s.target.starts_with("/token")
                && s.target.contains("team%2Fb%3Apull")
                && s.target.contains("team%2Fa%3Apull%2Cpush")
        });
        assert!(asked, "the token is for both repositories");
        if no_mount {
            let begun = |s: &&Seen| s.method == "POST" && s.header("authorization").is_some();
            let uploads = fake.state().seen.iter().filter(begun).count();
            assert_eq!(uploads, 1, "the upload that a refused mount begins is used");
        }
    }
}

#[test]
fn a_redirect_does_not_see_our_token() {
    let bytes = seeded(MIB);
    let storage = Fake::start(Script { cut_down: vec![1000], ..Script::default() });
    storage.state().files.insert("/signed".into(), bytes.clone());
    let redirect = Some(format!("http://{}/signed?sig=1", storage.host));
    let (fake, repository) = start(Script { token_uses: Some(99), redirect, ..Script::default() });
    pull(&fake, &repository, MIB);
    assert_eq!(storage.count("GET"), 2, "after a cut the registry is asked for a new address");
    assert!(storage.state().seen.iter().all(|s| s.header("authorization").is_none()));
    assert!(fake.state().seen.iter().any(|s| s.header("authorization").is_some()));
}

#[test]
fn a_redirect_to_no_web_address_is_refused() {
    for to in ["file:///etc/passwd", "ftp://x/", "//", ""] {
        let (fake, repository) = start(Script { redirect: Some(to.into()), ..Script::default() });
        fake.put_blob(b"x");
        let error = repository.blob(&described(b"x"), 0).expect_err("redirect");
        assert!(matches!(error, Error::Protocol { .. }), "{to}: {error}");
    }
    let own = Fake::start(Script::default());
    let around = format!("http://{}/v2/team/a/blobs/{}", own.host, Digest::of(b"x"));
    own.state().script.redirect = Some(around);
    own.put_blob(b"x");
    let error = repository(&client(), &own.host, "team/a").blob(&described(b"x"), 0).expect_err("round and round");
    assert!(error.to_string().contains("10 times"), "{error}");
}

#[test]
fn a_blob_of_another_size_is_refused() {
    let (fake, repository) = start(Script::default());
    let blob = described(b"12345");
    for other in [&b"1234"[..], b"123456"] {
        fake.state().blobs.insert(blob.digest.to_string(), other.to_vec());
        assert!(matches!(repository.blob(&blob, 0).expect_err("size"), Error::Protocol { .. }));
        let push = repository.push_blob(&blob, &opener(b"12345"), &[], &mut |_| ());
        assert!(matches!(push.expect_err("size"), Error::Protocol { .. }));
    }
    // A length that is not kept: the reader ends in an error, never short.
    let target = format!("GET /v2/team/a/blobs/{}", blob.digest);
    for _ in 0..9 {
        fake.state().script.canned.push(canned(&target, 200, &[("Content-Length", "5")], "123"));
    }
    assert!(read(repository.blob(&blob, 0).expect("open")).is_err());
}

#[test]
fn a_lie_about_a_digest_is_found() {
    let (fake, repository) = start(Script::default());
    let honest = br#"{"schemaVersion":2}"#;
    let digest = Digest::of(honest);
    fake.state().manifests.insert(digest.to_string(), (media::MANIFEST.into(), b"{}".to_vec()));
    assert!(matches!(repository.manifest(&digest.to_string()).expect_err("lie"), Error::Digest { .. }));
    let other = Digest::of(b"other").to_string();
    fake.state().script.canned = vec![
        canned("GET", 200, &[("Docker-Content-Digest", &other)], "{}"),
        canned("PUT", 201, &[("Docker-Content-Digest", &other)], ""),
    ];
    assert!(matches!(repository.manifest("v1").expect_err("lie"), Error::Digest { .. }));
    assert!(matches!(
        repository.push_manifest("v1", media::MANIFEST, honest).expect_err("lie"),
        Error::Digest { .. }
    ));
    let wrong = repository.push_manifest(&other, media::MANIFEST, honest);
    assert!(matches!(wrong.expect_err("our own mistake"), Error::Digest { .. }));
}

#[test]
fn documents_are_bounded() {
    let (fake, repository) = start(Script::default());
    fake.state().manifests.insert("v1".into(), (media::MANIFEST.into(), vec![b' '; 9 * MIB]));
    let error = repository.manifest("v1").expect_err("large");
    assert!(error.to_string().contains("more than 8388608 bytes"), "{error}");
    for target in ["", "../x", "a b", "sha256:00", "v1?x"] {
        assert!(matches!(repository.manifest(target).expect_err("name"), Error::Name { .. }), "{target}");
    }
}

#[test]
fn what_is_not_there_is_said_so() {
    let (_fake, repository) = start(Script::default());
    let error = repository.manifest("v1").expect_err("unknown").to_string();
    assert!(error.contains("404 MANIFEST_UNKNOWN: unknown; check the tag"), "{error}");
    assert_eq!(repository.blob(&described(b"x"), 0).expect_err("unknown").status(), Some(404));
}

#[test]
fn data_that_cannot_be_read_is_our_own_fault() {
    let (fake, repository) = start(Script::default());
    let bytes = seeded(3 * MIB);
    let short = |_| Ok(Box::new(std::io::Cursor::new(bytes[..MIB].to_vec())) as Box<dyn std::io::Read + Send>);
    let error = repository.push_blob(&described(&bytes), &short, &[], &mut |_| ()).expect_err("short");
    assert!(matches!(error, Error::Source { .. }), "{error}");
    assert_eq!(fake.count("PATCH"), 0, "it is not tried again");
}

#[test]
fn a_server_with_a_list_of_its_own_needs_no_tag() {
    let (fake, repository) = start(Script { referrers: true, ..Script::default() });
    let subject = Digest::of(b"s");
    let bytes = format!(r#"{{"schemaVersion":2,"subject":{{"mediaType":"m","digest":"{subject}","size":1}}}}"#);
    repository.push_manifest("v1", media::MANIFEST, bytes.as_bytes()).expect("push");
    assert_eq!(fake.count("PUT"), 1);
    assert_eq!(repository.referrers(subject).expect("list"), []);
}

#[test]
fn a_server_s_words_are_shown_escaped_and_cut() {
    let (fake, repository) = start(Script::default());
    let said = format!("\u{1b}]0;owned\u{7}\u{202e}{}", "x".repeat(60_000));
    let document = |code: &str| {
        let errors = vec![std::collections::BTreeMap::from([("code", code), ("message", &said)])];
        serde_json::to_string(&std::collections::BTreeMap::from([("errors", errors)])).expect("JSON")
    };
    for body in [document("DENIED"), document(&said), said.clone()] {
        fake.state().script.canned = vec![canned("GET", 403, &[], &body)];
        let shown = chain(&repository.manifest("v1").expect_err("refused"));
        assert!(!shown.contains(|c: char| c.is_control() || c == '\u{202e}') && shown.len() < 1000, "{shown}");
        assert!(shown.contains("owned"), "{shown}");
    }
}

#[test]
fn nobody_there_is_said_so() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("port").port();
    let repository = repository(&client(), &format!("127.0.0.1:{port}"), "a");
    let error = repository.manifest("v1").expect_err("nobody");
    assert!(matches!(error, Error::Unreachable { .. }));
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
}
