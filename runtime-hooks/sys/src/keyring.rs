//! Session keyrings, so that a container does not see the keys of whoever started it.

use std::ffi::CStr;
use std::io;

/// KEYCTL_JOIN_SESSION_KEYRING of keyctl(2); libc has no name for it.
const JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Replaces the session keyring of this process by a new one called `name`.
///
/// # Errors
/// What keyctl(2) says; `ENOSYS` in a kernel without keys.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: name is NUL-terminated and outlives the call, which reads it and nothing else.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
