//! The ways out of this machine: certificates of a private authority, and proxies.

#![allow(missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use common::distribution::Distribution;
use common::fake::{Fake, Script};
use common::{again, client, quick, read, repository, seeded, skipped};
use hone_contract::chain;
use hone_registry::{Client, Error, Options};

/// An authority of our own (`ca.pem`), and its certificate for 127.0.0.1; `None` where there is no openssl, which in CI is a failure.
fn certificate(dir: &std::path::Path) -> Option<()> {
    let leaf = "[req]\ndistinguished_name=n\nx509_extensions=e\n[n]\n[e]\n\
                basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n";
    std::fs::write(dir.join("leaf.cnf"), leaf).expect("configuration");
    let make = |arguments: &str| {
        let common = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        let mut openssl = Command::new("openssl");
        openssl.args(common.split(' ')).args(arguments.split(' ')).current_dir(dir).stderr(Stdio::null());
        openssl.status().is_ok_and(|status| status.success())
    };
    let made = make("-subj /CN=authority -keyout ca.key -out ca.pem")
        && make("-subj /CN=registry -config leaf.cnf -CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem");
    if !made {
        skipped("needs an openssl 3 that makes a certificate");
    }
    made.then_some(())
}

#[test]
fn a_private_authority_is_trusted_when_named() {
    if let Ok(url) = std::env::var("HONE_TEST_URL") {
        let body = read(client().download(&url).expect("url").open(0).expect("open")).expect("read");
        assert_eq!(body, b"{}");
        return;
    }
    let dir = tempfile::tempdir().expect("directory");
    if certificate(dir.path()).is_none() {
        return;
    }
    let Some(registry) = Distribution::start_tls(dir.path()) else { return };
    let url = format!("https://{}/v2/", registry.host);
    let authority = dir.path().join("ca.pem");
    again(
        "a_private_authority_is_trusted_when_named",
        &[("HONE_TEST_URL", url.as_ref()), ("SSL_CERT_FILE", authority.as_ref())],
    );
    // Without it: refused, at once, with the way out.
    let error = client().download(&url).expect("url").open(0).expect_err("unknown authority");
    assert!(matches!(error, Error::Unreachable { .. }), "{}", chain(&error));
    assert!(error.to_string().contains("a certificate that this machine trusts"), "{}", chain(&error));
    // A registry of this machine is asked for TLS, too, and then for nothing else.
    let unknown = repository(&client(), &registry.host, "a").manifest("x").expect_err("unknown authority");
    assert!(unknown.to_string().contains("--cert-dir"), "{}", chain(&unknown));
    let certificates = tempfile::tempdir().expect("directory");
    std::fs::copy(&authority, certificates.path().join("ca.crt")).expect("copy");
    let options = Options { cert_dir: Some(certificates.path().to_owned()), retry: quick(), ..Options::default() };
    let known = repository(&Client::new(options), &registry.host, "a");
    assert_eq!(known.manifest("x").expect_err("believed, and empty").status(), Some(404));
}

#[test]
fn tls_to_a_server_without_it_is_said_so() {
    let Some(registry) = Distribution::start(false) else { return };
    let error = client().download(&format!("https://{}/m", registry.host)).expect("url").open(0).expect_err("no TLS");
    assert!(error.to_string().contains("write http://"), "{}", chain(&error));
}

/// A proxy that sends every `CONNECT` to one host, and keeps what it was asked.
fn proxy(host: String) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("address").to_string();
    let (asked, asks) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut input = BufReader::new(client.try_clone().expect("clone"));
            asked.send(request(&mut input)).expect("keep");
            (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("answer");
            let server = TcpStream::connect(&host).expect("connect");
            let (mut up, mut from_server) = (server.try_clone().expect("clone"), server);
            std::thread::spawn(move || std::io::copy(&mut input, &mut up));
            let mut down = client;
            std::thread::spawn(move || std::io::copy(&mut from_server, &mut down));
        }
    });
    (address, asks)
}

/// A proxy that lets nobody through, and keeps what it was asked.
fn refusing_proxy() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("address").to_string();
    let (asked, asks) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            asked.send(request(&mut BufReader::new(&client))).expect("keep");
            (&client).write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").expect("answer");
        }
    });
    (address, asks)
}

/// The first line of a request, whose head is read to its end.
fn request(input: &mut impl BufRead) -> String {
    let mut first = String::new();
    input.read_line(&mut first).expect("request");
    let mut line = String::new();
    while input.read_line(&mut line).is_ok_and(|n| n > 2) {
        line.clear();
    }
    first.trim_end().to_owned()
}

#[test]
fn a_proxy_is_used_but_for_this_machine() {
    if let Ok(urls) = std::env::var("HONE_TEST_URL") {
        for url in urls.split(' ') {
            let body = read(client().download(url).expect("url").open(0).expect("open")).expect("read");
            assert!(body == seeded(1000));
        }
        return;
    }
    let fake = Fake::start(Script::default());
    fake.state().files.insert("/m".into(), seeded(1000));
    let (address, asks) = proxy(fake.host.clone());
    let urls = format!("http://models.invalid/m http://{}/m", fake.host);
    let proxy = format!("http://{address}");
    again(
        "a_proxy_is_used_but_for_this_machine",
        &[("HONE_TEST_URL", urls.as_ref()), ("HTTP_PROXY", proxy.as_ref())],
    );
    assert_eq!(asks.try_iter().collect::<Vec<_>>(), ["CONNECT models.invalid:80 HTTP/1.1"]);
}

/// An address that is this machine's and is not known to be: without a proxy, nobody answers there, at once.
const NOBODY: &str = "0.0.0.0:9";

#[test]
fn a_proxy_is_that_of_the_scheme() {
    if let Ok(url) = std::env::var("HONE_TEST_URL") {
        let error = client().download(&url).expect("url").open(0).expect_err("nobody");
        assert!(matches!(error, Error::Unreachable { .. }), "{}", chain(&error));
        return;
    }
    let (address, asks) = refusing_proxy();
    let (proxy, elsewhere) = (format!("http://{address}"), "http://0.0.0.0:9".to_owned());
    for (set, http, https) in [
        (&["HTTP_PROXY"][..], true, false),
        (&["http_proxy"], true, false),
        (&["HTTPS_PROXY"], false, true),
        (&["https_proxy"], false, true),
        (&["ALL_PROXY"], true, true),
        (&["all_proxy"], true, true),
        (&["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"], false, false),
        (&["ALL_PROXY", "no_proxy"], false, false),
        (&["ALL_PROXY", "HTTP_PROXY=elsewhere"], false, true),
        (&["ALL_PROXY", "HTTPS_PROXY=elsewhere"], true, false),
    ] {
        for (scheme, wanted) in [("http", http), ("https", https)] {
            let url = format!("{scheme}://{NOBODY}/m");
            let mut environment = vec![("HONE_TEST_URL", url.as_ref())];
            environment.extend(set.iter().map(|name| match name.split_once('=') {
                Some((name, _)) => (name, elsewhere.as_ref()),
                None if name.eq_ignore_ascii_case("no_proxy") => (*name, "example.com,0.0.0.0".as_ref()),
                None => (*name, proxy.as_ref()),
            }));
            again("a_proxy_is_that_of_the_scheme", &environment);
            let asked: Vec<_> = asks.try_iter().collect();
            let want = wanted.then(|| format!("CONNECT {NOBODY} HTTP/1.1"));
            assert_eq!(asked, Vec::from_iter(want), "{set:?}, {scheme}");
        }
    }
}

#[test]
fn a_proxy_that_is_none_is_said_so() {
    if std::env::var("HTTP_PROXY").is_ok_and(|proxy| proxy == "gopher://x") {
        let error = client().download("http://models.invalid/m").expect("url").open(0).expect_err("no proxy");
        assert!(error.to_string().contains("check the proxy's settings"), "{}", chain(&error));
        return;
    }
    again("a_proxy_that_is_none_is_said_so", &[("HTTP_PROXY", "gopher://x".as_ref())]);
}
