//! A door that speaks TLS before a registry that does not: one request a connection, passed on whole.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// The certificates of these tests (`make.sh` there).
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../registry/tests/tls").join(name)
}

/// A directory with some of them, as a user would lay them.
pub fn dir(names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("directory");
    for name in names {
        std::fs::copy(file(name), dir.path().join(name)).expect("copy");
    }
    dir
}

pub struct Door {
    pub port: u16,
    passed: Arc<AtomicUsize>,
}

impl Door {
    /// A door before `host`; `known`: it asks who comes.
    pub fn before(host: &str, known: bool) -> Self {
        Self::shows("server.cert", host, known)
    }

    /// The same with another certificate.
    pub fn shows(certificate: &str, host: &str, known: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("address").port();
        let (config, host, passed) =
            (Arc::new(config(certificate, known)), host.to_owned(), Arc::new(AtomicUsize::new(0)));
        let count = passed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, host, count) = (config.clone(), host.clone(), count.clone());
                std::thread::spawn(move || pass(stream, config, &host, &count));
            }
        });
        Self { port, passed }
    }

    /// Requests that came through.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    /// Counts from the beginning.
    pub fn forget(&self) {
        self.passed.store(0, Ordering::SeqCst);
    }
}

fn config(certificate: &str, known: bool) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_file(file(certificate)).expect("certificate")];
    let key = PrivateKeyDer::from_pem_file(file(certificate).with_extension("key")).expect("key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.expect("versions");
    let builder = if known {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.crt")).expect("certificate")).expect("root");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.expect("verifier"))
    } else {
        builder.with_no_client_auth()
    };
    builder.with_single_cert(chain, key).expect("a server")
}

/// Passes a request on and its answer back; errors are the client's going away.
fn pass(stream: TcpStream, config: Arc<ServerConfig>, host: &str, count: &AtomicUsize) {
    let connection = ServerConnection::new(config).expect("connection");
    let mut outside = StreamOwned::new(connection, stream);
    let Ok(request) = request(&mut outside) else { return };
    count.fetch_add(1, Ordering::SeqCst);
    let mut inside = TcpStream::connect(host).expect("the registry");
    let mut answer = Vec::new();
    let _ = inside.write_all(&request).and_then(|()| inside.read_to_end(&mut answer));
    let _ = outside.write_all(&answer);
    outside.conn.send_close_notify();
    let _ = outside.flush();
}

fn request(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body)?;
    bytes.extend(body);
    Ok(bytes)
}
