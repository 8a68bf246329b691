//! `ROOT/staging/<id>/`: what one training run leaves behind (docs/contract.md, "Staging").
//!
//! Every record is replaced atomically and durably: a reader sees the old one or the new one, also after a power
//! cut. The trainer writes below `out/` only, and nothing here follows a link that it could have put there.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hone_contract::run::{EXIT_FILE, ExitRecord, LOCK_FILE, OUT_NAME, OUTCOME_FILE, Outcome, RUN_FILE, RunRecord};
use hone_contract::{quoted, quoted_path};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A record larger than this was not written by us (bytes).
const MAX_RECORD: u64 = 64 << 20;
/// Pause between two looks at the lock.
const TICK: Duration = Duration::from_millis(20);

/// A staging operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The id would name another directory.
    #[error("open staging \"{}\": want letters, digits and \"_+-.\", beginning with a letter or digit", quoted(.0))]
    BadId(String),
    /// Another run with the same id has not ended.
    #[error("open staging \"{}\": another run is using it; wait for it or stop it", quoted_path(path))]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory cannot be made, read or replaced.
    #[error("{operation} \"{}\"", quoted_path(path))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A record is not the JSON it should be.
    #[error("parse \"{}\"", quoted_path(path))]
    Json {
        /// The record.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StagingError {
    move |source| StagingError::Io { operation, path: path.into(), source }
}

/// One staging directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    dir: PathBuf,
}

impl Staging {
    /// The directory of run `id` below `root`, made or not.
    ///
    /// # Errors
    /// [`StagingError::BadId`].
    pub fn of(root: &Path, id: &str) -> Result<Self, StagingError> {
        if !valid_id(id) {
            return Err(StagingError::BadId(id.into()));
        }
        Ok(Self { dir: root.join("staging").join(id) })
    }

    /// Makes the directory, or takes it over from an earlier run: its checkpoint stays, what that run ended with
    /// goes. `out/` belongs to `uid` and `gid`. Returns whether the directory is new.
    ///
    /// # Errors
    /// [`StagingError::Busy`] while the earlier run's keeper lives.
    pub fn prepare(&self, uid: u32, gid: u32) -> Result<bool, StagingError> {
        let new = !self.dir.exists();
        make_private(&self.dir)?;
        if self.is_kept()? {
            return Err(StagingError::Busy { path: self.dir.clone() });
        }
        for stale in [EXIT_FILE, OUTCOME_FILE] {
            let path = self.dir.join(stale);
            absent_is_fine(std::fs::remove_file(&path)).map_err(io_error("remove", &path))?;
        }
        self.prepare_out(uid, gid)?;
        Ok(new)
    }

    /// Lets others pass through to `out/`, for a user namespace whose root is nobody to the host.
    ///
    /// # Errors
    /// When the mode cannot be changed.
    pub fn let_through(&self) -> Result<(), StagingError> {
        for dir in [self.dir.parent().unwrap_or(&self.dir), &self.dir] {
            std::fs::set_permissions(dir, Permissions::from_mode(0o711)).map_err(io_error("chmod", dir))?;
        }
        Ok(())
    }

    /// The directory at `dir`, as it is.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// An adapter that an earlier run left would pass for this run's: it goes before the trainer starts.
    fn prepare_out(&self, uid: u32, gid: u32) -> Result<(), StagingError> {
        let out = self.out();
        make_private(&out)?;
        let adapter = out.join("adapter");
        hone_files::remove(&adapter).map_err(io_error("remove", &adapter))?;
        // The same data may be trained by another user next time.
        hone_files::give(&out, uid, gid).map_err(|(path, error)| io_error("chown", &path)(error))
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The store's root that it lies in.
    pub fn root(&self) -> &Path {
        self.dir.parent().and_then(Path::parent).unwrap_or(Path::new("/"))
    }

    /// What the trainer sees as `/hone/out`.
    pub fn out(&self) -> PathBuf {
        self.dir.join(OUT_NAME)
    }

    /// The run record.
    ///
    /// # Errors
    /// When it is missing or not a record.
    pub fn run(&self) -> Result<RunRecord, StagingError> {
        self.read(RUN_FILE)
    }

    /// Replaces the run record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_run(&self, record: &RunRecord) -> Result<(), StagingError> {
        self.replace(RUN_FILE, record)
    }

    /// Replaces the exit record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_exit(&self, record: &ExitRecord) -> Result<(), StagingError> {
        self.replace(EXIT_FILE, record)
    }

    /// How far the commit came, if it began.
    ///
    /// # Errors
    /// When the record is there but cannot be read.
    pub fn outcome(&self) -> Result<Option<Outcome>, StagingError> {
        match self.read(OUTCOME_FILE) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(StagingError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the directory, whatever is in it: for a run that never began.
    ///
    /// # Errors
    /// When something stays.
    pub fn remove(&self) -> Result<(), StagingError> {
        hone_files::remove(&self.dir).map_err(io_error("remove", &self.dir))
    }

    /// Takes the keeper's lock; it is held until the descriptor and its copies are closed.
    ///
    /// # Errors
    /// [`StagingError::Busy`] when another keeper holds it.
    pub fn lock(&self) -> Result<OwnedFd, StagingError> {
        let path = self.dir.join(LOCK_FILE);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(io_error("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file.into()),
            Err(Errno::WOULDBLOCK) => Err(StagingError::Busy { path: self.dir.clone() }),
            Err(errno) => Err(io_error("lock", &path)(errno.into())),
        }
    }

    /// Whether a keeper lives.
    ///
    /// # Errors
    /// When the lock cannot be tried.
    pub fn is_kept(&self) -> Result<bool, StagingError> {
        Ok(self.open_lock()?.map(|file| is_locked(&file)).transpose().map_err(io_error("lock", &self.dir))?
            == Some(true))
    }

    /// Waits until no keeper lives, at most `timeout`; returns whether that came true.
    ///
    /// # Errors
    /// When the lock cannot be tried.
    pub fn wait_for_keeper(&self, timeout: Duration) -> Result<bool, StagingError> {
        // The commit may remove the directory while its keeper still lives: the lock is opened once.
        let Some(file) = self.open_lock()? else { return Ok(true) };
        let end = Instant::now() + timeout;
        while is_locked(&file).map_err(io_error("lock", &self.dir))? {
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(TICK);
        }
        Ok(true)
    }

    fn open_lock(&self) -> Result<Option<File>, StagingError> {
        let path = self.dir.join(LOCK_FILE);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, StagingError> {
        let path = self.dir.join(name);
        let bytes = read_bounded(&path).map_err(io_error("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|source| StagingError::Json { path, source })
    }

    fn replace<T: Serialize>(&self, name: &str, record: &T) -> Result<(), StagingError> {
        let path = self.dir.join(name);
        let mut bytes =
            serde_json::to_vec_pretty(record).map_err(|source| StagingError::Json { path: path.clone(), source })?;
        bytes.push(b'\n');
        replace_file(&path, &bytes).map_err(io_error("replace", &path))
    }
}

/// Writes `bytes` beside `path`, syncs them, and renames them into place: durable also through a power cut.
///
/// # Errors
/// What the kernel said; `path` is then as it was.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    swap(path, bytes, true)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// As [`replace_file`], for what does not outlive the machine's boot: whole or not at all, but not synced.
///
/// # Errors
/// What the kernel said; `path` is then as it was.
pub fn swap_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    swap(path, bytes, false)
}

fn swap(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    });
    let done = written.and_then(|()| std::fs::rename(&temporary, path));
    if done.is_err() {
        // The first error is the one to tell; a leftover is replaced by the next attempt.
        let _ = std::fs::remove_file(&temporary);
    }
    done
}

/// The letters of container ids: one path component, never `.` or `..`, never an option.
pub fn valid_id(id: &str) -> bool {
    let tail = |c: u8| c.is_ascii_alphanumeric() || b"_+-.".contains(&c);
    id.len() <= 255 && id.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric()) && id.bytes().all(tail)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_RECORD + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_RECORD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than any record"));
    }
    Ok(bytes)
}

fn is_locked(file: &impl AsFd) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            flock(file, FlockOperation::Unlock)?;
            Ok(false)
        }
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn make_private(dir: &Path) -> Result<(), StagingError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(io_error("create", dir))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (u32, u32) {
        (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
    }

    #[test]
    fn a_second_run_keeps_the_checkpoint_and_drops_the_end() {
        let root = tempfile::tempdir().expect("tempdir");
        let (uid, gid) = ids();
        let first = Staging::of(root.path(), "r1").expect("id");
        assert!(first.prepare(uid, gid).expect("prepare"));
        let exit = ExitRecord { code: 3, signal: None, oom: false, finished_ms: 1 };
        first.set_exit(&exit).expect("exit");
        std::fs::create_dir_all(first.out().join("checkpoint")).expect("mkdir");
        std::fs::create_dir_all(first.out().join("adapter")).expect("mkdir");
        let second = Staging::of(root.path(), "r1").expect("id");
        assert!(!second.prepare(uid, gid).expect("prepare again"));
        assert!(second.out().join("checkpoint").exists());
        assert!(!second.out().join("adapter").exists());
        assert!(!second.dir().join(EXIT_FILE).exists());
        assert_eq!(second.root(), root.path());
    }

    #[test]
    fn a_live_keeper_is_seen_and_waited_for() {
        let root = tempfile::tempdir().expect("tempdir");
        let (uid, gid) = ids();
        let staging = Staging::of(root.path(), "r1").expect("id");
        staging.prepare(uid, gid).expect("prepare");
        assert!(staging.wait_for_keeper(Duration::ZERO).expect("no lock yet"));
        let lock = staging.lock().expect("lock");
        assert!(matches!(staging.lock(), Err(StagingError::Busy { .. })));
        assert!(matches!(staging.prepare(uid, gid), Err(StagingError::Busy { .. })));
        assert!(!staging.wait_for_keeper(Duration::from_millis(50)).expect("locked"));
        drop(lock);
        assert!(staging.wait_for_keeper(Duration::from_millis(50)).expect("free"));
    }

    #[test]
    fn an_adapter_that_is_a_link_is_removed_not_followed() {
        let root = tempfile::tempdir().expect("tempdir");
        let (uid, gid) = ids();
        let staging = Staging::of(root.path(), "r1").expect("id");
        staging.prepare(uid, gid).expect("prepare");
        let precious = root.path().join("precious");
        std::fs::create_dir(&precious).expect("mkdir");
        std::os::unix::fs::symlink(&precious, staging.out().join("adapter")).expect("symlink");
        staging.prepare(uid, gid).expect("prepare again");
        assert!(precious.exists());
        assert!(!staging.out().join("adapter").is_symlink());
    }

    #[test]
    fn an_id_without_end_is_cut_and_escaped() {
        let said = Staging::of(Path::new("/"), &"\u{1b}x".repeat(1 << 20)).expect_err("an id").to_string();
        assert!(said.len() < 3000 && !said.contains('\u{1b}'), "{} bytes: {said:.200}", said.len());
    }

    #[test]
    fn a_checkpoint_of_any_depth_is_taken_over() {
        let root = tempfile::tempdir().expect("tempdir");
        let (uid, gid) = ids();
        let staging = Staging::of(root.path(), "r1").expect("id");
        staging.prepare(uid, gid).expect("prepare");
        // Deeper than a process has open files, and than a path can say.
        let open = |dir: &OwnedFd, name: &str| {
            use rustix::fs::{Mode, OFlags, mkdirat, openat};
            mkdirat(dir, name, Mode::RWXU).expect("mkdir");
            openat(dir, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("open")
        };
        let mut here = open(&File::open(staging.out()).expect("open").into(), "checkpoint");
        for _ in 0..5000 {
            here = open(&here, "d");
        }
        assert!(!staging.prepare(uid, gid).expect("prepare again"));
        assert!(staging.out().join("checkpoint/d/d").exists());
        staging.remove().expect("remove");
    }

    #[test]
    fn strangers_paths_in_messages_are_quoted_and_bounded() {
        let path = Path::new("/x/\u{1b}[2J").join("d/".repeat(5000));
        let said = io_error("chown", &path)(io::ErrorKind::Other.into()).to_string();
        assert!(said.starts_with("chown \"/x/") && !said.contains('\u{1b}') && said.len() < 1000, "{said}");
        let said = StagingError::Io { operation: "read", path: "/x/y".into(), source: io::ErrorKind::Other.into() };
        assert_eq!(said.to_string(), "read \"/x/y\"");
    }

    #[test]
    fn ids_are_one_path_component() {
        for id in ["", ".", "..", "a/b", "-x", "a b", "é"] {
            assert!(!valid_id(id), "{id:?}");
        }
        assert!(valid_id("0abc_+-.9"));
    }
}
