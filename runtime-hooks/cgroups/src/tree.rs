//! Directories of a cgroup: made with their parents, listed with what is below them, removed from the leaves up.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{CgroupError, Hierarchy};

/// Pause between two attempts at a busy directory.
const TICK: Duration = Duration::from_millis(10);

/// Makes the cgroup called `path` in one hierarchy, ready for processes.
pub(crate) fn make(hierarchy: &Hierarchy, path: &Path) -> Result<(), CgroupError> {
    let mut dir = hierarchy.mount.clone();
    let target = hierarchy.dir(path);
    let below = target.strip_prefix(&hierarchy.mount).unwrap_or(Path::new(""));
    for part in below.components() {
        if hierarchy.v2 {
            enable_controllers(&dir, hierarchy);
        }
        let parent = dir.clone();
        dir.push(part);
        match std::fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CgroupError::Create { path: dir, source }),
        }
        if hierarchy.controllers.contains("cpuset") && !hierarchy.v2 {
            inherit_cpuset(&parent, &dir)?;
        }
    }
    Ok(())
}

/// One controller at a time: one that is refused (realtime processes, processes in an inner cgroup) must not take
/// the others with it. A limit that needs the missing one fails later, with its name.
fn enable_controllers(dir: &Path, hierarchy: &Hierarchy) {
    for controller in &hierarchy.controllers {
        let _ = write(&dir.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

/// In v1 an empty cpuset admits no process.
fn inherit_cpuset(parent: &Path, dir: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |dir: &Path| {
            let path = dir.join(file);
            std::fs::read_to_string(&path).map_err(|source| CgroupError::Read { path, source })
        };
        if read(dir)?.trim().is_empty() {
            write(&dir.join(file), read(parent)?.trim())?;
        }
    }
    Ok(())
}

/// Adds the processes of a directory and of those below it.
pub(crate) fn collect(dir: &Path, pids: &mut BTreeSet<i32>) -> Result<(), CgroupError> {
    let path = dir.join("cgroup.procs");
    match std::fs::read_to_string(&path) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // A threaded cgroup of v2 lists no processes; its domain above does.
        Err(error) if error.raw_os_error() == Some(95) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(CgroupError::Read { path, source }),
    }
    for child in children(dir) {
        collect(&child, pids)?;
    }
    Ok(())
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

/// Removes a directory and those below it, waiting until `end` for the last processes to be reaped.
pub(crate) fn remove(dir: &Path, end: Instant) -> Result<(), CgroupError> {
    for child in children(dir) {
        remove(&child, end)?;
    }
    loop {
        match std::fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(16) && Instant::now() < end => std::thread::sleep(TICK),
            Err(source) => return Err(CgroupError::Remove { path: dir.into(), source }),
        }
    }
}

/// Writes one value, in one write, as cgroup files want it.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    use std::io::Write as _;
    let result = std::fs::OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(value.as_bytes()));
    result.map_err(|source| CgroupError::Write { path: path.into(), value: value.into(), source })
}
