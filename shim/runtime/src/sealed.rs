//! A copy of this program that nothing can write to (CVE-2019-5736).
//!
//! A payload that gets hold of `/proc/<pid>/exe` of a runtime process inside its container could overwrite the
//! runtime on the host. For create, run and exec this program therefore first becomes a sealed copy of itself, in
//! memory.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::io::Errno;

use crate::error::{Result, RuntimeError};

/// Where the program lies that was copied; only ever used to find the programs beside it.
const ORIGIN: &str = "HONE_RUNTIME_ORIGIN";
/// What makes a copy unchangeable.
const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);
/// How often sealing is tried; the kernel waits 150 ms each time.
const SEAL_TRIES: usize = 10;

/// Becomes the sealed copy, unless this is it already.
///
/// # Errors
/// When the copy cannot be made or executed: running without it would be running unprotected.
pub fn ensure() -> Result<()> {
    let own = File::open("/proc/self/exe").map_err(RuntimeError::io("open", "/proc/self/exe"))?;
    if fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SEALS)) {
        return Ok(());
    }
    let copy = sealed_copy(own).map_err(RuntimeError::call("copy this program to memory"))?;
    let text =
        |bytes: &[u8]| CString::new(bytes).map_err(|_| RuntimeError::Usage("a NUL byte in the arguments".into()));
    let args = std::env::args_os().map(|arg| text(arg.as_bytes())).collect::<Result<Vec<_>>>()?;
    let origin = std::env::current_exe().map_err(RuntimeError::call("find this program"))?;
    let mut env = vec![text(format!("{ORIGIN}={}", origin.display()).as_bytes())?];
    for (name, value) in std::env::vars_os().filter(|(name, _)| name != ORIGIN) {
        env.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    let path = text(format!("/proc/self/fd/{}", copy.as_raw_fd()).as_bytes())?;
    Err(RuntimeError::call("execute a sealed copy of this program")(hone_sys::become_program(&path, &args, &env)))
}

fn sealed_copy(mut own: File) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(memfd_create(c"hone-runtime", flags)?);
    io::copy(&mut own, &mut copy)?;
    seal(&copy)?;
    // Executing a file that is open for writing fails with ETXTBSY, so the descriptor is opened anew.
    File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))
}

/// The kernel waits a while for whoever looks at a page (compaction, reclaim) to be done with it, then answers EBUSY
/// (mm/memfd.c, memfd_wait_for_pins): that passes.
fn seal(copy: &File) -> io::Result<()> {
    for _ in 1..SEAL_TRIES {
        match fcntl_add_seals(copy, SEALS) {
            Err(Errno::BUSY) => {}
            done => return Ok(done?),
        }
    }
    Ok(fcntl_add_seals(copy, SEALS)?)
}

/// The program as it lies on disk, also from inside the copy.
///
/// # Errors
/// When it cannot be found out.
pub fn origin() -> Result<PathBuf> {
    match std::env::var_os(ORIGIN) {
        Some(path) => Ok(PathBuf::from(path)),
        None => std::env::current_exe().map_err(RuntimeError::call("find this program")),
    }
}
