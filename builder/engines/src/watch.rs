//! How long an engine may show no sign of life, and who ends it then.
//!
//! Not how long it may take: loading twenty gigabytes onto an SD card takes as long as it takes. Bytes that go in or come out
//! are signs, and so are files that grow. For what an engine does where nobody sees it, it has time by the bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Without a sign for so long an engine hangs. While a slow disk writes what the page cache has taken nothing moves for
/// some minutes.
const QUIET: Duration = Duration::from_secs(600);
/// An engine that has all its input says nothing until it has stored that, and one that is asked for an image writes it
/// into a directory of its own first: the slowest that may be (bytes a second).
const RATE: u64 = 1 << 20;
/// How often a program is looked at, at most.
const TICK: Duration = Duration::from_secs(1);

/// When an engine is given up.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    quiet: Duration,
    /// What is stored in silence (bytes).
    stored: u64,
    grows: Option<PathBuf>,
}

impl Patience {
    /// For a question, or for an answer to what is fed.
    pub(crate) fn usual() -> Self {
        Self::of(QUIET)
    }

    /// For so long without a sign.
    pub(crate) fn of(quiet: Duration) -> Self {
        Self { quiet, stored: 0, grows: None }
    }

    /// For a program that writes files into this directory.
    pub(crate) fn growing(dir: &Path) -> Self {
        Self { grows: Some(dir.to_owned()), ..Self::usual() }
    }

    /// For an engine that stores so many bytes, besides what it is to store already.
    pub(crate) fn storing(self, bytes: u64) -> Self {
        Self { stored: self.stored.saturating_add(bytes), ..self }
    }

    /// The same with another bound.
    #[cfg(test)]
    pub(crate) fn but(self, quiet: Duration) -> Self {
        Self { quiet, ..self }
    }

    /// The bound.
    pub(crate) fn quiet(&self) -> Duration {
        self.quiet.saturating_add(Duration::from_secs(self.stored / RATE))
    }

    fn grown(&self) -> u64 {
        let entries = self.grows.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).fold(0, u64::wrapping_add)
    }
}

/// What a program has taken and given.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    passed: AtomicU64,
    fed: AtomicU64,
    waits: AtomicBool,
    whole: AtomicBool,
}

impl Progress {
    /// It printed something.
    pub(crate) fn passed(&self, bytes: usize) {
        self.passed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// It took something.
    pub(crate) fn fed(&self, bytes: usize) {
        self.fed.fetch_add(bytes as u64, Ordering::Relaxed);
        self.passed(bytes);
    }

    /// Whether it is waited for, and not the other way round.
    pub(crate) fn waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
        // Each time anew.
        self.passed(1);
    }

    /// It has all its input.
    pub(crate) fn all_is_fed(&self) {
        self.whole.store(true, Ordering::Relaxed);
        self.passed(1);
    }
}

/// A thread that ends a program which hangs.
pub(crate) struct Watch {
    over: Sender<()>,
    thread: JoinHandle<Option<Duration>>,
}

impl Watch {
    /// Watches over `child`, which leads a process group.
    pub(crate) fn over(child: &Child, patience: Patience, progress: &Arc<Progress>) -> Self {
        let (over, ended) = channel();
        let (group, progress) = (Pid::from_raw(child.id().cast_signed()), Arc::clone(progress));
        let thread = thread::spawn(move || {
            let quiet = until_quiet(&patience, &progress, &ended)?;
            // What has ended meanwhile is there until it is waited for, which comes after this thread.
            let _ = kill_process_group(group?, Signal::KILL);
            Some(quiet)
        });
        Self { over, thread }
    }

    /// Ends watching; how long nothing had happened, when the program was ended for that.
    pub(crate) fn end(self) -> Option<Duration> {
        // A thread that has done its work does not listen any more.
        let _ = self.over.send(());
        self.thread.join().unwrap_or_default()
    }
}

/// Returns once nothing has happened for too long: how long; `None` when the program ended by itself.
fn until_quiet(patience: &Patience, progress: &Progress, ended: &Receiver<()>) -> Option<Duration> {
    let tick = (patience.quiet / 8).min(TICK);
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        match ended.recv_timeout(tick) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return None,
        }
        let now = Some((progress.passed.load(Ordering::Relaxed), patience.grown()));
        let whole = progress.whole.load(Ordering::Relaxed);
        let ours = !whole && !progress.waits.load(Ordering::Relaxed);
        if ours || now != seen {
            (seen, since) = (now, Instant::now());
            continue;
        }
        let fed = if whole { progress.fed.load(Ordering::Relaxed) } else { 0 };
        let bound = patience.clone().storing(fed).quiet();
        if since.elapsed() >= bound {
            return Some(bound);
        }
    }
}
