//! Kernel calls: the crate whose modules may say `unsafe`.
//!
//! It owns what `rustix` does not wrap (fork, signalfd, keyrings, the loopback interface, BPF device filters)
//! and two safe compositions that everyone needs alike: reading below an untrusted root, and descriptor hygiene.
//! It refuses policy: nothing here knows what a container is.

#[allow(unsafe_code)]
mod bpf;
#[allow(unsafe_code)]
mod keyring;
#[allow(unsafe_code)]
mod loopback;
#[allow(unsafe_code)]
mod mounts;
#[allow(unsafe_code)]
mod process;
#[allow(unsafe_code)]
mod signals;

mod rooted;

pub use bpf::{Instruction, attach_device_filter, detach_device_filters};
pub use keyring::join_session_keyring;
pub use loopback::bring_up_loopback;
pub use mounts::private_mounts;
pub use process::{
    Fork, become_program, close_descriptors_from, close_on_exec_from, fork, send_signal, send_signal_to, set_umask,
};
pub use rooted::{RootedError, enter_directory, make_directory_in_root, read_in_root, resolve_in_root};
pub use signals::{SignalMask, Signals};
