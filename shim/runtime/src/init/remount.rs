//! Mounts that libcontainer leaves unfinished, finished from inside, after the change of root.

use std::path::Path;

use hone_contract::quoted_path;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_change, mount_remount};

use crate::edits::Propagation;

/// Sets the propagation that the caller asked for.
pub fn propagate(list: &[Propagation]) -> Result<(), String> {
    for one in list {
        mount_change(&one.destination, one.flags)
            .map_err(|errno| format!("set propagation of \"{}\": {}", quoted_path(&one.destination), say(errno)))?;
    }
    Ok(())
}

/// Makes one mount read-only and leaves its other flags: in a user namespace they may not be taken away.
pub fn make_read_only(path: &Path) -> Result<(), String> {
    let stat = statvfs(path).map_err(|errno| format!("statvfs \"{}\": {}", quoted_path(path), say(errno)))?;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept = kept.into_iter().filter(|(has, _)| stat.f_flag.contains(*has)).map(|(_, flag)| flag);
    let flags = kept.fold(MountFlags::RDONLY | MountFlags::BIND, |all, flag| all | flag);
    mount_remount(path, flags, "")
        .map_err(|errno| format!("remount \"{}\" read-only: {}", quoted_path(path), say(errno)))
}

fn say(errno: Errno) -> String {
    super::plain(&errno.into())
}
