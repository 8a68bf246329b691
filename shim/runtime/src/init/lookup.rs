//! Finding the program, as a shell would, with the container's PATH and the container's user.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hone_contract::{quoted, quoted_path};
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// The program that `name` means.
///
/// # Errors
/// In runc's words: docker and podman turn them into the exit codes 127 and 126.
pub fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        let program = PathBuf::from(name);
        return match executable(&program) {
            Ok(()) => Ok(program),
            Err(why) => Err(format!("exec: \"{}\": {why}", quoted(name))),
        };
    }
    let dirs = path.split(':').map(|dir| if dir.is_empty() { "." } else { dir });
    let found = dirs.map(|dir| Path::new(dir).join(name)).find(|program| executable(program).is_ok());
    let absent = || format!("exec: \"{}\": executable file not found in $PATH", quoted(name));
    found.filter(|_| !name.is_empty()).ok_or_else(absent)
}

fn executable(program: &Path) -> Result<(), String> {
    let meta = std::fs::metadata(program)
        .map_err(|error| format!("stat {}: {}", quoted_path(program), super::plain(&error)))?;
    if meta.is_dir() || meta.permissions().mode() & 0o111 == 0 {
        return Err("permission denied".into());
    }
    // With the effective ids: the user has just been set. A file system mounted noexec says no here, too.
    accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS).map_err(|errno| super::plain(&errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_or_not_executable() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().display().to_string();
        std::fs::write(dir.path().join("data"), b"x").expect("write");
        assert_eq!(find("nope", &path), Err("exec: \"nope\": executable file not found in $PATH".into()));
        assert_eq!(find("data", &path), Err("exec: \"data\": executable file not found in $PATH".into()));
        let full = format!("{path}/data");
        assert_eq!(find(&full, ""), Err(format!("exec: {full:?}: permission denied")));
        assert_eq!(find("/nope", ""), Err("exec: \"/nope\": stat /nope: no such file or directory".into()));
        for name in ["\u{1b}x".repeat(1 << 20), format!("/{}", "y".repeat(1 << 20))] {
            let said = find(&name, &path).expect_err("not there");
            assert!(said.starts_with("exec: \"") && said.len() < 3000 && !said.contains('\u{1b}'), "{said:.200}");
        }
        assert_eq!(find("sh", "/nonexistent:/bin"), Ok("/bin/sh".into()));
    }
}
