//! `docker load`: an archive of unknown length goes in, in chunks, and the answer comes when everything is stored.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::daemon::Daemon;
use crate::error::Error;

/// The request: an archive of unknown length, and an answer without progress (Engine API, ImageLoad).
const REQUEST: &str = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nUser-Agent: hone\r\nConnection: close\r\n\
    Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Bytes sent in one chunk.
const CHUNK: usize = 256 << 10;

impl Daemon {
    /// Loads the archive that `write` produces. `patience` says how long a daemon may show no sign that is to store so many
    /// bytes.
    ///
    /// When both fail the cause wins, as with a program: docker's own words when it stopped reading, else why writing
    /// ended early; then docker sees the request cut off, and keeps nothing of it.
    ///
    /// # Errors
    /// When `write` fails, or docker does not take or not have the archive.
    pub fn load<E: From<Error>>(
        mut self,
        patience: &dyn Fn(u64) -> Duration,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let address = self.address.clone();
        let failed = |source| Error::Io { address: address.clone(), source };
        let body = Chunked { daemon: &mut self, quiet: patience(0), sent: 0, hung_up: false };
        let mut body = BufWriter::with_capacity(CHUNK, body);
        let sent = body.get_mut().pass(REQUEST.as_bytes()).map_err(failed).map_err(E::from).and_then(|()| {
            write(&mut body)?;
            let end =
                |body: &mut BufWriter<Chunked<'_>>| body.flush().and_then(|()| body.get_mut().pass(b"0\r\n\r\n"));
            Ok(end(&mut body).map_err(failed)?)
        });
        let (Chunked { sent: bytes, hung_up, .. }, _) = body.into_parts();
        if sent.is_err() && !hung_up {
            return sent;
        }
        // A daemon that hung up may have said why before.
        let (mut answer, within) = (Vec::new(), patience(bytes));
        let read = self.receive(&mut answer, Instant::now() + within, within);
        match (Answer::parse(&answer).map(|answer| answer.refusal()), sent) {
            (Ok(None), Ok(())) => Ok(read.map_err(failed)?),
            (Ok(Some(said)), _) => Err(Error::Refused { address, said }.into()),
            (_, Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(failed(read.err().unwrap_or(error)).into()),
        }
    }
}

/// A body of unknown length (RFC 9112, 7.1): each write is a chunk, which the daemon takes in time.
struct Chunked<'a> {
    daemon: &'a mut Daemon,
    quiet: Duration,
    sent: u64,
    /// Whether the daemon reads no more.
    hung_up: bool,
}

impl Chunked<'_> {
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = self.daemon.send(bytes, self.quiet);
        let kind = sent.as_ref().err().map(io::Error::kind);
        self.hung_up |= matches!(kind, Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset));
        sent
    }
}

impl Write for Chunked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A chunk of nothing would be the last.
        if !bytes.is_empty() {
            self.pass(format!("{:x}\r\n", bytes.len()).as_bytes())?;
            self.pass(bytes)?;
            self.pass(b"\r\n")?;
            self.sent += bytes.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread;

    use super::*;
    use crate::address::Address;
    use crate::answer::tests::unchunked;

    const GOOD: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"stream\":\"Loaded image: a:b\"}";

    /// As a caller has it: what docker says, or what it is to be sent.
    #[derive(Debug)]
    enum Failed {
        Docker(Error),
        Layer(io::Error),
    }

    impl From<Error> for Failed {
        fn from(error: Error) -> Self {
            Self::Docker(error)
        }
    }

    impl Failed {
        fn said(&self) -> String {
            match self {
                Self::Docker(error) => {
                    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
                    format!("{error}{}", source.unwrap_or_default())
                }
                Self::Layer(error) => error.to_string(),
            }
        }
    }

    fn usual(_: u64) -> Duration {
        Duration::from_secs(600)
    }

    /// A daemon that answers `answer` after `most` bytes of a request, and what it was sent.
    fn daemon(answer: &'static str, most: u64) -> (Daemon, thread::JoinHandle<Vec<u8>>, tempfile::TempDir) {
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
        (Daemon::reach(&Address::Unix(path), Duration::from_secs(10)).expect("reached"), served, dir)
    }

    #[test]
    fn what_is_written_arrives_whole() {
        let (daemon, served, _dir) = daemon(GOOD, u64::MAX);
        let bytes = vec![7; CHUNK + 3];
        daemon.load(&usual, |to| to.write_all(&bytes).map_err(Failed::Layer)).expect("loaded");
        let got = served.join().expect("served");
        assert_eq!(unchunked(got.strip_prefix(REQUEST.as_bytes()).expect("the request")), bytes);
    }

    #[test]
    fn the_cause_of_a_failure_is_told() {
        let refusal = "HTTP/1.1 500 x\r\nConnection: close\r\n\r\n{\"message\":\"no space left\"}";
        let load = |answer, most, write: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
            let (daemon, served, _dir) = daemon(answer, most);
            let failed = daemon.load(&usual, |to| write(to).map_err(Failed::Layer)).expect_err("not loaded");
            drop(served);
            failed.said()
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
    fn stuck(most: usize, after: fn(&mut UnixStream)) -> (Daemon, tempfile::TempDir) {
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
        (Daemon::reach(&Address::Unix(path), Duration::from_secs(10)).expect("reached"), dir)
    }

    fn second(_: u64) -> Duration {
        Duration::from_secs(1)
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
            let (daemon, _dir) = stuck(most, after);
            let failed = daemon.load(&second, |to| to.write_all(&vec![7; write]).map_err(Failed::Layer));
            let failed = failed.expect_err("it hangs");
            let silence = match &failed {
                Failed::Docker(error) => error.is_silence(),
                Failed::Layer(error) => error.kind() == io::ErrorKind::TimedOut,
            };
            assert!(silence, "{failed:?}");
            assert!(failed.said().ends_with(want), "{most}: {}", failed.said());
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
        let (daemon, _dir) = stuck(1, slow);
        daemon.load(&second, |to| to.write_all(&[7; 4 << 20]).map_err(Failed::Layer)).expect("loaded");
    }
}
