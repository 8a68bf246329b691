//! A machine of one's own for engines: namespaces in which /run, /etc and /var/lib belong to the test.
//!
//! Daemons then use their usual paths, and commands are those that a user types; two tests never meet, and nothing
//! of the machine's own engines is touched. When the holder of the namespaces dies, the kernel ends everything in
//! them and undoes their mounts, also when the test was killed.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::programs;
use crate::ran::{Ran, run};

/// Says whether the machine can run a test that needs root and `programs`.
///
/// False means that the caller returns, the test being skipped with the reason on stderr. In CI nothing may be
/// skipped.
///
/// # Panics
/// In CI (`CI` is set), when something is missing.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
pub fn needs(programs: &[&str]) -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let missing = programs.iter().find(|program| run(Command::new("which").env("PATH", PATH).arg(program)).code != 0);
    let reason = match (root, missing) {
        (true, None) => return true,
        (false, _) => "needs root".to_owned(),
        (true, Some(program)) => format!("needs {program}"),
    };
    assert!(std::env::var_os("CI").is_none(), "{reason}, and in CI nothing is skipped");
    eprintln!("skipped: {reason}");
    false
}

/// The system's own programs: what a user's shell finds, without what a developer put into /usr/local.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What the holder does: hides the machine's state behind the test's, then waits for the test to go, reaping orphans as init does.
const HOLD: &str = r#"
set -e
mount -t tmpfs tmpfs /run
for name in etc var/lib; do
    mkdir -p "$0/over/$name" "$0/work/$name"
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=$0/over/$name,workdir=$0/work/$name" "/$name"
done
for name in docker containerd containers hone cni; do
    mkdir -p "$0/lib/$name" "/var/lib/$name"
    mount --bind "$0/lib/$name" "/var/lib/$name"
done
mkdir -p /etc/docker /etc/containers/containers.conf.d
rm -rf /etc/docker/daemon.json /etc/containers/containers.conf.d/* /etc/cni/net.d /etc/containers/networks
ip link set lo up
echo ready
set +e
cat >/dev/null
"#;

/// Namespaces with a temporary directory.
#[derive(Debug)]
pub struct World {
    dir: TempDir,
    holder: Child,
    daemons: Vec<Child>,
    init: u32,
}

impl World {
    /// Makes a world.
    ///
    /// # Panics
    /// Without root, or when the kernel refuses.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hone-world-").tempdir().expect("make temporary directory");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", HOLD])
            .arg(dir.path())
            // Its other end closes when the test ends, in whatever way; that ends the holder.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("read from the holder");
        assert_eq!(line.trim(), "ready", "the holder of the namespaces did not come up");
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let init = fs::read_to_string(children).expect("read the holder's children");
        let init = init.trim().parse().expect("the holder has one child");
        Self { dir, holder, daemons: Vec::new(), init }
    }

    /// Its temporary directory, the same inside and outside.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Serves its directory at http://127.0.0.1:8000, as a hub too (tests/fixtures/hub/server.py).
    ///
    /// # Panics
    /// When the server does not come up.
    pub fn serve(&mut self) {
        let server = programs::repository().join("tests/fixtures/hub/server.py").display().to_string();
        let dir = self.dir().display().to_string();
        self.daemon("python3", &[&server, "8000", &dir]);
        self.wait_for(10, "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8000))'");
    }

    /// A directory in it, made when it is not there.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let dir = self.dir().join(name);
        fs::create_dir_all(&dir).expect("make directory");
        dir
    }

    /// A command inside, in the world's directory, with Hone's programs on its path.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--net", "--pid", "--target"]).arg(self.init.to_string());
        command.arg(format!("--wdns={}", self.dir().display())).arg("--").arg(program);
        command.env_remove("HONE_ROOT").env("PATH", format!("{}:{PATH}", programs::bin().display()));
        command
    }

    /// Runs a shell script inside, as a user would type it.
    pub fn sh(&self, script: &str) -> Ran {
        Ran { command: script.to_owned(), ..run(self.command("sh").args(["-c", script])) }
    }

    /// Starts a daemon inside, its output in `NAME.log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn daemon(&mut self, name: &str, args: &[&str]) {
        let log = fs::File::create(self.dir().join(format!("{name}.log"))).expect("make log");
        let error = log.try_clone().expect("clone log");
        let mut command = self.command(name);
        command.args(args).stdin(Stdio::null()).stdout(log).stderr(error);
        self.daemons.push(command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}")));
    }

    /// Waits until `script` succeeds.
    ///
    /// # Panics
    /// After `seconds`, with the script's last words and the logs of the daemons.
    #[track_caller]
    pub fn wait_for(&self, seconds: u64, script: &str) {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let ran = self.sh(script);
            if ran.code == 0 {
                return;
            }
            assert!(Instant::now() < end, "not within {seconds} s: {ran}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ends of all logs in the world's directory.
    pub fn logs(&self) -> String {
        run(Command::new("sh").args(["-c", "tail -n 20 \"$0\"/*.log"]).arg(self.dir())).text()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Killing the holder ends its child, and with it every process inside.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        self.daemons.iter_mut().for_each(|daemon| drop(daemon.wait()));
        sweep(&self.dir().file_name().unwrap_or_default().to_string_lossy());
    }
}

/// Removes the control groups that killed daemons left under the world's name.
fn sweep(name: &str) {
    let script = format!(
        "for g in /sys/fs/cgroup/{name} /sys/fs/cgroup/*/{name}; do \
        [ ! -d \"$g\" ] || find \"$g\" -depth -type d -exec rmdir {{}} \\; ; done"
    );
    for _ in 0..20 {
        if run(Command::new("sh").args(["-c", &script])).stderr.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
