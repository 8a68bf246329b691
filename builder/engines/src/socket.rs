//! `docker load` over the daemon's own socket, for the one call that a device makes again and again: each version that a
//! training run commits. The command line takes longer to start than docker takes to load a version.
//!
//! Used where `docker` itself would use a socket of this machine. Everything else (contexts, ssh, TLS, headers that
//! a user's configuration adds), and a socket that does not answer, is the command line's, whose words the user knows.

use std::ffi::OsString;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::context::{Client, Env, set};
use crate::error::Error;
use crate::watch::Patience;

/// Where docker listens when nobody says otherwise.
const DEFAULT: &str = "/var/run/docker.sock";
/// The request: an archive of unknown length, and an answer without progress (Engine API, ImageLoad).
const REQUEST: &str = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nUser-Agent: hone\r\nConnection: close\r\n\
    Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Bytes sent in one chunk.
const CHUNK: usize = 256 << 10;
/// Longest answer read (bytes): a line for each image, or an error.
const MAX_ANSWER: u64 = 1 << 20;
/// How long the daemon may take to let somebody in.
const CONNECT: Duration = Duration::from_secs(10);
/// Header fields of an answer, at most.
const MAX_FIELDS: usize = 64;

/// A daemon that was reached.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    stream: UnixStream,
    patience: Patience,
}

/// A daemon that neither takes nor says anything.
#[derive(Debug, thiserror::Error)]
#[error("it {what} for {} seconds; does it hang?", quiet.as_secs())]
struct Silent {
    what: &'static str,
    quiet: Duration,
}

impl Silent {
    /// In place of an error that only says that time is up.
    fn instead(what: &'static str, quiet: Duration) -> impl Fn(io::Error) -> io::Error {
        move |error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                io::Error::new(io::ErrorKind::TimedOut, Self { what, quiet })
            }
            _ => error,
        }
    }
}

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not HTTP")]
struct NotHttp;

impl Socket {
    /// The daemon at `host`, else the one that the user's own `docker` talks to. `None` when that is not a socket of this
    /// machine that answers. `env` looks a variable up.
    pub(crate) fn reach(host: Option<&str>, env: Env<'_>) -> Option<Self> {
        let path = address(host, env)?;
        let stream = connect(&path, CONNECT).ok()?;
        Some(Self { path, stream, patience: Patience::usual() })
    }

    /// Loads the archive that `write` produces.
    ///
    /// When both fail the cause wins, as with a program: docker's own words when it stopped reading, else why writing
    /// ended early; then docker sees the request cut off, and keeps nothing of it.
    pub(crate) fn load(self, write: impl FnOnce(&mut dyn Write) -> Result<(), Error>) -> Result<(), Error> {
        let failed = |source| Error::Socket { path: self.path.clone(), source };
        let quiet = self.patience.quiet();
        self.stream.set_write_timeout(Some(quiet)).map_err(failed)?;
        let to = To { stream: &self.stream, quiet };
        let mut body = BufWriter::with_capacity(CHUNK, Chunked { to, sent: 0 });
        let mut bytes = 0;
        let sent = to.all(REQUEST.as_bytes()).map_err(failed).and_then(|()| {
            write(&mut body)?;
            body.flush().and_then(|()| to.all(b"0\r\n\r\n")).map_err(failed)?;
            bytes = body.get_ref().sent;
            Ok(())
        });
        if let Err(error) = &sent
            && !hung_up(error)
        {
            return sent;
        }
        let mut answer = Vec::new();
        // A daemon that hung up may have said why before.
        let read = self.answer(self.patience.clone().storing(bytes).quiet(), &mut answer);
        match (outcome(&answer), sent) {
            (Ok(None), Ok(())) => read.map_err(failed),
            (Ok(Some(said)), _) => Err(Error::Refused { path: self.path.clone(), said }),
            (_, Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(failed(read.err().unwrap_or(error))),
        }
    }

    /// Reads to the end of the answer, which comes when everything is stored: all of it within `bound`, not only each
    /// byte.
    fn answer(&self, bound: Duration, answer: &mut Vec<u8>) -> io::Result<()> {
        let (end, mut part) = (Instant::now() + bound, vec![0; 16 << 10]);
        while (answer.len() as u64) < MAX_ANSWER {
            // Nought would be no bound.
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left))?;
            let what = if answer.is_empty() { "gave no answer" } else { "gave no whole answer" };
            match (&self.stream).read(&mut part) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) if Instant::now() > end => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, Silent { what, quiet: bound }));
                }
                got => match got.map_err(Silent::instead(what, bound))? {
                    0 => return Ok(()),
                    got => answer.extend_from_slice(&part[..got]),
                },
            }
        }
        Ok(())
    }
}

/// Connects within a bound: a daemon that hangs lets nobody in once its queue is full, and the kernel waits for it.
fn connect(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let (sender, receiver) = channel();
    let path = path.to_owned();
    // The thread is left to itself where nobody answers; it has nothing but this.
    thread::spawn(move || sender.send(UnixStream::connect(path)));
    receiver.recv_timeout(within).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn hung_up(error: &Error) -> bool {
    let (Error::Layer { source, .. } | Error::Socket { source, .. }) = error else { return false };
    matches!(source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Where `docker` would go, when that is a socket and nothing more than that.
fn address(host: Option<&str>, env: Env<'_>) -> Option<PathBuf> {
    let client = Client::read(env).ok().filter(|client| !client.has_headers)?;
    let said = host.map(OsString::from).or_else(|| set(env, "DOCKER_HOST"));
    if let Some(said) = said {
        return said.to_str()?.strip_prefix("unix://").map(PathBuf::from);
    }
    client.context.is_none().then(|| PathBuf::from(DEFAULT))
}

/// The way to the daemon, which fails once it takes nothing for too long.
#[derive(Clone, Copy)]
struct To<'a> {
    stream: &'a UnixStream,
    quiet: Duration,
}

impl To<'_> {
    fn all(mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).map_err(Silent::instead("took nothing", self.quiet))
    }
}

/// A body of unknown length (RFC 9112, 7.1): each write is a chunk.
struct Chunked<'a> {
    to: To<'a>,
    sent: u64,
}

impl Write for Chunked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A chunk of nothing would be the last.
        if !bytes.is_empty() {
            self.to.all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
            self.to.all(bytes)?;
            self.to.all(b"\r\n")?;
            self.sent += bytes.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an answer to ImageLoad says: nothing when docker has the image, else why it does not have it.
///
/// # Errors
/// When it is no answer.
pub fn outcome(answer: &[u8]) -> io::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Line {
        /// Of a body that began well (Engine API, JSONMessage).
        error: Option<String>,
        /// Of a status that is not 200.
        message: Option<String>,
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(at)) = head.parse(answer) else { return Err(io::Error::other(NotHttp)) };
    let status = head.code.unwrap_or_default();
    let chunked = head
        .headers
        .iter()
        .any(|f| f.name.eq_ignore_ascii_case("transfer-encoding") && f.value.eq_ignore_ascii_case(b"chunked"));
    let body = if chunked { joined(&answer[at..])? } else { answer[at..].to_vec() };
    let lines = serde_json::Deserializer::from_slice(&body).into_iter::<Line>();
    let said = lines.map_while(Result::ok).find_map(|line| line.error.or(line.message));
    match (status, said) {
        (200, said) => Ok(said),
        (_, Some(said)) => Ok(Some(said)),
        (_, None) => Ok(Some(format!("status {status}"))),
    }
}

/// The chunks of a body, put together; one that is cut off is an answer cut off.
fn joined(mut chunks: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(chunks) else {
            return Err(io::Error::other(NotHttp));
        };
        if size == 0 {
            return Ok(body);
        }
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size));
        let chunk = end.and_then(|end| Some((chunks.get(at..end)?, chunks.get(end..)?.strip_prefix(b"\r\n")?)));
        let Some((bytes, rest)) = chunk else { return Err(io::Error::other(NotHttp)) };
        body.extend_from_slice(bytes);
        chunks = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn at(host: Option<&str>, vars: &[(&str, &str)]) -> Option<String> {
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        address(host, &env).map(|path| path.display().to_string())
    }

    #[test]
    fn the_socket_is_docker_s_own_choice() {
        let dir = tempfile::tempdir().expect("directory");
        let home = dir.path().to_str().expect("a path");
        assert_eq!(at(None, &[("HOME", home)]).as_deref(), Some(DEFAULT));
        assert_eq!(at(Some("unix:///a"), &[("DOCKER_HOST", "tcp://b")]).as_deref(), Some("/a"));
        assert_eq!(at(None, &[("DOCKER_HOST", "unix:///b"), ("DOCKER_CONTEXT", "c")]).as_deref(), Some("/b"));
        assert_eq!(at(None, &[("DOCKER_HOST", "")]).as_deref(), Some(DEFAULT));
        assert_eq!(at(None, &[("DOCKER_CONTEXT", "default")]).as_deref(), Some(DEFAULT));
        for others in [[("DOCKER_HOST", "ssh://b")], [("DOCKER_HOST", "tcp://b")], [("DOCKER_CONTEXT", "c")]] {
            assert_eq!(at(None, &others), None, "{others:?}");
        }
        fs::create_dir(dir.path().join(".docker")).expect("directory");
        for (config, want) in [
            (r#"{"auths":{},"currentContext":"default"}"#, Some(DEFAULT)),
            (r#"{"currentContext":"rootless"}"#, None),
            (r#"{"HttpHeaders":{"X-Meta":"a"}}"#, None),
            ("{", None),
        ] {
            fs::write(dir.path().join(".docker/config.json"), config).expect("write");
            assert_eq!(at(None, &[("HOME", home)]).as_deref(), want, "{config}");
        }
    }

    #[test]
    fn an_answer_says_whether_docker_has_the_image() {
        let says = |answer: &str| outcome(answer.as_bytes()).map_err(|e| e.to_string());
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(says(&format!("{chunked}f\r\n{{\"stream\":\"ok\"}}\r\n0\r\n\r\n")), Ok(None));
        assert_eq!(
            says(&format!("{chunked}7\r\n{{\"error\r\n6\r\n\":\"no\"\r\n1\r\n}}\r\n0\r\n\r\n")),
            Ok(Some("no".into()))
        );
        assert_eq!(says("HTTP/1.1 500 x\r\n\r\n{\"message\":\"broken\"}"), Ok(Some("broken".into())));
        assert_eq!(says("HTTP/1.1 404 x\r\n\r\n<html>"), Ok(Some("status 404".into())));
        for cut in [
            "",
            "SSH-2.0",
            &format!("{chunked}f\r\n{{\"stream\""),
            &format!("{chunked}f\r\n{{\"stream\":\"ok\"}}\r\n"),
        ] {
            assert!(says(cut).is_err(), "{cut:?}");
        }
    }

    /// A daemon that answers `answer` after `most` bytes of a request, and what it was sent.
    fn daemon(answer: &'static str, most: u64) -> (Socket, thread::JoinHandle<Vec<u8>>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).expect("listen");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut got = Vec::new();
            let mut part = vec![0; 64 << 10];
            while (got.len() as u64) < most && !got.ends_with(b"0\r\n\r\n") {
                match stream.read(&mut part).expect("read") {
                    0 => break,
                    n => got.extend_from_slice(&part[..n]),
                }
            }
            // A client that is gone has its answer already.
            let _ = stream.write_all(answer.as_bytes());
            got
        });
        let host = format!("unix://{}", path.display());
        (Socket::reach(Some(&host), &|_| None).expect("reached"), served, dir)
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"stream\":\"Loaded image: a:b\"}";

    #[test]
    fn what_is_written_arrives_whole() {
        let (socket, served, _dir) = daemon(GOOD, u64::MAX);
        let bytes = vec![7; CHUNK + 3];
        socket.load(|to| to.write_all(&bytes).map_err(layer)).expect("loaded");
        let got = served.join().expect("served");
        let body = joined(got.strip_prefix(REQUEST.as_bytes()).expect("the request")).expect("chunks");
        assert_eq!(body, bytes);
    }

    fn layer(source: io::Error) -> Error {
        Error::Layer { reference: "a:b".into(), object: "layer".into(), source }
    }

    #[test]
    fn the_cause_of_a_failure_is_told() {
        let refusal = "HTTP/1.1 500 x\r\nConnection: close\r\n\r\n{\"message\":\"no space left\"}";
        let load = |answer, most, write: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
            let (socket, served, _dir) = daemon(answer, most);
            let failed = socket.load(|to| write(to).map_err(layer)).expect_err("not loaded");
            drop(served);
            let source = std::error::Error::source(&failed).map(|source| format!(": {source}"));
            format!("{failed}{}", source.unwrap_or_default())
        };
        let all = |to: &mut dyn Write| to.write_all(&[7; 16 << 20]);
        // Read to the end, or not.
        for most in [u64::MAX, 100] {
            assert!(load(refusal, most, &all).ends_with("no space left"), "{most}");
        }
        let unread = load(GOOD, u64::MAX, &|_| Err(io::Error::other("the layer is gone")));
        assert!(unread.ends_with("the layer is gone"), "{unread}");
        assert!(load("", u64::MAX, &all).ends_with("the answer is not HTTP"));
    }

    /// A daemon that takes so many bytes, does what it is told, and never hangs up.
    fn stuck(most: usize, after: fn(&mut UnixStream)) -> (Socket, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&path).expect("listen");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut left = vec![0; most];
            let _ = stream.read_exact(&mut left);
            after(&mut stream);
            thread::sleep(Duration::from_secs(120));
        });
        let host = format!("unix://{}", path.display());
        let socket = Socket::reach(Some(&host), &|_| None).expect("reached");
        (Socket { patience: Patience::of(Duration::from_secs(1)), ..socket }, dir)
    }

    #[test]
    fn a_daemon_that_hangs_is_given_up() {
        let drip = |stream: &mut UnixStream| {
            while stream.write_all(b"H").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        };
        let begin = Instant::now();
        for (most, after, write, want) in [
            (0, (|_| {}) as fn(&mut UnixStream), 16 << 20, "it took nothing for 1 seconds; does it hang?"),
            (1 << 20, |_| {}, 16 << 20, "it took nothing for 1 seconds; does it hang?"),
            (100, |_| {}, 10, "it gave no answer for 1 seconds; does it hang?"),
            (100, drip, 10, "it gave no whole answer for 1 seconds; does it hang?"),
            (
                100,
                |stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{")),
                10,
                "it gave no whole answer for 1 seconds; does it hang?",
            ),
        ] {
            let (socket, _dir) = stuck(most, after);
            let error = socket.load(|to| to.write_all(&vec![7; write]).map_err(layer)).expect_err("it hangs");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert!(error.is_silence(), "{error:?}");
            assert_eq!(source.as_deref(), Some(want), "{most}");
        }
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_daemon_that_is_slow_is_waited_for() {
        let slow = |stream: &mut UnixStream| {
            let (mut part, mut end) = (vec![0; 64 << 10], Vec::new());
            for n in 0.. {
                let got = stream.read(&mut part).expect("read");
                end.extend_from_slice(&part[..got]);
                end.drain(..end.len().saturating_sub(5));
                if got == 0 || end == b"0\r\n\r\n" {
                    break;
                }
                // For longer than the bound, but never without a sign.
                thread::sleep(Duration::from_millis(if n < 20 { 100 } else { 0 }));
            }
            thread::sleep(Duration::from_millis(300));
            let _ = stream.write_all(GOOD.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Both);
        };
        let (socket, _dir) = stuck(1, slow);
        socket.load(|to| to.write_all(&[7; 4 << 20]).map_err(layer)).expect("loaded");
    }

    #[test]
    fn an_answer_s_chunks_are_bounded_by_what_is_there() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for size in ["ffffffffffffffff", "fffffffffffffff8", "7fffffffffffffff", "10000000000000000"] {
            let twice = format!("{chunked}{size}\r\n{{}}\r\n{size}\r\n{{}}\r\n0\r\n\r\n");
            assert!(outcome(twice.as_bytes()).is_err(), "{size}");
        }
        assert!(outcome(format!("{chunked}2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).is_ok());
    }
}
