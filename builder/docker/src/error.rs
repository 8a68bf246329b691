//! What can go wrong between this program and a daemon; its own words are shown quoted.

use std::io;
use std::time::Duration;

use hone_contract::quoted;

use crate::address::Address;

/// Most lines of a daemon's words in one message.
const MAX_LINES: usize = 3;

/// A daemon that could not be asked, did not answer, or refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is of a kind that is not spoken here.
    #[error("docker at \"{}\": want unix:///path or tcp://host:port", quoted(.0))]
    Address(String),
    /// Nobody there, or no whole answer.
    #[error("docker at {address}")]
    Io {
        /// Where.
        address: Address,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It says no.
    #[error("docker at {address}: {}", lines(said))]
    Refused {
        /// Where.
        address: Address,
        /// Its own words.
        said: String,
    },
}

impl Error {
    /// Whether the daemon just did not answer: asking it something else would take as long.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }
}

/// A daemon that neither takes nor says anything.
#[derive(Debug, thiserror::Error)]
#[error("it {what} for {} seconds; does it hang?", quiet.as_secs())]
struct Silent {
    what: &'static str,
    quiet: Duration,
}

/// Of a daemon that was waited for so long.
pub(crate) fn silent(what: &'static str, quiet: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, Silent { what, quiet })
}

/// The same in place of an error that only says that time is up.
pub(crate) fn silent_instead(what: &'static str, quiet: Duration) -> impl Fn(io::Error) -> io::Error {
    move |error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => silent(what, quiet),
        _ => error,
    }
}

/// A daemon's own words: strangers', and perhaps several lines.
fn lines(words: &str) -> String {
    words.lines().take(MAX_LINES).map(|line| quoted(line).to_string()).collect::<Vec<_>>().join("; ")
}
