//! Which cgroup hierarchies this host has, and which controller lives in which.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::CgroupError;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup that the mount shows as its top (not `/` inside a container).
    pub root: PathBuf,
    /// Whether it is the unified one.
    pub v2: bool,
    /// Its controllers; `name=systemd` for a named hierarchy.
    pub controllers: BTreeSet<String>,
}

impl Hierarchy {
    /// The directory of the cgroup called `path`.
    pub fn dir(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        self.mount.join(below.strip_prefix("/").unwrap_or(below))
    }
}

/// Every hierarchy of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// Reads `/proc/self/mountinfo` and the unified hierarchy's controllers.
    ///
    /// # Errors
    /// When nothing is mounted, or `/proc` cannot be read.
    pub fn detect() -> Result<Self, CgroupError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let text = std::fs::read_to_string(&path).map_err(|source| CgroupError::Detect { path, source })?;
        let mut found = parse_mountinfo(&text);
        for hierarchy in found.iter_mut().filter(|h| h.v2) {
            let path = hierarchy.mount.join("cgroup.controllers");
            let text = std::fs::read_to_string(&path).map_err(|source| CgroupError::Detect { path, source })?;
            hierarchy.controllers = text.split_whitespace().map(str::to_owned).collect();
        }
        if found.is_empty() { Err(CgroupError::NoHierarchy) } else { Ok(Self(found)) }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Hierarchy> {
        self.0.iter()
    }

    /// The one that has `controller`.
    pub fn with(&self, controller: &str) -> Option<&Hierarchy> {
        self.0.iter().find(|h| h.controllers.contains(controller))
    }

    /// The unified one, with whatever controllers it has.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.0.iter().find(|h| h.v2)
    }

    /// Whether v2 is all there is.
    pub fn only_v2(&self) -> bool {
        self.0.iter().all(|h| h.v2)
    }
}

/// proc_pid_mountinfo(5): `id parent dev root mount options [optional...] - type source super-options`.
///
/// Of several mounts of one hierarchy the first under `/sys/fs/cgroup` is taken.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = text.lines().filter_map(parse_line).collect();
    found.sort_by_key(|h| !h.mount.starts_with("/sys/fs/cgroup"));
    let mut kept: Vec<Hierarchy> = Vec::new();
    for hierarchy in found {
        let same = |k: &&Hierarchy| k.v2 == hierarchy.v2 && k.controllers == hierarchy.controllers;
        if kept.iter().find(same).is_none() {
            kept.push(hierarchy);
        }
    }
    kept
}

fn parse_line(line: &str) -> Option<Hierarchy> {
    let (head, tail) = line.split_once(" - ")?;
    let head: Vec<&str> = head.split(' ').collect();
    let mut tail = tail.split(' ');
    let (kind, _source, options) = (tail.next()?, tail.next()?, tail.next()?);
    let v2 = match kind {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let words = ["rw", "ro", "xattr", "clone_children", "noprefix", "nsdelegate"];
    let controllers: BTreeSet<String> = options
        .split(',')
        .filter(|word| !v2 && !words.contains(word) && !word.starts_with("release_agent="))
        .map(str::to_owned)
        .collect();
    let named_by_others = controllers.iter().any(|c| c.starts_with("name=") && c != "name=systemd");
    if named_by_others {
        return None;
    }
    Some(Hierarchy { mount: unescape(head.get(4)?), root: unescape(head.get(3)?), v2, controllers })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let plain = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
50 23 0:32 / /var/lib/x/memory rw,relatime - cgroup cgroup rw,memory
51 23 0:39 / /run/elogind rw - cgroup cgroup rw,name=elogind
";

    #[test]
    fn hybrid_is_read_controller_by_controller() {
        let all = Hierarchies(parse_mountinfo(HYBRID));
        assert_eq!(all.iter().count(), 4);
        assert_eq!(all.with("cpuacct").map(|h| h.mount.clone()), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(all.with("memory").map(|h| h.mount.clone()), Some("/sys/fs/cgroup/memory".into()));
        assert!(all.unified().is_some_and(|h| h.controllers.is_empty()));
        assert!(!all.only_v2());
    }

    #[test]
    fn a_mount_of_a_part_shows_only_what_is_below_it() {
        let line = "9 8 0:29 /docker/a /sys/fs/cgroup rw - cgroup2 cgroup rw";
        let all = parse_mountinfo(line);
        assert_eq!(all[0].dir(Path::new("/docker/a/b")), Path::new("/sys/fs/cgroup/b"));
        assert_eq!(all[0].dir(Path::new("/c")), Path::new("/sys/fs/cgroup/c"));
    }
}
