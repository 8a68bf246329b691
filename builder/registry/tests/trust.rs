//! Registries over TLS: which are believed, which are not, and what is said of those that nobody looked at.

#![allow(missing_docs)]

mod common;
#[path = "common/tls.rs"]
mod tls;

use std::path::Path;
use std::sync::Mutex;

use common::fake::{Fake, Script};
use common::quick;
use hone_contract::chain;
use hone_contract::digest::Digest;
use hone_image::media;
use hone_registry::{Client, Error, Options, Unverified};
use tls::{Door, dir};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

/// What was said of registries that are not verified, by all tests of this program: each has ports of its own.
static SAID: Mutex<Vec<(String, Unverified)>> = Mutex::new(Vec::new());

fn options() -> Options {
    let notice = |host: &str, what: Unverified| SAID.lock().expect("said").push((host.to_owned(), what));
    Options { retry: quick(), notice: Some(notice), ..Options::default() }
}

fn said(host: &str) -> Vec<Unverified> {
    SAID.lock().expect("said").iter().filter(|(h, _)| h == host).map(|(_, what)| *what).collect()
}

/// A registry with a manifest.
fn registry() -> Fake {
    let fake = Fake::start(Script::default());
    fake.state().manifests.insert("v1".into(), (media::MANIFEST.into(), MANIFEST.to_vec()));
    fake
}

fn pull(options: Options, host: &str) -> Result<Digest, Error> {
    let client = Client::new(options);
    let name = format!("{host}/team/a:v1").parse().expect("reference");
    // Twice, and by another repository of it: how it is reached is found out once.
    client.repository(&name)?.manifest("v1")?;
    Ok(client.repository(&name)?.manifest("v1")?.digest)
}

fn fails(options: Options, host: &str) -> String {
    chain(&pull(options, host).expect_err("not believed"))
}

fn own(dir: &Path) -> Options {
    Options { cert_dir: Some(dir.to_owned()), ..options() }
}

#[test]
fn localhost_is_asked_for_tls_first_and_is_believed_by_its_authority() {
    let registry = registry();
    let door = Door::before(&registry.host, false);
    let known = dir(&["ca.crt"]);
    for name in ["localhost", "127.0.0.1"] {
        let host = format!("{name}:{}", door.port);
        let error = fails(options(), &host);
        assert!(error.contains("UnknownIssuer") && error.contains("--cert-dir"), "{error}");
        assert_eq!(door.passed(), 0, "nothing is sent to one that is not believed, and nothing in the clear");
        assert_eq!(pull(own(known.path()), &host).expect("believed"), Digest::of(MANIFEST));
        assert_eq!(said(&host), []);
        assert_eq!(door.passed(), 3, "which way, and two manifests");
        door.forget();
    }
    // The twin, in the clear, as ever: no certificate is asked for.
    assert_eq!(pull(options(), &registry.host).expect("plain HTTP"), Digest::of(MANIFEST));
    assert_eq!(pull(own(known.path()), &registry.host).expect("plain HTTP"), Digest::of(MANIFEST));
    assert_eq!(said(&registry.host), []);
}

#[test]
fn a_server_whose_certificate_is_an_authority_is_believed_by_that_very_certificate() {
    let registry = registry();
    let door = Door::shows("alone.crt", &registry.host, false);
    let host = format!("localhost:{}", door.port);
    let named = dir(&["alone.crt"]);
    assert_eq!(pull(own(named.path()), &host).expect("believed"), Digest::of(MANIFEST));
    assert_eq!(said(&host), []);
    let places = tempfile::tempdir().expect("directory");
    std::fs::create_dir(places.path().join(&host)).expect("directory");
    std::fs::copy(tls::file("alone.crt"), places.path().join(&host).join("mine.crt")).expect("copy");
    let with = Options { cert_dirs: vec![places.path().to_owned()], ..options() };
    assert_eq!(pull(with, &host).expect("believed"), Digest::of(MANIFEST));
    door.forget();
    for (options, host, want) in [
        (options(), host.clone(), "that very one"),
        (own(dir(&["ca.crt", "expired.crt"]).path()), host.clone(), "CaUsedAsEndEntity"),
        (own(named.path()), format!("127.0.0.1:{}", door.port), "not valid for name"),
    ] {
        let error = fails(options, &host);
        assert!(error.contains(want) && error.contains("--cert-dir"), "{error}");
    }
    let expired = Door::shows("expired.crt", &registry.host, false);
    let error = fails(own(dir(&["expired.crt"]).path()), &format!("localhost:{}", expired.port));
    assert!(error.contains("expired"), "{error}");
    assert_eq!((door.passed(), expired.passed()), (0, 0));
}

#[test]
fn a_certificate_that_nobody_looks_at_is_said_once() {
    let registry = registry();
    let door = Door::before(&registry.host, false);
    for name in ["localhost", "0.0.0.0"] {
        let host = format!("{name}:{}", door.port);
        let named = Options { insecure: vec![host.clone()], ..options() };
        let other = Options { insecure: vec!["localhost:1".into()], ..options() };
        assert!(fails(other, &host).contains("UnknownIssuer"));
        for (number, options) in [Options { all_insecure: true, ..options() }, named].into_iter().enumerate() {
            assert_eq!(pull(options, &host).expect("any certificate"), Digest::of(MANIFEST));
            assert_eq!(said(&host), vec![Unverified::Certificate; number + 1]);
        }
    }
}

#[test]
fn plain_http_beyond_this_machine_is_for_insecure_registries_and_said() {
    let registry = registry();
    // This machine by a name that is not known to be its own.
    let host = registry.host.replace("127.0.0.1", "0.0.0.0");
    let error = fails(options(), &host);
    assert!(error.contains("--tls-verify=false"), "{error}");
    assert_eq!(registry.state().seen.len(), 0, "nothing in the clear");
    assert_eq!(pull(Options { all_insecure: true, ..options() }, &host).expect("plain"), Digest::of(MANIFEST));
    assert_eq!(said(&host), [Unverified::PlainHttp]);
}

#[test]
fn who_we_are_is_shown_by_a_certificate_where_it_is_asked_for() {
    let registry = registry();
    let door = Door::before(&registry.host, true);
    let host = format!("localhost:{}", door.port);
    let error = fails(own(dir(&["ca.crt"]).path()), &host);
    assert!(error.to_ascii_lowercase().contains("certificate"), "{error}");
    assert_eq!(registry.state().seen.len(), 0, "nothing in the clear either");
    let all = dir(&["ca.crt", "client.cert", "client.key"]);
    assert_eq!(pull(own(all.path()), &host).expect("known"), Digest::of(MANIFEST));
    // Whose own certificate is not looked at still wants to know who comes.
    let mine = dir(&["client.cert", "client.key"]);
    let blind = Options { all_insecure: true, ..own(mine.path()) };
    assert_eq!(pull(blind, &host).expect("known"), Digest::of(MANIFEST));
    // Half of a pair is an error before anything is sent.
    let before = door.passed();
    let error = fails(own(dir(&["ca.crt", "client.cert"]).path()), &host);
    assert!(error.contains("client.key"), "{error}");
    assert_eq!(door.passed(), before);
    assert!(fails(own(Path::new("/nowhere/at/all")), &host).contains("read certificates /nowhere/at/all"));
}

#[test]
fn a_registry_may_have_a_directory_of_its_own() {
    let registry = registry();
    let door = Door::before(&registry.host, false);
    let (places, none) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let host = format!("localhost:{}", door.port);
    std::fs::create_dir(places.path().join(&host)).expect("directory");
    std::fs::copy(tls::file("ca.crt"), places.path().join(&host).join("ca.crt")).expect("copy");
    let with = || Options { cert_dirs: vec![none.path().to_owned(), places.path().to_owned()], ..options() };
    assert_eq!(pull(with(), &host).expect("believed"), Digest::of(MANIFEST));
    assert!(fails(with(), &format!("127.0.0.1:{}", door.port)).contains("UnknownIssuer"), "it is of another name");
    // One for all registries is the only one.
    let only = Options { cert_dir: Some(none.path().to_owned()), ..with() };
    assert!(fails(only, &host).contains("UnknownIssuer"));
}
