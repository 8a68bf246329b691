//! Bundles to run and runtimes to run them with: what runc passes, Hone's runtime must pass.

#![allow(dead_code)] // each test file uses its part

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The program under test.
pub const HONE: &str = env!("CARGO_BIN_EXE_hone-runtime");

/// False, with the reason on stderr, when this machine cannot run a container; in CI that is a failure.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
pub fn can_run() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let reason = match (root, Path::new("/bin/busybox").exists() || Path::new("/usr/bin/busybox").exists()) {
        (true, true) => return true,
        (false, _) => "needs root",
        (true, false) => "needs busybox-static",
    };
    assert!(std::env::var_os("CI").is_none(), "{reason}, and in CI nothing is skipped");
    eprintln!("skipped: {reason}");
    false
}

/// Hone's runtime, and runc where it is installed: the tests are tested with it.
#[allow(clippy::print_stderr, reason = "a test says what it leaves out")]
pub fn runtimes() -> Vec<&'static str> {
    let runc = Command::new("runc").arg("--version").output().is_ok_and(|output| output.status.success());
    if !runc {
        eprintln!("runc is not installed: these tests are not checked against it");
    }
    [HONE].into_iter().chain(runc.then_some("runc")).collect()
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Standard error of a command that must fail with `code`, without the log's quoting.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err.replace("\\\"", "\"")
    }
}

/// One runtime with its own state directory and one bundle.
pub struct World {
    pub dir: TempDir,
    runtime: PathBuf,
    options: Vec<String>,
    id: String,
}

impl World {
    pub fn new(runtime: impl Into<PathBuf>) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let rootfs = dir.path().join("bundle/rootfs");
        make_rootfs(&rootfs);
        // Cgroups are named after the container and shared by the whole machine.
        let id = format!("hone-test-{}", dir.path().file_name().expect("name").to_string_lossy().replace('.', ""));
        let world = Self { runtime: runtime.into(), options: Vec::new(), id, dir };
        world.configure(|_| {});
        world
    }

    pub fn with_options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|o| (*o).to_owned()));
        self
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes the configuration: `sleep 1000` in every namespace, changed by `edit`.
    pub fn configure(&self, edit: impl FnOnce(&mut Value)) -> &Self {
        let mut config = config(&self.id);
        edit(&mut config);
        let text = serde_json::to_vec_pretty(&config).expect("json");
        fs::write(self.bundle().join("config.json"), text).expect("write");
        self
    }

    /// The configuration with another command.
    pub fn command(&self, args: &[&str]) -> &Self {
        self.configure(|config| config["process"]["args"] = json!(args))
    }

    /// A shell script as the container's command.
    pub fn script(&self, script: &str) -> &Self {
        self.command(&["sh", "-c", script])
    }

    pub fn invoke(&self) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.root()).args(&self.options);
        command.stdin(Stdio::null());
        command
    }

    /// Runs one verb.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.invoke().args(args).output().expect("start the runtime"))
    }

    /// `create`, whose standard output and error the container inherits and would keep open.
    pub fn create(&self) -> Ran {
        let err = tempfile::tempfile().expect("tempfile");
        let mut command = self.invoke();
        command.arg("create").arg("--bundle").arg(self.bundle()).arg(&self.id);
        command.stdout(Stdio::null()).stderr(err.try_clone().expect("clone"));
        let status = command.status().expect("start the runtime");
        Ran { code: status.code().unwrap_or(-1), out: String::new(), err: read_all(err) }
    }

    /// Creates and starts.
    #[track_caller]
    pub fn up(&self) -> &Self {
        self.create().ok();
        self.run(&["start", &self.id]).ok();
        self
    }

    /// `run` in the foreground.
    pub fn foreground(&self) -> Ran {
        let bundle = self.bundle();
        self.run(&["run", "--bundle", &bundle.to_string_lossy(), &self.id])
    }

    pub fn exec(&self, args: &[&str]) -> Ran {
        self.run(&[&["exec", &self.id], args].concat())
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.run(&["state", &self.id]).ok()).expect("state is JSON")
    }

    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        wait_until(&format!("state {status}"), || self.state()["status"] == status);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The programs may be gone already, and with them what they ran.
        let _ = self.invoke().args(["delete", "-f", &self.id]).output();
    }
}

fn read_all(mut file: fs::File) -> String {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("read");
    text
}

/// Looks again until `done`; a loaded machine is given time.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "data"] {
        fs::create_dir_all(rootfs.join(dir)).expect("mkdir");
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists()).expect("busybox");
    fs::copy(busybox, rootfs.join("bin/busybox")).expect("copy busybox");
    let names =
        "sh cat echo env false grep id ip kill ls mkdir mknod mount pwd readlink rm sleep stat touch true wc dd";
    for name in names.split(' ') {
        symlink("busybox", rootfs.join("bin").join(name)).expect("symlink");
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")
        .expect("write");
    let mut bad = fs::File::create(rootfs.join("bin/bad")).expect("create");
    bad.write_all(b"not a program").expect("write");
    bad.set_permissions(fs::Permissions::from_mode(0o755)).expect("chmod");
}

fn config(id: &str) -> Value {
    let capabilities = ["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID"];
    let sets = json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
    let mount = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "hostname": "hone-test",
        "process": {
            "args": ["sleep", "1000"], "cwd": "/", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin", "FIRST=1"], "capabilities": sets
        },
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755"]),
            mount("/sys", "sysfs", &["ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["ro", "nosuid", "nodev", "noexec"])
        ],
        "linux": {
            "cgroupsPath": format!("/hone-tests/{id}"),
            "namespaces": namespaces
        }
    })
}
