//! A mount namespace of one's own: mounts made in it are gone with its last process.

use std::io;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this process into a new mount namespace, from which no mount gets back out; those made outside
/// later still arrive.
///
/// # Errors
/// What unshare(2) and mount(2) say; `EPERM` without CAP_SYS_ADMIN.
pub fn private_mounts() -> io::Result<()> {
    // SAFETY: only UnshareFlags::FILES has a requirement, and it is not among the flags.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let flags = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
    Ok(mount_change("/", flags)?)
}
