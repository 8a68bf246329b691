//! What is done to a container's process from the host, between its making and its start.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::error::{Result, RuntimeError};

/// Interfaces that the kernel puts into every new network namespace when their modules are loaded; they are down
/// and lead nowhere (net.core.fb_tunnels_only_for_init_net).
const FALLBACK_TUNNELS: [&str; 9] =
    ["tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"];

/// Sets how early the kernel kills the process for memory.
///
/// # Errors
/// When the kernel refuses: lowering it takes CAP_SYS_RESOURCE.
pub fn set_oom_score(pid: i32, process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj() else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    std::fs::write(&path, score.to_string()).map_err(RuntimeError::io("write", path))
}

/// The interfaces of a process's network namespace, without loopback and the kernel's fallback tunnels.
///
/// # Errors
/// When they cannot be listed.
pub fn interfaces(pid: i32) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/net/dev");
    let text = std::fs::read_to_string(&path).map_err(RuntimeError::io("read", path))?;
    Ok(outside_interfaces(&text))
}

/// proc_pid_net(5): two lines of headings, then `name: counters`.
fn outside_interfaces(text: &str) -> Vec<String> {
    let names = text.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim);
    names.filter(|name| *name != "lo" && !FALLBACK_TUNNELS.contains(name)).map(str::to_owned).collect()
}

/// `tmpcopyup`: fills each such tmpfs with what the image has at its place.
///
/// # Errors
/// When something cannot be copied.
pub fn copy_up(pid: i32, spec: &Spec, rootfs: &Path) -> Result<()> {
    for mount in spec.mounts().iter().flatten() {
        if !mount.options().iter().flatten().any(|o| o == "tmpcopyup") {
            continue;
        }
        let at = mount.destination();
        let inside = PathBuf::from(format!("/proc/{pid}/root"));
        let (Ok(from), Ok(to)) = (open_dir(rootfs, at), open_dir(&inside, at)) else { continue };
        let path = |file: &File| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        copy_dir(&path(&from), &path(&to)).map_err(RuntimeError::io("copy up", at))?;
    }
    Ok(())
}

/// Every link below `root` stays below it.
fn open_dir(root: &Path, path: &Path) -> io::Result<File> {
    let dir = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat2(&dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?.into())
}

/// The target is a new tmpfs and its process has not started: nothing in it can be a link of somebody else's.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata()?;
        if meta.is_dir() {
            std::fs::DirBuilder::new().mode(0o700).create(&target)?;
            copy_dir(&source, &target)?;
        } else if meta.is_symlink() {
            symlink(std::fs::read_link(&source)?, &target)?;
        } else if meta.is_file() {
            std::fs::copy(&source, &target)?;
        } else {
            continue;
        }
        lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
        if !meta.is_symlink() {
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        }
    }
    Ok(())
}

/// The mode of a directory of the root filesystem, for a tmpfs that covers it.
pub fn mode_of(rootfs: &Path, path: &Path) -> Option<u32> {
    let dir = open_dir(rootfs, path).ok()?;
    dir.metadata().ok().map(|meta| meta.mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_fallback_tunnels_are_no_way_out() {
        let text = "Inter-| Receive\n face |bytes\n    lo: 0 0\n tunl0: 0\n  eth0: 1 2\nsit0: 0\n";
        assert_eq!(outside_interfaces(text), ["eth0"]);
    }

    #[test]
    fn copying_up_keeps_modes_and_links() {
        let (from, to) = (tempfile::tempdir().expect("from"), tempfile::tempdir().expect("to"));
        std::fs::create_dir(from.path().join("d")).expect("mkdir");
        std::fs::write(from.path().join("d/f"), b"x").expect("write");
        std::fs::set_permissions(from.path().join("d"), std::fs::Permissions::from_mode(0o1777)).expect("chmod");
        symlink("/etc/passwd", from.path().join("l")).expect("symlink");
        copy_dir(from.path(), to.path()).expect("copy");
        assert_eq!(std::fs::read(to.path().join("d/f")).expect("read"), b"x");
        assert_eq!(mode_of(to.path(), Path::new("/d")), Some(0o1777));
        assert_eq!(std::fs::read_link(to.path().join("l")).expect("link"), Path::new("/etc/passwd"));
    }
}
