//! Running an engine's command line: what goes in, what comes out, what its failure is called, and how long it may do
//! nothing.
//!
//! The last words on stderr belong to the error; nothing is printed here.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::error::Error;
use crate::watch::{Patience, Progress, Watch};

/// Longest answer (bytes); a description of every image of a busy engine has some megabytes.
const MAX_ANSWER: usize = 64 << 20;
/// What is kept of a program's complaints (bytes).
const MAX_COMPLAINT: usize = 64 << 10;
/// Bytes given to a program at once: what a pipe holds, so that each of them is a sign of progress.
const PIECE: usize = 64 << 10;
/// How long after its end a program's pipes may stay open, because a child of it that goes on has them, too.
const GRACE: Duration = Duration::from_secs(5);

/// The command line as a user would type it.
fn words(command: &Command) -> String {
    let args = command.get_args().map(OsStr::to_string_lossy);
    [command.get_program().to_string_lossy()].into_iter().chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs `command` and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, Error> {
    run(command, Patience::usual(), |_| Ok(()))
}

/// Runs `command`, which may take longer than a question, and returns what it printed.
pub(crate) fn output_within(command: &mut Command, patience: Patience) -> Result<Vec<u8>, Error> {
    run(command, patience, |_| Ok(()))
}

/// Runs `command` with what `write` produces as its input, and returns what it printed.
pub(crate) fn feed(
    command: &mut Command,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    run(command, Patience::usual(), write)
}

/// When both fail, the cause wins: that it hung, the program's own words when it closed the pipe, and otherwise why writing
/// ended early, of which the program only saw that its input was cut off.
fn run(
    command: &mut Command,
    patience: Patience,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    let line = words(command);
    log::debug!("run {line}");
    let program = command.get_program().to_string_lossy().into_owned();
    // A group of its own: whoever ends it ends what it started, too.
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = pipes.process_group(0).spawn();
    let mut child = child.map_err(|source| Error::Start { program: program.clone(), source })?;
    let progress = Arc::new(Progress::default());
    let stdout = Drain::of(child.stdout.take(), Keep::First(MAX_ANSWER), &progress);
    let stderr = Drain::of(child.stderr.take(), Keep::Last(MAX_COMPLAINT), &progress);
    let watch = Watch::over(&child, patience, &progress);
    let written = child.stdin.take().map_or(Ok(()), |stdin| write(&mut Fed { stdin, progress: &progress }));
    progress.all_is_fed();
    exited(&child);
    // Only a program that was not waited for has its number still: nobody else is ended by the watch.
    let hung = watch.end();
    let status = child.wait().map_err(|source| Error::Start { program, source })?;
    let soon = Instant::now() + GRACE;
    let (stdout, stderr) = (stdout.end(soon), stderr.end(soon));
    if let Some(quiet) = hung {
        return Err(Error::Hung { command: line, quiet });
    }
    if let Err(Error::Layer { source, .. }) = &written
        && source.kind() != io::ErrorKind::BrokenPipe
    {
        return written.map(|()| Vec::new());
    }
    if !status.success() {
        let stderr = tail(&stderr.bytes);
        return Err(Error::Failed { command: line, code: status.code().unwrap_or(-1), stderr });
    }
    if stdout.more {
        return Err(Error::Long { command: line, max: MAX_ANSWER });
    }
    written.map(|()| stdout.bytes)
}

/// Waits for a program's end, and leaves its number to it.
fn exited(child: &Child) {
    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else { return };
    // Any other failure comes again when the program is waited for.
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
    }
}

/// A program's input, which it takes or not: only then it is the program that is waited for.
struct Fed<'a> {
    stdin: ChildStdin,
    progress: &'a Progress,
}

impl Write for Fed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.progress.waits(true);
        let written = self.stdin.write(&bytes[..bytes.len().min(PIECE)]);
        self.progress.waits(false);
        if let Ok(taken) = written {
            self.progress.fed(taken);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.flush()
    }
}

/// What is kept of what a program prints.
#[derive(Clone, Copy)]
enum Keep {
    First(usize),
    Last(usize),
}

/// What it printed.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// Whether there was more.
    more: bool,
}

impl Text {
    fn add(&mut self, part: &[u8], keep: Keep) {
        match keep {
            Keep::First(most) => {
                let room = part.len().min(most - self.bytes.len());
                self.more |= room < part.len();
                self.bytes.extend_from_slice(&part[..room]);
            }
            Keep::Last(most) => {
                self.bytes.extend_from_slice(part);
                let over = self.bytes.len().saturating_sub(most);
                self.bytes.drain(..over);
            }
        }
    }
}

/// A pipe that is read to its end beside the caller, so that neither side waits for ever on a full one.
struct Drain {
    text: Arc<Mutex<Text>>,
    ended: Receiver<()>,
}

impl Drain {
    fn of(pipe: Option<impl Read + Send + 'static>, keep: Keep, progress: &Arc<Progress>) -> Self {
        let (text, (ends, ended)) = (Arc::new(Mutex::new(Text::default())), channel());
        let (to, progress) = (Arc::clone(&text), Arc::clone(progress));
        thread::spawn(move || {
            let (mut pipe, mut part) = (pipe, vec![0; PIECE]);
            // A read error ends the text early; the exit status still decides.
            while let Some(got) = pipe.as_mut().and_then(|pipe| next(pipe, &mut part)) {
                progress.passed(got);
                to.lock().unwrap_or_else(PoisonError::into_inner).add(&part[..got], keep);
            }
            // Nobody listens any more when the program's end was long ago.
            let _ = ends.send(());
        });
        Self { text, ended }
    }

    /// What came. The program has ended: all that it wrote is in the pipe.
    fn end(self, by: Instant) -> Text {
        let _ = self.ended.recv_timeout(by.saturating_duration_since(Instant::now()));
        mem::take(&mut *self.text.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn next(pipe: &mut impl Read, part: &mut [u8]) -> Option<usize> {
    loop {
        match pipe.read(part) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            got => return got.ok().filter(|got| *got > 0),
        }
    }
}

/// The end of a program's complaint, the last lines.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("\n");
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

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn within(ms: u64) -> Patience {
        Patience::of(Duration::from_millis(ms))
    }

    fn broken(source: io::Error) -> Error {
        Error::Layer { reference: "a:b".into(), object: "layer".into(), source }
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let begin = Instant::now();
        let error = output_within(sh("sleep 50 & echo $! >$0; wait").arg(&pid), within(1000)).unwrap_err();
        assert!(error.is_silence());
        assert!(
            error
                .to_string()
                .ends_with("no answer and no progress for 1 seconds, so it was ended; does the engine hang?"),
            "{error}"
        );
        let below = std::fs::read_to_string(&pid).unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", below.trim())).unwrap_or_default();
        // A signal is obeyed when the process runs next.
        let ended = || stat().is_empty() || stat().contains(") Z ");
        while !ended() {
            assert!(begin.elapsed() < Duration::from_secs(10), "what it started goes on: {}", stat());
            thread::sleep(Duration::from_millis(10));
        }
        // One that takes no input hangs, too, whatever there is to write.
        let all = |to: &mut dyn Write| to.write_all(&[7; 1 << 20]).map_err(broken);
        assert!(run(&mut sh("sleep 50"), within(300), all).unwrap_err().is_silence());
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_program_that_is_slow_is_not_ended() {
        let steady = "for n in 1 2 3 4 5 6 7 8 9; do sleep 0.2; echo $n; done";
        assert_eq!(output_within(&mut sh(steady), within(1000)).unwrap().len(), 18);
        // It takes its input bit by bit.
        let taking = "for n in 1 2 3 4 5 6 7 8 9; do sleep 0.2; head -c 120000 >/dev/null; done; cat >/dev/null";
        let all = |to: &mut dyn Write| to.write_all(&[7; 1 << 20]).map_err(broken);
        run(&mut sh(taking), within(1000), all).unwrap();
        // It waits for us.
        let late = |to: &mut dyn Write| {
            thread::sleep(Duration::from_millis(1500));
            to.write_all(b"late").map_err(broken)
        };
        assert_eq!(run(&mut Command::new("cat"), within(500), late).unwrap(), b"late");
        // It writes a file.
        let dir = tempfile::tempdir().unwrap();
        let saving = "for n in 1 2 3 4 5 6 7 8 9; do sleep 0.2; echo $n >>$0/file; done";
        let growing = Patience::growing(dir.path()).but(Duration::from_millis(1000));
        output_within(sh(saving).arg(dir.path()), growing).unwrap();
        assert!(output_within(sh(saving).arg(dir.path()), within(1000)).unwrap_err().is_silence());
    }

    #[test]
    fn what_a_program_says_without_end_is_cut_and_quoted() {
        let error = output(&mut sh("yes $(printf '\\033[2J') | head -c 300000 >&2; exit 1")).unwrap_err().to_string();
        assert!(error.contains(r"\u{1b}[2J; \u{1b}[2J") && error.len() < 1000, "{error}");
        let long = format!("head -c {} /dev/zero", MAX_ANSWER + 1);
        assert!(matches!(output(&mut sh(&long)).unwrap_err(), Error::Long { .. }));
        assert_eq!(output(&mut sh("head -c 100000 /dev/zero")).unwrap().len(), 100_000);
    }

    #[test]
    fn a_child_that_outlives_the_program_and_has_its_pipes_is_not_waited_for() {
        let begin = Instant::now();
        assert_eq!(output(&mut sh("echo done; sleep 60 &")).unwrap(), b"done\n");
        assert!(begin.elapsed() < Duration::from_secs(40));
    }
}
