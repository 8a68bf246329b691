//! What a docker daemon, or whoever listens in its place, answers on its socket.
//!
//! The first byte chooses the question: `l` for the answer to `docker load`; else for the keeper's two questions about a
//! container, whose answers a byte of zeros parts.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, OnceLock};

use hone_contract::run::Engine;
use hone_keeper::engine::image_of;
use libfuzzer_sys::fuzz_target;

/// The container that is asked for.
const ID: &str = "0123456789abcdef";

/// What the daemon says to the next ones who ask, the first last.
static ANSWERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Listens once for all runs; gives its address.
fn daemon() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let dir = tempfile::tempdir().expect("directory").keep();
        let path = dir.join("docker.sock");
        let listener = UnixListener::bind(&path).expect("listen");
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(&stream)));
        format!("unix://{}", path.display())
    })
}

fn answer(mut stream: &UnixStream) {
    let (mut request, mut part) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
            _ => break,
        }
    }
    let said = ANSWERS.lock().expect("answers").pop().unwrap_or_default();
    // Who has heard enough may have gone.
    let _ = stream.write_all(&said).and_then(|()| stream.shutdown(Shutdown::Both));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    if *kind == b'l' {
        if let Ok(Some(said)) = hone_docker::Answer::parse(bytes).map(|answer| answer.refusal()) {
            assert!(said.len() <= bytes.len() + 20);
        }
        return;
    }
    let host = daemon();
    *ANSWERS.lock().expect("answers") = bytes.rsplitn(2, |b| *b == 0).map(<[u8]>::to_vec).collect();
    match image_of(&Engine::Docker { host: host.into() }, ID) {
        Ok(Some(image)) => assert!(image.reference.len() <= bytes.len() + 100),
        Ok(None) => panic!("docker was asked"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
