//! A registry of a few hundred lines, in this process, that fails on demand.
//!
//! It keeps blobs, manifests and uploads in memory and speaks HTTP/1.1, a request a connection. A [`Script`]
//! says how it misbehaves; what it was asked is kept for the test to look at.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use hone_contract::digest::Digest;

use super::slow::{Drip, dripped};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: usize,
    /// The body of a form.
    pub form: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// An answer that is given instead of the right one.
#[derive(Debug, Clone, Default)]
pub struct Canned {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What goes wrong. Counters count down; 0 means that all is well.
#[derive(Default)]
pub struct Script {
    /// Answers for requests whose `METHOD target` starts with the text, each used once, in order.
    pub canned: Vec<(String, Canned)>,
    /// Blob answers cut after so many bytes, one each.
    pub cut_down: Vec<usize>,
    /// Upload bodies cut after so many bytes, one each; what came is kept.
    pub cut_up: Vec<usize>,
    /// Bodies of uploads are not read, for so long, and then the connection ends.
    pub stall_up: Option<std::time::Duration>,
    /// What came of a cut upload is lost.
    pub forget_cut: bool,
    /// `Range` is not looked at.
    pub ignore_range: bool,
    /// `Range` is refused: as one that no file has.
    pub refuse_range: bool,
    /// A 416 does not say how large the whole is.
    pub bare_416: bool,
    /// Right answers of which a part comes a byte at a time, one each.
    pub drips: Vec<Drip>,
    /// The words of every refusal come a byte at a time.
    pub drip_refusals: Option<std::time::Duration>,
    /// Largest body of a request.
    pub max_body: Option<usize>,
    /// `PATCH` is refused with this status: always, or at an offset.
    pub no_patch: Option<u16>,
    pub no_second_patch: Option<u16>,
    /// Blobs are at another address.
    pub redirect: Option<String>,
    /// Bearer tokens are asked for; each is good for so many requests.
    pub token_uses: Option<usize>,
    /// Who may do anything, as an `Authorization` says it: at the token service where there is one, else everywhere.
    pub basic: Option<String>,
    /// Where the token service is, if it is another one than this server.
    pub realm: Option<String>,
    /// Refuses to mount.
    pub no_mount: bool,
    /// `OCI-Subject` and the referrers API.
    pub referrers: bool,
    /// The least chunk that is announced.
    pub chunk_min: Option<usize>,
    pub etag: Option<String>,
    pub if_range: bool,
}

#[derive(Default)]
pub struct State {
    pub script: Script,
    pub blobs: HashMap<String, Vec<u8>>,
    pub manifests: HashMap<String, (String, Vec<u8>)>,
    pub files: HashMap<String, Vec<u8>>,
    pub uploads: HashMap<String, Vec<u8>>,
    pub seen: Vec<Seen>,
    pub tokens: usize,
    uses_left: HashMap<String, usize>,
}

#[derive(Clone)]
pub struct Fake {
    pub host: String,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// Listens on a free port until the process ends.
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let host = listener.local_addr().expect("address").to_string();
        let state = Arc::new(Mutex::new(State { script, ..State::default() }));
        let fake = Self { host, state };
        let serving = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let fake = serving.clone();
                std::thread::spawn(move || fake.serve(stream));
            }
        });
        fake
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("state")
    }

    pub fn put_blob(&self, bytes: &[u8]) {
        self.state().blobs.insert(Digest::of(bytes).to_string(), bytes.to_vec());
    }

    pub fn blob(&self, digest: Digest) -> Option<Vec<u8>> {
        self.state().blobs.get(&digest.to_string()).cloned()
    }

    /// How many requests of a method there were.
    pub fn count(&self, method: &str) -> usize {
        self.state().seen.iter().filter(|s| s.method == method).count()
    }

    fn serve(&self, stream: TcpStream) {
        // It speaks no TLS (RFC 8446: a handshake begins with 22), which it is asked for first.
        let mut first = [0];
        if stream.peek(&mut first).is_ok() && first == [22] {
            let _ = (&stream).read(&mut [0; 4096]);
            return send(&stream, 400, &[], b"", None);
        }
        let mut input = BufReader::new(stream.try_clone().expect("clone"));
        let Some(mut request) = head(&mut input) else { return };
        let length: usize = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        if request.header("expect").is_some() && self.state().script.max_body.is_none_or(|max| length <= max) {
            let _ = (&stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        // A proxy that refuses a body closes without reading it.
        if self.state().script.max_body.is_some_and(|max| length > max) {
            self.state().seen.push(request);
            send(&stream, 413, &[], b"", None);
            return;
        }
        let stalled = self.state().script.stall_up.filter(|_| length > 0);
        if let Some(stalled) = stalled {
            self.state().seen.push(request);
            return std::thread::sleep(stalled);
        }
        let cut = if length > 1 << 16 { take_first(&mut self.state().script.cut_up) } else { None };
        let mut body = vec![0; cut.unwrap_or(length).min(length)];
        if input.read_exact(&mut body).is_err() {
            return;
        }
        request.body = body.len();
        if request.header("content-type") == Some("application/x-www-form-urlencoded") {
            request.form = String::from_utf8_lossy(&body).into_owned();
        }
        self.state().seen.push(request.clone());
        if cut.is_some() {
            self.keep(&request, &body);
            return;
        }
        self.reply(&stream, &request, &body);
    }

    fn reply(&self, stream: &TcpStream, request: &Seen, body: &[u8]) {
        let (status, headers, answer, cut) = self.answer(request, body);
        let drip = match status {
            200 | 206 => take_first(&mut self.state().script.drips),
            400.. => self.state().script.drip_refusals.map(Drip::Body),
            _ => None,
        };
        if let Some(drip) = drip {
            return dripped(stream, status, &headers, &answer, drip);
        }
        let answer = if request.method == "HEAD" { (answer.len(), Vec::new()) } else { (answer.len(), answer) };
        respond(stream, status, &headers, answer, cut);
    }

    /// What came of an upload before its connection broke.
    fn keep(&self, request: &Seen, body: &[u8]) {
        let mut state = self.state();
        if state.script.forget_cut || request.method != "PATCH" {
            return;
        }
        let id = path_of(&request.target).rsplit('/').next().unwrap_or_default().to_owned();
        state.uploads.entry(id).or_default().extend_from_slice(body);
    }

    fn answer(&self, request: &Seen, body: &[u8]) -> Reply {
        let mut state = self.state();
        let line = format!("{} {}", request.method, request.target);
        if let Some(at) = state.script.canned.iter().position(|(start, _)| line.starts_with(start.as_str())) {
            let (_, canned) = state.script.canned.remove(at);
            return (canned.status, canned.headers, canned.body, None);
        }
        if let Some(refused) = state.who(request, &self.host) {
            return refused;
        }
        let path = path_of(&request.target).to_owned();
        if let Some(file) = state.files.get(&path).cloned() {
            return state.content(request, &file);
        }
        let parts: Vec<&str> = path.trim_start_matches("/v2/").split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", [""]) => simple(200, b"{}"),
            ("HEAD" | "GET", [.., "blobs", digest]) => state.get_blob(request, digest),
            ("POST", [.., "blobs", "uploads", ""]) => state.begin(request),
            ("GET", [.., "uploads", id]) => state.status(id),
            ("PATCH", [.., "uploads", id]) => state.patch(request, id, body),
            ("PUT", [.., "uploads", id]) => state.close(request, id, body),
            ("HEAD" | "GET", [.., "manifests", target]) => state.get_manifest(target),
            ("PUT", [.., "manifests", target]) => state.put_manifest(request, target, body),
            ("GET", [.., "referrers", _]) if state.script.referrers => simple(200, br#"{"manifests":[]}"#),
            _ => simple(404, b""),
        }
    }
}

type Reply = (u16, Vec<(String, String)>, Vec<u8>, Option<usize>);

fn simple(status: u16, body: &[u8]) -> Reply {
    (status, Vec::new(), body.to_vec(), None)
}

fn with(status: u16, headers: &[(&str, String)]) -> Reply {
    (status, headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(), Vec::new(), None)
}

impl State {
    /// Takes a token that another server gave.
    pub fn trust(&mut self, token: &str) {
        self.uses_left.insert(format!("Bearer {token}"), usize::MAX);
    }

    /// The token service, and the question for a token.
    fn who(&mut self, request: &Seen, host: &str) -> Option<Reply> {
        let unknown = self.script.basic.as_deref().is_some_and(|want| request.header("authorization") != Some(want));
        let Some(uses) = self.script.token_uses else {
            let question = ("WWW-Authenticate", "Basic realm=\"fake\"".to_owned());
            return unknown.then(|| with(401, &[question]));
        };
        if request.target.starts_with("/token") && unknown {
            return Some(simple(401, br#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong"}]}"#));
        }
        if request.target.starts_with("/token") {
            self.tokens += 1;
            self.uses_left.insert(format!("Bearer t{}", self.tokens), uses);
            return Some(simple(200, format!(r#"{{"token":"t{}","expires_in":3600}}"#, self.tokens).as_bytes()));
        }
        let left = request.header("authorization").and_then(|token| self.uses_left.get_mut(token));
        if let Some(left) = left.filter(|left| **left > 0) {
            *left -= 1;
            return None;
        }
        let own = || format!("http://{host}/token");
        let question = format!("Bearer realm=\"{}\",service=\"fake\"", self.script.realm.clone().unwrap_or_else(own));
        Some(with(401, &[("WWW-Authenticate", question)]))
    }

    fn get_blob(&mut self, request: &Seen, digest: &str) -> Reply {
        let Some(blob) = self.blobs.get(digest).cloned() else { return simple(404, b"") };
        if let Some(to) = self.script.redirect.clone() {
            return with(307, &[("Location", to)]);
        }
        self.content(request, &blob)
    }

    fn content(&mut self, request: &Seen, all: &[u8]) -> Reply {
        let mut headers = Vec::new();
        if let Some(etag) = &self.script.etag {
            headers.push(("ETag".to_owned(), etag.clone()));
        }
        let cut = if request.method == "GET" { take_first(&mut self.script.cut_down) } else { None };
        let start = request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let same = request.header("if-range").is_none_or(|v| Some(v) == self.script.etag.as_deref());
        match start {
            // As nginx, Go's net/http, Apache and S3 answer.
            Some(start) if !self.script.ignore_range && same && (start >= all.len() || self.script.refuse_range) => {
                if !self.script.bare_416 {
                    headers.push(("Content-Range".into(), format!("bytes */{}", all.len())));
                }
                (416, headers, Vec::new(), None)
            }
            Some(start) if !self.script.ignore_range && same => {
                headers.push(("Content-Range".into(), format!("bytes {start}-{}/{}", all.len() - 1, all.len())));
                (206, headers, all[start..].to_vec(), cut)
            }
            _ => (200, headers, all.to_vec(), cut),
        }
    }

    fn begin(&mut self, request: &Seen) -> Reply {
        let query = request.target.split_once('?').map_or("", |(_, q)| q);
        if let Some(digest) = query.strip_prefix("mount=").and_then(|q| q.split('&').next())
            && !self.script.no_mount
            && self.blobs.contains_key(&format!("other {digest}"))
        {
            let blob = self.blobs[&format!("other {digest}")].clone();
            self.blobs.insert(digest.to_owned(), blob);
            return with(201, &[]);
        }
        let id = format!("u{}", self.uploads.len());
        self.uploads.insert(id.clone(), Vec::new());
        let mut headers = vec![("Location", format!("/v2/x/blobs/uploads/{id}?s=0"))];
        if let Some(least) = self.script.chunk_min {
            headers.push(("OCI-Chunk-Min-Length", least.to_string()));
        }
        with(202, &headers)
    }

    fn range(&self, id: &str) -> (&'static str, String) {
        ("Range", format!("0-{}", self.uploads[id].len().saturating_sub(1)))
    }

    fn status(&self, id: &str) -> Reply {
        if !self.uploads.contains_key(id) {
            return simple(404, br#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#);
        }
        with(204, &[self.range(id), ("Location", format!("/v2/x/blobs/uploads/{id}?s=9"))])
    }

    fn patch(&mut self, request: &Seen, id: &str, body: &[u8]) -> Reply {
        if let Some(status) = self.script.no_patch {
            return simple(status, b"");
        }
        let Some(upload) = self.uploads.get_mut(id) else { return simple(404, b"") };
        let start = request.header("content-range").and_then(|r| r.split('-').next()?.parse().ok()).unwrap_or(0);
        if start > 0
            && let Some(status) = self.script.no_second_patch
        {
            return simple(status, b"");
        }
        if start != upload.len() {
            return with(416, &[self.range(id)]);
        }
        upload.extend_from_slice(body);
        with(202, &[self.range(id), ("Location", format!("/v2/x/blobs/uploads/{id}?s=1"))])
    }

    fn close(&mut self, request: &Seen, id: &str, body: &[u8]) -> Reply {
        let Some(mut blob) = self.uploads.remove(id) else { return simple(404, b"") };
        blob.extend_from_slice(body);
        let want = request.target.rsplit_once("digest=").map_or("", |(_, d)| d).replace("%3A", ":");
        if Digest::of(&blob).to_string() != want {
            return simple(400, br#"{"errors":[{"code":"DIGEST_INVALID","message":"no match"}]}"#);
        }
        self.blobs.insert(want, blob);
        with(201, &[])
    }

    fn get_manifest(&self, target: &str) -> Reply {
        let Some((media_type, bytes)) = self.manifests.get(target) else {
            return simple(404, br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#);
        };
        (200, vec![("Content-Type".into(), media_type.clone())], bytes.clone(), None)
    }

    fn put_manifest(&mut self, request: &Seen, target: &str, body: &[u8]) -> Reply {
        let media_type = request.header("content-type").unwrap_or_default().to_owned();
        self.manifests.insert(Digest::of(body).to_string(), (media_type.clone(), body.to_vec()));
        self.manifests.insert(target.to_owned(), (media_type, body.to_vec()));
        let mut headers = vec![("Docker-Content-Digest", Digest::of(body).to_string())];
        if self.script.referrers {
            headers.push(("OCI-Subject", "x".into()));
        }
        with(201, &headers)
    }
}

fn take_first<T>(list: &mut Vec<T>) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(0))
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

fn head(input: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Seen { method, target, headers, body: 0, form: String::new() })
}

fn send(stream: &TcpStream, status: u16, headers: &[(String, String)], body: &[u8], cut: Option<usize>) {
    respond(stream, status, headers, (body.len(), body.to_vec()), cut);
}

/// Writes an answer; `cut` bytes of its body, where that is said. Errors are the client's going away.
fn respond(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: (usize, Vec<u8>),
    cut: Option<usize>,
) {
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length")) && status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", body.0));
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let end = cut.unwrap_or(body.1.len()).min(body.1.len());
    let _ = stream.write_all(&body.1[..end]);
    let _ = stream.flush();
}
