//! A root file system for plain containers: busybox, static, under all its names.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::ran::run;

/// Fills `dir` with a busybox root.
///
/// # Panics
/// When busybox-static is not installed or `dir` cannot be written.
pub fn busybox(dir: &Path) {
    let program = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    let program = program.expect("busybox-static is installed by ./x");
    for name in ["bin", "tmp", "etc", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(dir.join(name)).expect("make directory");
    }
    fs::set_permissions(dir.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::copy(program, dir.join("bin/busybox")).expect("copy busybox");
    for name in run(Command::new(program).arg("--list")).ok().lines().filter(|name| *name != "busybox") {
        symlink("busybox", dir.join("bin").join(name)).expect("link");
    }
    fs::write(dir.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/tmp:/bin/sh\n").expect("write");
    fs::write(dir.join("etc/group"), "root:x:0:\nalice:x:1000:\nvideo:x:44:alice\n").expect("write");
}
