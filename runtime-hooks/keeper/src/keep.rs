//! The keeper's work: complete the run record, wait for the end, write the exit record, start the commit.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hone_contract::run::{ExitRecord, ImageRef, Outcome, RunRecord};
use hone_contract::{chain, quoted_path};
use rustix::event::{PollFd, PollFlags, poll};

use crate::engine::{LookupError, image_of};
use crate::report::{Level, Log};
use crate::staging::{Staging, StagingError};

/// The status line is `<code> <signal>\n`; more than this is not one (bytes).
const MAX_STATUS: u64 = 64;
/// The pause after a first question that got no answer; it doubles each time.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause: an engine that restarts is asked again soon enough, and a dead one is not bothered.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After the container's end the engine has this long to answer, and is asked every [`LOOKUP_PAUSE`].
const LAST_CALL: Duration = Duration::from_secs(10);

/// What one keeper watches over.
pub struct Keeper {
    /// The run's staging directory.
    pub staging: Staging,
    /// The read end of the status pipe.
    pub status: OwnedFd,
    /// The container's init.
    pub init: OwnedFd,
    /// Its memory cgroup, to learn whether the kernel killed for memory.
    pub cgroup: Option<PathBuf>,
    /// The runtime's log.
    pub log: Log,
    /// The program `hone`.
    pub hone: PathBuf,
}

/// What keeps a finished run from being committed.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A record cannot be read or written.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The container's end cannot be waited for.
    #[error("wait for the container's end")]
    Wait(#[source] std::io::Error),
    /// `hone` cannot be started.
    #[error("start \"{}\" commit", quoted_path(program))]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// `hone commit` could not be seen through; it may be later.
    #[error(
        "nothing was committed: {told} (all is kept in \"{}\"; `hone commit {id}` goes on with it)",
        quoted_path(kept)
    )]
    Unfinished {
        /// What it said.
        told: String,
        /// The run.
        id: String,
        /// The staging directory.
        kept: PathBuf,
    },
    /// The run never becomes a version.
    #[error("nothing was committed: {reason} (all is kept in \"{}\")", quoted_path(kept))]
    Refused {
        /// Why.
        reason: String,
        /// The staging directory.
        kept: PathBuf,
    },
}

impl Keeper {
    /// Waits for the container's end and sees the run through.
    ///
    /// # Errors
    /// See [`KeepError`]; whatever the trainer wrote is kept.
    pub fn run(self) -> Result<(), KeepError> {
        let mut record = self.staging.run()?;
        let question = Question::ask(&record);
        let status = self.wait().map_err(KeepError::Wait)?;
        // Read before `delete` may remove the cgroup: it waits for this process.
        let oom = self.cgroup.as_deref().is_some_and(|dir| oom_kills(dir) > 0);
        if record.image.is_none() {
            self.complete(&mut record, &question)?;
        }
        if let Some((code, signal)) = status {
            let signal = (signal != 0).then_some(signal);
            self.staging.set_exit(&ExitRecord { code, signal, oom, finished_ms: now_ms() })?;
        }
        self.commit()
    }

    /// The status line, once init is gone too: the trainer's last child may still hold files of the run.
    fn wait(&self) -> std::io::Result<Option<(i32, i32)>> {
        let mut text = String::new();
        File::from(self.status.try_clone()?).take(MAX_STATUS).read_to_string(&mut text)?;
        loop {
            match poll(&mut [PollFd::new(&self.init, PollFlags::IN)], None) {
                Ok(_) => return Ok(parse_status(&text)),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn complete(&self, record: &mut RunRecord, question: &Question) -> Result<(), StagingError> {
        match question.last_call(LAST_CALL) {
            Ok(Some(image)) => {
                record.image = Some(image);
                self.staging.set_run(record)
            }
            Ok(None) => Ok(()),
            // The commit says what follows from it.
            Err(why) => {
                self.log.write(Level::Warning, &why);
                Ok(())
            }
        }
    }

    fn commit(&self) -> Result<(), KeepError> {
        let output = Command::new(&self.hone)
            .arg("commit")
            .arg("--root")
            .arg(self.staging.root())
            .arg(self.staging.dir())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| KeepError::Start { program: self.hone.clone(), source })?;
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() {
            // What the user should know of the version, for whoever reads the log.
            if !told.is_empty() {
                self.log.write(Level::Warning, &told);
            }
            return Ok(());
        }
        let kept: PathBuf = self.staging.dir().into();
        if let Ok(Some(Outcome::Refused { reason })) = self.staging.outcome() {
            return Err(KeepError::Refused { reason, kept });
        }
        let told = if told.is_empty() { format!("hone commit: {}", output.status) } else { told };
        let id = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Err(KeepError::Unfinished { told, id, kept })
    }
}

type Answer = Result<Option<ImageRef>, LookupError>;

/// The question which image the container was made from, asked until the engine answers it or the keeper gives up.
struct Question {
    answers: Receiver<Answer>,
    over: Sender<()>,
}

impl Question {
    /// On a thread of its own: the engine may answer only after the container has started, or never.
    fn ask(record: &RunRecord) -> Self {
        let (engine, id) = (record.engine.clone(), record.id.clone());
        Self::repeat(LOOKUP_PAUSE, move || image_of(&engine, &id))
    }

    fn repeat(first: Duration, ask: impl Fn() -> Answer + Send + 'static) -> Self {
        let ((sender, answers), (over, ended)) = (sync_channel(1), channel());
        std::thread::spawn(move || {
            let mut pause = Some(first);
            loop {
                let answer = ask();
                let done = answer.is_ok();
                // An error that nobody has heard yet is as good as this one; nobody listens when the keeper has given up.
                match sender.try_send(answer) {
                    Err(TrySendError::Disconnected(_)) => return,
                    Err(TrySendError::Full(answer)) if done => return drop(sender.send(answer)),
                    _ if done => return,
                    _ => {}
                }
                // Once the container has ended there is no time to lose.
                let Some(wait) = pause else {
                    std::thread::sleep(first);
                    continue;
                };
                pause = match ended.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => Some((wait * 2).min(LONGEST_PAUSE)),
                    _ => None,
                };
            }
        });
        Self { answers, over }
    }

    /// The answer, after the container's end; the last error when there is none in time.
    fn last_call(&self, timeout: Duration) -> Result<Option<ImageRef>, String> {
        // A thread that has its answer has ended.
        let _ = self.over.send(());
        let end = Instant::now() + timeout;
        let mut why = "ask the engine for the container's image: no answer in time".to_owned();
        loop {
            match self.answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Ok(image)) => return Ok(image),
                Ok(Err(error)) => why = chain(&error),
                Err(_) => return Err(why),
            }
        }
    }
}

/// `<code> <signal>\n`, whole or not at all.
fn parse_status(text: &str) -> Option<(i32, i32)> {
    let (code, signal) = text.strip_suffix('\n')?.split_once(' ')?;
    Some((code.parse().ok()?, signal.parse().ok()?))
}

/// `oom_kill N` in v1's memory.oom_control and v2's memory.events; v1 counts each cgroup apart.
fn oom_kills(dir: &Path) -> u64 {
    let count = |file: &str| {
        let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        let number = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
        number.unwrap_or(0)
    };
    let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let below = below.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
    count("memory.oom_control") + count("memory.events") + below.map(|e| oom_kills(&e.path())).sum::<u64>()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Opens the init process, before it can be replaced by another of the same number.
///
/// # Errors
/// What pidfd_open(2) says.
pub fn open_init(pid: i32) -> std::io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Whether a descriptor is open for reading, before it is trusted to be the status pipe.
pub fn is_readable(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| !flags.contains(rustix::fs::OFlags::WRONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_whole_or_unknown() {
        assert_eq!(parse_status("0 0\n"), Some((0, 0)));
        assert_eq!(parse_status("137 9\n"), Some((137, 9)));
        for broken in ["", "0", "0 0", "0 0\n1", "x 0\n", "0\n"] {
            assert_eq!(parse_status(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn an_engine_that_comes_back_is_still_heard() {
        let image = ImageRef { reference: "assistant:base".into(), config: hone_contract::Digest::of(b"c") };
        let want = image.clone();
        let asked = std::sync::atomic::AtomicU32::new(0);
        let question = Question::repeat(Duration::from_millis(5), move || {
            // More often than any fixed number of tries.
            match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0..12 => Err(LookupError::Unknown("c1".into())),
                _ => Ok(Some(image.clone())),
            }
        });
        assert_eq!(question.last_call(Duration::from_secs(20)), Ok(Some(want)));
    }

    #[test]
    fn an_engine_that_does_not_is_told_with_its_last_word() {
        let question = Question::repeat(Duration::from_millis(5), || Err(LookupError::Unknown("c1".into())));
        let why = question.last_call(Duration::from_millis(60)).expect_err("no answer");
        assert!(why.contains("\"c1\""), "{why}");
        let silent = Question::repeat(Duration::from_millis(5), || {
            std::thread::sleep(Duration::from_secs(60));
            Ok(None)
        });
        let why = silent.last_call(Duration::from_millis(60)).expect_err("no answer");
        assert!(why.ends_with("no answer in time"), "{why}");
    }

    #[test]
    fn oom_kills_are_counted_below_too() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(dir.path().join("sub")).expect("mkdir");
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        std::fs::write(dir.path().join("memory.oom_control"), control).expect("write");
        std::fs::write(dir.path().join("sub/memory.oom_control"), control).expect("write");
        assert_eq!(oom_kills(dir.path()), 2);
        assert_eq!(oom_kills(Path::new("/nonexistent")), 0);
    }
}
