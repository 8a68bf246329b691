//! Debian's `docker-registry` on a free port of this machine, its storage in a directory of its own.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = "/usr/bin/docker-registry";
/// User `hone`, password `pw`.
const HTPASSWD: &str = "hone:$2y$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q\n";

pub struct Distribution {
    process: Child,
    pub host: String,
    _dir: tempfile::TempDir,
}

impl Distribution {
    /// `None`, with the reason printed, on a machine that has no such program; in CI that is a failure.
    pub fn start(with_password: bool) -> Option<Self> {
        Self::start_with(
            |root| {
                if !with_password {
                    return String::new();
                }
                std::fs::write(root.join("htpasswd"), HTPASSWD).expect("htpasswd");
                format!("auth: {{htpasswd: {{realm: test, path: {}/htpasswd}}}}\n", root.display())
            },
            "",
        )
    }

    /// Over TLS, with `cert.pem` and `key.pem` of a directory.
    pub fn start_tls(keys: &Path) -> Option<Self> {
        let keys = keys.display();
        Self::start_with(|_| String::new(), &format!(", tls: {{certificate: {keys}/cert.pem, key: {keys}/key.pem}}"))
    }

    fn start_with(more: impl Fn(&Path) -> String, http: &str) -> Option<Self> {
        if !Path::new(BINARY).exists() {
            super::skipped(&format!("needs {BINARY} (Debian: docker-registry)"));
            return None;
        }
        let dir = tempfile::tempdir().expect("directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("port").port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: \"{host}\"{http}}}\n\
             storage: {{filesystem: {{rootdirectory: {}/data}}}}\n{}",
            dir.path().display(),
            more(dir.path())
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).expect("config");
        let process = Command::new(BINARY)
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start docker-registry");
        let mut started = Self { process, host, _dir: dir };
        started.wait();
        Some(started)
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&self.host).is_err() {
            assert!(self.process.try_wait().expect("status").is_none(), "docker-registry ended");
            assert!(Instant::now() < deadline, "docker-registry does not listen on {}", self.host);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
