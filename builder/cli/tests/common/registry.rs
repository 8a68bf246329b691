//! A registry in this process that takes and gives what it is asked: as much of distribution-spec as a push and a pull
//! need. How registries misbehave is tested in `builder/registry`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use hone_contract::Digest;

/// What is in it; names as in a request (`a/b/manifests/tag`, `blobs/sha256:...`).
#[derive(Default)]
pub struct State {
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    pub blobs: HashMap<String, Vec<u8>>,
    /// Methods and targets, in order.
    pub seen: Vec<String>,
    /// What a request must say of who sends it (`Basic ...`).
    pub basic: Option<String>,
    /// Uploads are refused with 403.
    pub read_only: bool,
}

#[derive(Clone)]
pub struct Registry {
    pub host: String,
    state: Arc<Mutex<State>>,
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

impl Registry {
    /// Listens on a free port until the process ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let host = listener.local_addr().expect("address").to_string();
        let registry = Self { host, state: Arc::default() };
        let serving = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let registry = serving.clone();
                std::thread::spawn(move || registry.serve(&stream));
            }
        });
        registry
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("state")
    }

    /// Which tags a repository has, sorted.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let start = format!("{repository}/manifests/");
        let state = self.state();
        let names = state.manifests.keys().filter_map(|name| name.strip_prefix(&start));
        let mut tags: Vec<String> = names.filter(|tag| !tag.contains(':')).map(str::to_owned).collect();
        tags.sort();
        tags
    }

    fn serve(&self, mut stream: &TcpStream) {
        if speaks_tls(stream) {
            return;
        }
        let mut input = BufReader::new(stream.try_clone().expect("clone"));
        let (mut line, mut length, mut kind, mut who) = (String::new(), 0, String::new(), String::new());
        if input.read_line(&mut line).is_err() {
            return;
        }
        loop {
            let mut header = String::new();
            if input.read_line(&mut header).is_err() || header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().expect("length"),
                "authorization" => who = value.trim().to_owned(),
                "content-type" => kind = value.trim().to_owned(),
                "expect" => drop(stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if input.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let unknown = self.state().basic.as_ref().is_some_and(|want| *want != who);
        let (status, headers, bytes) = match unknown {
            true => (401, vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())], Vec::new()),
            false => self.state().answer(method, target, kind, body),
        };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", bytes.len());
        let body: &[u8] = if method == "HEAD" { &[] } else { &bytes };
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }
}

impl State {
    fn answer(&mut self, method: &str, target: &str, kind: String, body: Vec<u8>) -> Answer {
        self.seen.push(format!("{method} {target}"));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let name = path.trim_start_matches("/v2/").to_owned();
        let blob = path.rsplit('/').next().unwrap_or_default().to_owned();
        let found = |bytes: Option<&Vec<u8>>| match bytes {
            Some(bytes) => (200, Vec::new(), bytes.clone()),
            None => (404, Vec::new(), Vec::new()),
        };
        match method {
            "GET" | "HEAD" if path.contains("/manifests/") => match self.manifests.get(&name) {
                Some((kind, bytes)) => (200, vec![("Content-Type", kind.clone())], bytes.clone()),
                None => (404, Vec::new(), Vec::new()),
            },
            "GET" if path == "/v2/" => (200, Vec::new(), b"{}".to_vec()),
            "GET" | "HEAD" if path.contains("/blobs/") => found(self.blobs.get(&blob)),
            "POST" | "PATCH" | "PUT" if self.read_only => (403, Vec::new(), Vec::new()),
            "POST" => {
                let id = format!("{path}u{}", self.seen.len());
                self.blobs.insert(id.clone(), Vec::new());
                (202, vec![("Location", id)], Vec::new())
            }
            "PATCH" => {
                let upload = self.blobs.entry(path.to_owned()).or_default();
                upload.extend(body);
                let range = format!("0-{}", upload.len().saturating_sub(1));
                (202, vec![("Location", path.to_owned()), ("Range", range)], Vec::new())
            }
            "PUT" if path.contains("/manifests/") => self.put_manifest(name, kind, body),
            "PUT" => {
                let mut blob = self.blobs.remove(path).unwrap_or_default();
                blob.extend(body);
                let want = query.rsplit_once("digest=").map_or("", |(_, digest)| digest).replace("%3A", ":");
                assert_eq!(Digest::of(&blob).to_string(), want);
                self.blobs.insert(want, blob);
                (201, Vec::new(), Vec::new())
            }
            _ => (404, Vec::new(), Vec::new()),
        }
    }

    fn put_manifest(&mut self, name: String, kind: String, body: Vec<u8>) -> Answer {
        let digest = Digest::of(&body).to_string();
        let by_digest = format!("{}/{digest}", name.rsplit_once('/').map_or("", |(start, _)| start));
        self.manifests.insert(by_digest, (kind.clone(), body.clone()));
        self.manifests.insert(name, (kind, body));
        (201, vec![("Docker-Content-Digest", digest)], Vec::new())
    }
}

/// A registry of this machine is asked for TLS first (RFC 8446: a handshake begins with 22), which this one has not.
fn speaks_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    stream.peek(&mut first).is_ok() && first == [22]
}
