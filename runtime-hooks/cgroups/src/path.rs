//! From `linux.cgroupsPath` to one absolute name below every hierarchy. Pure.

use std::path::{Component, Path, PathBuf};

use hone_contract::quoted;

/// A `cgroupsPath` that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It would leave the hierarchy.
    #[error("read cgroupsPath \"{}\": want no \"..\"", quoted(.0))]
    Climbs(String),
    /// `--systemd-cgroup` wants three parts.
    #[error("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{}\" instead", quoted(.0))]
    NotSystemd(String),
    /// The first part is not a slice.
    #[error("invalid slice name: {}", quoted(.0))]
    BadSlice(String),
}

/// The cgroup of container `id`, absolute below each hierarchy's root.
///
/// A missing path is `/<id>`, a relative one is taken from the root. With `systemd`, `slice:prefix:name` becomes
/// the directories systemd makes for it: `a-b.slice:docker:x` is `/a.slice/a-b.slice/docker-x.scope`.
///
/// # Errors
/// See [`PathError`].
pub fn container_path(cgroups_path: Option<&Path>, id: &str, systemd: bool) -> Result<PathBuf, PathError> {
    let given = cgroups_path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    if systemd {
        return systemd_path(&given, id);
    }
    if given.is_empty() {
        return Ok(Path::new("/").join(id));
    }
    absolute(&given)
}

fn absolute(given: &str) -> Result<PathBuf, PathError> {
    let mut out = PathBuf::from("/");
    for part in Path::new(given).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => return Err(PathError::Climbs(given.into())),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(out)
}

fn systemd_path(given: &str, id: &str) -> Result<PathBuf, PathError> {
    if given.is_empty() {
        return absolute(&format!("system.slice/hone-{id}.scope"));
    }
    let parts: Vec<&str> = given.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        return Err(PathError::NotSystemd(given.into()));
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let unit = match (prefix.is_empty(), name.ends_with(".slice")) {
        (_, true) => name.to_owned(),
        (true, false) => format!("{name}.scope"),
        (false, false) => format!("{prefix}-{name}.scope"),
    };
    absolute(&format!("{}/{unit}", expand_slice(slice)?))
}

/// `a-b.slice` lies in `a.slice` (systemd.slice(5)); `-.slice` is the root.
fn expand_slice(slice: &str) -> Result<String, PathError> {
    let bad = || PathError::BadSlice(slice.into());
    let name = slice.strip_suffix(".slice").ok_or_else(bad)?;
    if name == "-" {
        return Ok(String::new());
    }
    if name.contains('/') || name.split('-').any(str::is_empty) {
        return Err(bad());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        path.push_str(&format!("/{prefix}{part}.slice"));
        prefix.push_str(&format!("{part}-"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(given: &str, systemd: bool) -> Result<String, PathError> {
        container_path(Some(Path::new(given)), "c1", systemd).map(|path| path.display().to_string())
    }

    #[test]
    fn cgroupfs_paths() {
        assert_eq!(path("/docker/abc", false).as_deref(), Ok("/docker/abc"));
        assert_eq!(path("pods//x/.", false).as_deref(), Ok("/pods/x"));
        assert_eq!(container_path(None, "c1", false), Ok("/c1".into()));
        assert_eq!(path("/a/../../b", false), Err(PathError::Climbs("/a/../../b".into())));
    }

    #[test]
    fn a_path_without_end_is_cut_and_escaped() {
        let long = "\u{1b}x".repeat(1 << 20);
        for (given, systemd) in [(format!("../{long}"), false), (long.clone(), true), (format!("{long}:a:b"), true)] {
            let said = path(&given, systemd).expect_err("refused").to_string();
            assert!(said.len() < 3000 && !said.contains('\u{1b}'), "{} bytes: {said:.200}", said.len());
        }
    }

    #[test]
    fn systemd_paths() {
        assert_eq!(path("machine.slice:libpod:abc", true).as_deref(), Ok("/machine.slice/libpod-abc.scope"));
        assert_eq!(
            path("kubepods-besteffort-pod1.slice:cri:x", true).as_deref(),
            Ok("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-x.scope")
        );
        assert_eq!(path("-.slice:a:b", true).as_deref(), Ok("/a-b.scope"));
        assert_eq!(path(":a:b", true).as_deref(), Ok("/system.slice/a-b.scope"));
        assert_eq!(path("/docker/abc", true), Err(PathError::NotSystemd("/docker/abc".into())));
        assert_eq!(path("a--b.slice:a:b", true), Err(PathError::BadSlice("a--b.slice".into())));
        assert_eq!(path("nope:a:b", true), Err(PathError::BadSlice("nope".into())));
    }
}
