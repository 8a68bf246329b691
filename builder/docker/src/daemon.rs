//! A connection to a daemon, a question on it, and the time that an answer has.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::answer::Answer;
use crate::error::{Error, silent, silent_instead};
use crate::stream::{Stream, connect};

/// Longest answer (bytes); a list of every container of a busy daemon has some megabytes.
const MAX_ANSWER: usize = 16 << 20;

/// A daemon that was reached, for one question.
pub struct Daemon {
    pub(crate) address: Address,
    pub(crate) stream: Box<dyn Stream>,
}

/// An answer without end.
#[derive(Debug, thiserror::Error)]
#[error("its answer has more than {MAX_ANSWER} bytes")]
struct Long;

/// What the daemon at `address` answers to `GET path`: all of that within `within`, not only each byte in time.
///
/// # Errors
/// When it is not reached, does not answer whole and in time, or refuses.
pub fn get(address: &Address, path: &str, within: Duration) -> Result<Vec<u8>, Error> {
    let end = Instant::now() + within;
    let failed = |source| Error::Io { address: address.clone(), source };
    let mut daemon = Daemon::reach(address, within)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: docker\r\nUser-Agent: hone\r\nConnection: close\r\n\r\n");
    daemon.send(request.as_bytes(), left(end)).map_err(failed)?;
    let (mut answer, mut read) = (Vec::new(), Ok(()));
    if let Err(error) = daemon.receive(&mut answer, end, within) {
        read = Err(error);
    }
    // Why reading ended is the cause of what is missing.
    let answer = read.and_then(|()| Answer::parse(&answer)).map_err(failed)?;
    answer.good().map_err(|said| Error::Refused { address: address.clone(), said })
}

/// The time until then; nought would be no bound.
fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

impl Daemon {
    /// Connects to the daemon at `address`.
    ///
    /// # Errors
    /// When nobody answers there within `within`.
    pub fn reach(address: &Address, within: Duration) -> Result<Self, Error> {
        let failed = |source| Error::Io { address: address.clone(), source };
        let stream = connect(address, within).map_err(failed)?;
        Ok(Self { address: address.clone(), stream })
    }

    /// Sends bytes of which each part is taken within `quiet`.
    pub(crate) fn send(&mut self, bytes: &[u8], quiet: Duration) -> io::Result<()> {
        self.stream.bound(quiet)?;
        self.stream.write_all(bytes).map_err(silent_instead("took nothing", quiet))
    }

    /// Reads to the end of the answer, all of which is there at `end`, `within` after the question.
    pub(crate) fn receive(&mut self, answer: &mut Vec<u8>, end: Instant, within: Duration) -> io::Result<()> {
        let mut part = vec![0; 64 << 10];
        loop {
            self.stream.bound(left(end))?;
            let what = if answer.is_empty() { "gave no answer" } else { "gave no whole answer" };
            match self.stream.read(&mut part) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Ok(()),
                Ok(_) if Instant::now() > end => return Err(silent(what, within)),
                got => answer.extend_from_slice(&part[..got.map_err(silent_instead(what, within))?]),
            }
            if answer.len() > MAX_ANSWER {
                return Err(io::Error::other(Long));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread;

    use super::*;

    /// Serves one connection with `serve`, and holds it.
    fn stuck(serve: fn(&mut UnixStream)) -> (tempfile::TempDir, Address) {
        let dir = tempfile::tempdir().expect("tempdir");
        let socket = dir.path().join("sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            serve(&mut stream);
            thread::sleep(Duration::from_secs(120));
        });
        (dir, Address::Unix(socket))
    }

    fn cause(error: &Error) -> String {
        std::error::Error::source(error).expect("a cause").to_string()
    }

    #[test]
    fn a_daemon_that_hangs_is_given_up_whatever_it_sent() {
        let drip = |stream: &mut UnixStream| {
            while stream.write_all(b"H").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        };
        let half = |stream: &mut UnixStream| drop(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n["));
        let begin = Instant::now();
        for (serve, want) in [
            ((|_| {}) as fn(&mut UnixStream), "it gave no answer for 1 seconds; does it hang?"),
            (drip, "it gave no whole answer for 1 seconds; does it hang?"),
            (half, "it gave no whole answer for 1 seconds; does it hang?"),
        ] {
            let (_dir, address) = stuck(serve);
            let error = get(&address, "/", Duration::from_secs(1)).expect_err("it hangs");
            assert!(error.is_silence());
            assert_eq!(cause(&error), want);
        }
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_answer_without_end_is_cut_and_one_that_is_cut_off_is_no_answer() {
        let endless = |stream: &mut UnixStream| {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            while stream.write_all(&[b' '; 64 << 10]).is_ok() {}
        };
        let (_dir, address) = stuck(endless);
        let error = get(&address, "/", Duration::from_secs(60)).expect_err("too long");
        assert_eq!(cause(&error), format!("its answer has more than {MAX_ANSWER} bytes"));
        let short = |stream: &mut UnixStream| {
            // Who has not asked yet would find the door shut.
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]").expect("write");
            stream.shutdown(std::net::Shutdown::Both).expect("shutdown");
        };
        let (_dir, address) = stuck(short);
        let error = get(&address, "/", Duration::from_secs(60)).expect_err("cut off");
        assert_eq!(cause(&error), "the answer is cut off: got 2 bytes of its body, want 9");
    }

    #[test]
    fn tcp_is_spoken_and_nobody_there_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address: Address = format!("tcp://{}", listener.local_addr().expect("address")).parse().expect("address");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut got = [0; 1024];
            let got = stream.read(&mut got).map(|n| String::from_utf8_lossy(&got[..n]).into_owned());
            stream.write_all(b"HTTP/1.1 403 no\r\n\r\n{\"message\":\"not \\u001b[2J you\"}").expect("answer");
            got.expect("a request")
        });
        let error = get(&address, "/info", Duration::from_secs(60)).expect_err("403").to_string();
        assert_eq!(error, format!(r"docker at {address}: not \u{{1b}}[2J you"));
        assert!(served.join().expect("served").starts_with("GET /info HTTP/1.1\r\nHost: docker\r\n"));
        let nobody = Address::Unix("/nowhere/docker.sock".into());
        let error = get(&nobody, "/info", Duration::from_secs(60)).expect_err("nobody");
        assert_eq!(error.to_string(), "docker at unix:///nowhere/docker.sock");
        assert!(!error.is_silence());
    }
}
