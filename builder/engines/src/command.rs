//! Running an engine's command line: what goes in, what comes out, and what its failure is called.
//!
//! The last words on stderr belong to the error; nothing is printed here.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::archive::ArchiveError;
use crate::oci::ShipmentError;

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
    #[error("{command}: exit status {code}, {stderr}")]
    Failed {
        /// The command line, as a user would type it.
        command: String,
        /// Its exit code, or -1 when a signal ended it.
        code: i32,
        /// The end of what it wrote on stderr.
        stderr: String,
    },
    /// A daemon behind a socket that could not be asked, or did not answer.
    #[error("docker at {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A daemon that refused.
    #[error("docker at {}: {said}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// Its own words.
        said: String,
    },
    /// What it printed is not what its documentation promises.
    #[error("{command}: answer not understood")]
    Answer {
        /// The command line.
        command: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// What it named is not a digest.
    #[error("{command}: answer not understood")]
    Digest {
        /// The command line.
        command: String,
        /// What was found instead.
        #[source]
        source: hone_image::digest::BadDigest,
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
        source: hone_image::reference::BadReference,
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
    /// The engine took the image, and lacks a part of it.
    #[error("send image {reference}: containerd has lost {digest} twice; is another process removing images?")]
    Lost {
        /// The image.
        reference: String,
        /// A blob of it.
        digest: hone_image::Digest,
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

impl Error {
    /// Whether the engine said that the object does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        let Self::Failed { stderr, .. } = self else { return false };
        let stderr = stderr.to_lowercase();
        ["no such image", "no such object", "image not known", "failed to find image"]
            .iter()
            .any(|m| stderr.contains(m))
    }
}

/// The command line as a user would type it.
fn words(command: &Command) -> String {
    let args = command.get_args().map(OsStr::to_string_lossy);
    [command.get_program().to_string_lossy()].into_iter().chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs `command` and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Error> {
    feed(command, |_| Ok(()))
}

/// Runs `command` with what `write` produces as its input, and returns what it printed.
///
/// When both fail, the cause wins: the program's own words when it closed the pipe, and otherwise why writing ended
/// early, of which the program only saw that its input was cut off.
pub(crate) fn feed(
    command: &mut Command,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    let line = words(command);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Start { program: program.clone(), source })?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| write(&mut stdin));
    let status = child.wait().map_err(|source| Error::Start { program, source })?;
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    if let Err(Error::Layer { source, .. }) = &written
        && source.kind() != io::ErrorKind::BrokenPipe
    {
        return written.map(|()| stdout);
    }
    if !status.success() {
        return Err(Error::Failed { command: line, code: status.code().unwrap_or(-1), stderr: tail(&stderr) });
    }
    written.map(|()| stdout)
}

/// Reads a pipe to its end beside the caller, so that neither side waits for ever on a full one.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A read error ends the text early; the exit status still decides.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// The end of a program's complaint, on one line.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    if last.is_empty() { "it said nothing".to_owned() } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_command_the_code_and_the_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo first >&2; echo second >&2; exit 3"]);
        let error = output(&mut command).unwrap_err().to_string();
        assert_eq!(error, "sh -c echo first >&2; echo second >&2; exit 3: exit status 3, first; second");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = output(&mut Command::new("no-such-engine")).unwrap_err().to_string();
        assert_eq!(error, "start no-such-engine: is it installed?");
    }

    #[test]
    fn more_than_a_pipe_holds_goes_through_both_ways() {
        let bytes = vec![7; 1 << 20];
        let got = feed(&mut Command::new("cat"), |to| {
            to.write_all(&bytes).map_err(|source| Error::Start { program: "cat".into(), source })
        });
        assert_eq!(got.unwrap().len(), 1 << 20);
    }
}
