//! Device filters of cgroup v2: small BPF programs attached to a cgroup, because v2 has no devices controller.
//!
//! This file loads and attaches; which devices a program lets through is decided by who writes its instructions.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One BPF instruction, `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Offset of a load or a jump.
    pub offset: i16,
    /// Immediate value.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
/// The kernel keeps at most this many programs at one cgroup (BPF_CGROUP_MAX_PROGS).
const MAX_PROGRAMS: usize = 64;
/// A device filter calls no GPL-only helper; the kernel asks for a licence all the same.
const LICENCE: &[u8] = b"Apache-2.0\0";

/// The leading members of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// `union bpf_attr` for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// `union bpf_attr` for BPF_PROG_QUERY.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// `union bpf_attr` for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Loads `program` and attaches it to the cgroup directory, beside those that are there.
///
/// # Errors
/// What bpf(2) says: `EINVAL` for a program the verifier refuses, `EPERM` without CAP_BPF or CAP_SYS_ADMIN.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut load = Load {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        instructions: program.as_ptr() as u64,
        licence: LICENCE.as_ptr() as u64,
        ..Load::default()
    };
    let fd = bpf(BPF_PROG_LOAD, &mut load)?;
    // SAFETY: BPF_PROG_LOAD has just returned this descriptor, and nobody else owns it.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut attach = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &mut attach).map(drop)
}

/// Removes the device filters attached to the cgroup directory itself; returns how many there were.
///
/// # Errors
/// What bpf(2) says.
pub fn detach_device_filters(cgroup: BorrowedFd<'_>) -> io::Result<usize> {
    let mut ids = [0_u32; MAX_PROGRAMS];
    let mut query = Query {
        target: cgroup.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: MAX_PROGRAMS as u32,
        ..Query::default()
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    let count = (query.count as usize).min(MAX_PROGRAMS);
    for id in &ids[..count] {
        let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut ById { id: *id, ..ById::default() })?;
        // SAFETY: BPF_PROG_GET_FD_BY_ID has just returned this descriptor, and nobody else owns it.
        let program = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut detach = Attach {
            target: cgroup.as_raw_fd() as u32,
            program: program.as_raw_fd() as u32,
            kind: BPF_CGROUP_DEVICE,
            flags: 0,
        };
        bpf(BPF_PROG_DETACH, &mut detach)?;
    }
    Ok(count)
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attributes` is one of the repr(C) structs above, each a prefix of union bpf_attr, and its size is
    // passed with it; the buffers it points at outlive the call and are as long as it says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
