//! Where a daemon listens, in docker's own words: `unix:///run/docker.sock`, `tcp://127.0.0.1:2375`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hone_contract::{quoted, quoted_path};

use crate::error::Error;

/// The address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A host and a port, without TLS.
    Tcp(String),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match (text.strip_prefix("unix://"), text.strip_prefix("tcp://")) {
            (Some(path), _) => Ok(Self::Unix(path.into())),
            (_, Some(host)) => Ok(Self::Tcp(host.to_owned())),
            _ => Err(Error::Address(text.to_owned())),
        }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

/// Quoted: a daemon's address may come from a file of somebody else's.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", quoted_path(path)),
            Self::Tcp(host) => write!(f, "tcp://{}", quoted(host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_words_are_read_and_shown_and_other_ways_refused() {
        for text in ["unix:///run/docker.sock", "tcp://127.0.0.1:2375"] {
            assert_eq!(text.parse::<Address>().expect("an address").to_string(), text);
        }
        for text in ["ssh://u@h", "npipe:////./pipe/docker", "/run/docker.sock", "\u{1b}[2J"] {
            let error = text.parse::<Address>().expect_err("refused").to_string();
            assert!(error.ends_with("want unix:///path or tcp://host:port") && !error.contains('\u{1b}'), "{error}");
        }
    }
}
