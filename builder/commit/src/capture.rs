//! Taking an adapter's files out of a directory that an untrusted program wrote.
//!
//! Nothing is followed: each name is opened relative to its directory with O_NOFOLLOW, looked at as an open file,
//! and copied, bounded, into a file that only this program has. What is checked afterwards is that copy. Its header is
//! looked at before, too: a file may have gigabytes and take no room, until it is copied.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use hone_contract::quoted;
use hone_contract::run::OUT_NAME;
use hone_store::Ingest;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use crate::error::{Pending, StepError};

/// The configuration's name in PEFT's layout.
pub const CONFIG: &str = "adapter_config.json";
/// The tensors' name in PEFT's layout.
pub const TENSORS: &str = "adapter_model.safetensors";
/// PEFT writes a model card, too; it is left behind.
const IGNORED: &str = "README.md";
/// A configuration larger than this is refused (bytes).
const MAX_CONFIG: u64 = 1 << 20;
/// Where the trainer sees the directory.
const SHOWN: &str = "/hone/out/adapter";
/// Most characters of a name that is refused.
const MAX_SHOWN: usize = 100;

/// The two files.
#[derive(Debug)]
pub struct Captured {
    /// A copy of adapter_config.json.
    pub config: Vec<u8>,
    /// adapter_model.safetensors, positioned at its start: the trainer's own, which may change at any time.
    pub tensors: File,
    /// Its size.
    pub size: u64,
}

/// Captures the adapter of the run staged at `staging`, of at most `max_bytes` in both files.
pub fn capture(staging: &Path, max_bytes: u64) -> Result<Captured, StepError> {
    let path = staging.join(OUT_NAME);
    let Some(out) = open_dir(CWD, &path, &path.display().to_string())? else {
        return Err(refused(format!("{} is missing", path.display())));
    };
    let Some(dir) = open_dir(&out, Path::new("adapter"), SHOWN)? else {
        return Err(refused(format!("the trainer wrote no adapter: {SHOWN} is missing")));
    };
    refuse_others(&dir)?;
    let (config, config_size) = open_file(&dir, CONFIG, MAX_CONFIG.min(max_bytes))?;
    let (tensors, size) = open_file(&dir, TENSORS, max_bytes - config_size)?;
    let mut bytes = Vec::new();
    config.take(config_size + 1).read_to_end(&mut bytes).map_err(reading(CONFIG))?;
    same_size(CONFIG, bytes.len() as u64, config_size)?;
    Ok(Captured { config: bytes, tensors, size })
}

/// The tensors in a file of this program's own, positioned at its start.
pub fn copy(ingest: &Ingest<'_>, captured: &Captured) -> Result<File, StepError> {
    let Captured { tensors, size, .. } = captured;
    let (mut tensors, size) = (tensors, *size);
    tensors.rewind().map_err(reading(TENSORS))?;
    let scratch = ingest.scratch()?;
    let mut to = &scratch;
    let mut buffer = vec![0; 1 << 20];
    let mut from = tensors.take(size + 1);
    let mut copied = 0;
    loop {
        let n = from.read(&mut buffer).map_err(reading(TENSORS))?;
        if n == 0 {
            break;
        }
        to.write_all(&buffer[..n]).map_err(ingest.store().tmp_error())?;
        copied += n as u64;
    }
    same_size(TENSORS, copied, size)?;
    to.rewind().map_err(ingest.store().tmp_error())?;
    Ok(scratch)
}

fn same_size(name: &str, got: u64, want: u64) -> Result<(), StepError> {
    if got == want { Ok(()) } else { Err(refused(format!("{SHOWN}/{name} changed while it was read"))) }
}

/// Opens a directory without following a link; `None` when nothing has that name.
fn open_dir(at: impl AsFd, name: &Path, shown: &str) -> Result<Option<OwnedFd>, StepError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(refused(format!("{shown} is not a directory"))),
        Err(errno) => Err(Pending::io("open", shown)(errno.into()).into()),
    }
}

fn refuse_others(dir: &OwnedFd) -> Result<(), StepError> {
    let failed = |errno: Errno| StepError::from(Pending::io("list", SHOWN)(errno.into()));
    for entry in Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if ![".", "..", CONFIG, TENSORS, IGNORED].contains(&name.as_str()) {
            let shown = quoted(&name).at_most(MAX_SHOWN);
            return Err(refused(format!("{SHOWN} holds \"{shown}\"; only {CONFIG} and {TENSORS} may be there")));
        }
    }
    Ok(())
}

/// Opens a regular file with one name and at most `limit` bytes.
fn open_file(dir: &OwnedFd, name: &str, limit: u64) -> Result<(File, u64), StepError> {
    let failed = |errno: Errno| StepError::from(Pending::io("open", format!("{SHOWN}/{name}"))(errno.into()));
    // Looked at before it is opened, too: opening a device can do something.
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Err(refused(format!("the trainer wrote no {SHOWN}/{name}"))),
        Ok(stat) => regular(name, stat.st_mode)?,
        Err(errno) => return Err(failed(errno)),
    }
    // NONBLOCK: a FIFO put there meanwhile must not hang this program.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(refused(format!("{SHOWN}/{name} is not a regular file"))),
        result => result.map_err(failed)?,
    };
    let stat = fstat(&fd).map_err(failed)?;
    regular(name, stat.st_mode)?;
    if stat.st_nlink != 1 {
        return Err(refused(format!("{SHOWN}/{name} has {} hard links, want 1", stat.st_nlink)));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > limit {
        return Err(refused(format!("{SHOWN}/{name} has {size} bytes, want at most {limit}")));
    }
    Ok((File::from(fd), size))
}

fn regular(name: &str, mode: u32) -> Result<(), StepError> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(refused(format!("{SHOWN}/{name} is not a regular file"))),
    }
}

fn refused(reason: String) -> StepError {
    StepError::Refused(reason)
}

fn reading(name: &str) -> impl FnOnce(io::Error) -> StepError {
    let read = Pending::io("read", format!("{SHOWN}/{name}"));
    move |error| read(error).into()
}
