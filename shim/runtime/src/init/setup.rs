//! The last steps of a container's process, in the order the kernel needs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use hone_contract::quoted_path;
use hone_files::open_regular;
use oci_spec::runtime::{LinuxSeccomp, Process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Program, identity, lookup, plain, remount, stdio};
use crate::edits::Propagation;

/// What is read of the container's `/etc/passwd` (bytes).
const MAX_PASSWD: u64 = 8 << 20;

/// A name for a cgroup directory of which several controllers share one (`cpu` for `cpu,cpuacct`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupLink {
    /// The link.
    pub path: PathBuf,
    /// What it says.
    pub target: String,
}

/// What is to be done before the payload runs.
pub struct Setup {
    /// The process as its caller wants it.
    pub process: Process,
    /// The filter, unless libcontainer loads it.
    pub seccomp: Option<LinuxSeccomp>,
    /// The container's first process: its root is still to be finished.
    pub first: bool,
    /// A new network namespace, whose loopback interface is down.
    pub loopback: bool,
    /// The root filesystem is to be read-only.
    pub readonly_root: bool,
    /// Mounts to be made read-only after everything in them was made.
    pub readonly_mounts: Vec<PathBuf>,
    /// Propagation of the caller's mounts.
    pub propagations: Vec<Propagation>,
    /// Links in the cgroup directory.
    pub cgroup_links: Vec<CgroupLink>,
    /// Name of a new session keyring.
    pub keyring: Option<CString>,
    /// The container's user namespace, which libcontainer does not enter for `exec`.
    pub user_namespace: Option<OwnedFd>,
}

impl Setup {
    /// Does everything up to, but not including, execve.
    ///
    /// # Errors
    /// One sentence for the log of whoever started the container.
    pub fn run(&self) -> Result<(), String> {
        hone_sys::SignalMask::unblock_all().map_err(|e| format!("unblock signals: {}", plain(&e)))?;
        self.join_keyring()?;
        if self.loopback {
            hone_sys::bring_up_loopback().map_err(|e| format!("bring loopback up: {}", plain(&e)))?;
        }
        if let Some(namespace) = &self.user_namespace {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
                .map_err(|errno| format!("join user namespace: {}", plain(&errno.into())))?;
        }
        hone_sys::set_umask(self.process.user().umask().unwrap_or(0o022));
        if self.first {
            self.finish_root()?;
        }
        self.become_payload()
    }

    fn join_keyring(&self) -> Result<(), String> {
        let Some(name) = &self.keyring else { return Ok(()) };
        match hone_sys::join_session_keyring(name) {
            // A kernel without keys has none to hide.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => {
                Err(format!("create session keyring: {}", plain(&error)))
            }
            _ => Ok(()),
        }
    }

    fn finish_root(&self) -> Result<(), String> {
        stdio::reopen_null()?;
        for link in &self.cgroup_links {
            std::os::unix::fs::symlink(&link.target, &link.path)
                .map_err(|error| format!("link \"{}\": {}", quoted_path(&link.path), plain(&error)))?;
        }
        remount::propagate(&self.propagations)?;
        let cwd = self.process.cwd();
        hone_sys::make_directory_in_root(Path::new("/"), cwd)
            .map_err(|error| format!("mkdir {}: {}", quoted_path(cwd), plain(&error)))?;
        for path in &self.readonly_mounts {
            remount::make_read_only(path)?;
        }
        if self.readonly_root { remount::make_read_only(Path::new("/")) } else { Ok(()) }
    }

    /// runc's order: the filter early without no_new_privs (loading one then needs CAP_SYS_ADMIN), late with it.
    fn become_payload(&self) -> Result<(), String> {
        let capabilities = self.process.capabilities().as_ref();
        let seccomp = self.seccomp.as_ref();
        stdio::resize(&self.process)?;
        stdio::give_to(self.process.user())?;
        identity::filter_before(&self.process, seccomp)?;
        let entered = self.enter_directory();
        identity::bound(capabilities)?;
        identity::become_user(self.process.user())?;
        match entered {
            // The user may be allowed where root is not: a directory on a network filesystem.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.enter_directory(),
            other => other,
        }
        .map_err(|error| self.bad_directory(&error))?;
        self.check_directory()?;
        identity::limit(capabilities)?;
        self.program()?;
        identity::filter_after(&self.process, seccomp)
    }

    fn enter_directory(&self) -> io::Result<()> {
        hone_sys::enter_directory(self.process.cwd())
    }

    /// CVE-2024-21626: a directory of the host reached through a descriptor has no name in here.
    fn check_directory(&self) -> Result<(), String> {
        match std::env::current_dir() {
            Ok(path) if path.is_absolute() => Ok(()),
            Ok(path) => {
                let path = quoted_path(&path);
                Err(format!("current working directory \"{path}\" is outside of container mount namespace root"))
            }
            Err(error) => Err(self.bad_directory(&error)),
        }
    }

    fn bad_directory(&self, error: &io::Error) -> String {
        let cwd = quoted_path(self.process.cwd());
        format!("chdir to cwd (\"{cwd}\") set in config.json failed: {}", plain(error))
    }

    /// The payload.
    ///
    /// # Errors
    /// When it is not there or not executable.
    pub fn program(&self) -> Result<Program, String> {
        let args = self.process.args().clone().unwrap_or_default();
        let env = self.environment();
        let path = env.iter().find_map(|v| v.strip_prefix("PATH=")).unwrap_or_default();
        let program = lookup::find(args.first().map_or("", String::as_str), path)?;
        Program::new(&program, &args, &env)
    }

    /// The environment, each name once, where it first stood and with the value that was given last.
    fn environment(&self) -> Vec<String> {
        let (mut out, mut places): (Vec<String>, HashMap<&str, usize>) = (Vec::new(), HashMap::new());
        for variable in self.process.env().iter().flatten() {
            // An image may have a hundred thousand: each is looked up, not compared with all before it.
            match places.entry(variable.split('=').next().unwrap_or_default()) {
                Entry::Occupied(place) => out[*place.get()].clone_from(variable),
                Entry::Vacant(place) => {
                    place.insert(out.len());
                    out.push(variable.clone());
                }
            }
        }
        if !out.iter().any(|v| v.starts_with("HOME=") && v.len() > "HOME=".len()) {
            out.retain(|v| !v.starts_with("HOME="));
            out.push(format!("HOME={}", home_of(Path::new("/etc/passwd"), self.process.user().uid())));
        }
        out
    }
}

/// The home directory in the container's `/etc/passwd`; name services would load the image's code into this process. It
/// is the image's: a FIFO there is not waited for, and no more is read than any such file has.
fn home_of(passwd: &Path, uid: u32) -> String {
    let mut bytes = Vec::new();
    let read = open_regular(passwd).and_then(|file| file.take(MAX_PASSWD).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    read.ok().and_then(|_| home_in(&text, uid)).unwrap_or_else(|| "/".into())
}

fn home_in(passwd: &str, uid: u32) -> Option<String> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut own = fields.filter(|f| f.get(2).and_then(|id| id.parse::<u32>().ok()) == Some(uid));
    own.find_map(|f| f.get(5).filter(|home| !home.is_empty()).map(|home| (*home).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(env: &[&str]) -> Setup {
        let mut process = Process::default();
        process.set_env(Some(env.iter().map(|v| (*v).to_owned()).collect()));
        Setup {
            process,
            seccomp: None,
            first: true,
            loopback: false,
            readonly_root: false,
            readonly_mounts: Vec::new(),
            propagations: Vec::new(),
            cgroup_links: Vec::new(),
            keyring: None,
            user_namespace: None,
        }
    }

    #[test]
    fn the_environment_keeps_its_order() {
        let env = setup(&["B=1", "A=1", "HOME=/h", "B=2"]).environment();
        assert_eq!(env, ["B=2", "A=1", "HOME=/h"]);
        assert!(setup(&["A=1", "HOME="]).environment()[1].starts_with("HOME=/"));
    }

    #[test]
    fn a_hundred_thousand_variables_are_no_work() {
        let all: Vec<String> = (0..200_000).map(|n| format!("NAME{}={n}", n % 100_000)).collect();
        let begun = std::time::Instant::now();
        let env = setup(&all.iter().map(String::as_str).collect::<Vec<_>>()).environment();
        assert_eq!((env.len(), env[0].as_str(), env[99_999].as_str()), (100_001, "NAME0=100000", "NAME99999=199999"));
        // Each compared with each takes minutes.
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_fifo_in_the_place_of_passwd_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("passwd");
        std::fs::write(&path, "me:x:7:7::/home/me:/bin/sh\n").expect("write");
        assert_eq!(home_of(&path, 7), "/home/me");
        std::fs::remove_file(&path).expect("remove");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).expect("fifo");
        assert_eq!(home_of(&path, 7), "/");
    }

    #[test]
    fn homes_are_read_from_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbad\nme:x:7:7::/home/me:/bin/sh\nnone:x:8:8:::\n";
        assert_eq!(home_in(passwd, 7).as_deref(), Some("/home/me"));
        assert_eq!(home_in(passwd, 8), None);
    }
}
