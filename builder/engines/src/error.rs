//! What can go wrong with an engine, in words: operation, object, cause. An engine's own words are shown quoted.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hone_archive::{ArchiveError, ShipmentError, WriteError};
use hone_contract::quoted;

/// Most lines of an engine's words in one message.
const MAX_LINES: usize = 3;

/// An engine that could not be asked, or that refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there or may not be executed.
    #[error("start {program}: is it installed?")]
    Start {
        /// Name of the program.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{}: exit status {code}, {}", quoted(command), lines(stderr))]
    Failed {
        /// The command line, as a user would type it.
        command: String,
        /// Its exit code, or -1 when a signal ended it.
        code: i32,
        /// The end of what it wrote on stderr, some lines.
        stderr: String,
    },
    /// It did not get on, and was ended.
    #[error("{}: no answer and no progress for {} seconds, so it was ended; does the engine hang?", quoted(command), quiet.as_secs())]
    Hung {
        /// The command line.
        command: String,
        /// How long nothing happened.
        quiet: Duration,
    },
    /// It prints without end.
    #[error("{}: its answer has more than {max} bytes", quoted(command))]
    Long {
        /// The command line.
        command: String,
        /// The bound.
        max: usize,
    },
    /// docker's daemon, asked over its socket.
    #[error(transparent)]
    Docker(#[from] hone_docker::Error),
    /// A containerd that was not reached.
    #[error("reach containerd at {}: {}", quoted(address), way(source))]
    Unreached {
        /// Its socket.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A containerd that refused.
    #[error("containerd at {}: {}: {}", quoted(address), quoted(operation), lines(said))]
    Containerd {
        /// Its socket.
        address: String,
        /// What it was to do.
        operation: String,
        /// Its own words.
        said: String,
    },
    /// A containerd that neither takes nor says anything.
    #[error("containerd at {}: {}: no answer for {} seconds; does it hang?", quoted(address), quoted(operation), quiet.as_secs())]
    Quiet {
        /// Its socket.
        address: String,
        /// What it was to do.
        operation: String,
        /// How long nothing happened.
        quiet: Duration,
    },
    /// What it printed is not what its documentation promises.
    #[error("{}: answer not understood", quoted(command))]
    Answer {
        /// The command line.
        command: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// What it has by this digest cannot be read, has another, is no index or manifest, or is read differently by others.
    #[error("containerd's {digest}")]
    Document {
        /// Which.
        digest: hone_contract::Digest,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What it named is not a digest.
    #[error("{}: answer not understood", quoted(command))]
    Digest {
        /// The command line.
        command: String,
        /// What was found instead.
        #[source]
        source: hone_contract::digest::BadDigest,
    },
    /// A layer of the image could not be read, or the temporary copy not written.
    #[error("send image {reference}: {object}")]
    Layer {
        /// The image.
        reference: String,
        /// The layer or the directory.
        object: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The text is no reference, and the engine would take it for another one.
    #[error("send image")]
    Name {
        /// Which, and why.
        #[source]
        source: hone_contract::reference::BadReference,
    },
    /// A manifest cannot be made of what was given and what the engine has.
    #[error("send image {reference}")]
    Shipment {
        /// The image.
        reference: String,
        /// Why not.
        #[source]
        source: ShipmentError,
    },
    /// What the engine saved is not an archive that can be read.
    #[error("save image {reference}")]
    Saved {
        /// The image.
        reference: String,
        /// Why not.
        #[source]
        source: ArchiveError,
    },
    /// The file for a saved image could not be made or opened.
    #[error("save image {reference} in {}", dir.display())]
    SaveIn {
        /// The image.
        reference: String,
        /// The directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A daemon that is not on this machine, or that nobody names.
    #[error("docker at {}: {reason}", quoted(host))]
    Host {
        /// Its address, or the context that should have had one.
        host: String,
        /// Why it is of no use here, and what would be.
        reason: String,
    },
    /// A file of the engine's configuration could not be read or replaced.
    #[error("{operation} {}", path.display())]
    File {
        /// `read` or `write`.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The engine's configuration is not what the engine itself would accept.
    #[error("read {}: {reason}; nothing was changed", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, with line and column.
        reason: String,
    },
}

impl From<WriteError> for Error {
    fn from(WriteError { reference, object, source }: WriteError) -> Self {
        Self::Layer { reference, object, source }
    }
}

impl Error {
    /// Of the containerd at `address`.
    pub(crate) fn unreached(address: &str, source: io::Error) -> Self {
        Self::Unreached { address: address.to_owned(), source }
    }

    /// Of a blob that containerd fails to read.
    pub(crate) fn unread(digest: hone_contract::Digest, said: &str) -> Self {
        let why = format!("it cannot be read: {}; pull or load the image again", lines(said));
        Self::Document { digest, source: why.into() }
    }

    /// The same, where a stream is read: silence stays what it is.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = if self.is_silence() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        io::Error::new(kind, self)
    }

    /// Whether the engine said that the object does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        let Self::Failed { stderr, .. } = self else { return false };
        let stderr = stderr.to_lowercase();
        ["no such image", "no such object", "image not known", "failed to find image"]
            .iter()
            .any(|m| stderr.contains(m))
    }

    /// Whether the engine just did not answer: asking it something else would take as long.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Hung { .. } | Self::Quiet { .. } => true,
            Self::Docker(error) => error.is_silence(),
            Self::Layer { source, .. } | Self::Unreached { source, .. } => source.kind() == io::ErrorKind::TimedOut,
            _ => false,
        }
    }
}

/// What to do about a containerd that is not reached.
fn way(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "is it running? CONTAINERD_ADDRESS names another socket"
        }
        io::ErrorKind::PermissionDenied => "only root may ask it, as a rule: use sudo",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it lets nobody in; does it hang?",
        _ => "is that its socket?",
    }
}

/// An engine's own words: strangers', and perhaps several lines.
fn lines(words: &str) -> String {
    words.lines().take(MAX_LINES).map(|line| quoted(line).to_string()).collect::<Vec<_>>().join("; ")
}
