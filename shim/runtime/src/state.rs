//! What this runtime knows of a container between two of its processes.
//!
//! `ROOT/<id>/` holds `state.json` (the [`Record`], replaced atomically), `config.json` (the configuration as the
//! container got it), and what libcontainer needs: `bundle/` and `lc/`. The record says what was done; whether the
//! container still lives is asked of the kernel each time, by process id and start time.

use std::collections::HashMap;
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hone_cgroups::Cgroup;
use hone_keeper::staging::swap_file;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::error::{Result, RuntimeError};

/// The version of the OCI runtime specification that `state` reports.
pub const OCI_VERSION: &str = "1.0.2-dev";

/// A container's state as the OCI specification names it, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, its process not yet the user's.
    Created,
    /// The user's process lives.
    Running,
    /// It lives and is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// A process, told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Process id in the runtime's namespace.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub start_time: u64,
}

impl Init {
    /// The process `pid` as it is now.
    pub fn of(pid: i32) -> Result<Self> {
        match stat(pid) {
            Some((_, start_time)) => Ok(Self { pid, start_time }),
            None => Err(RuntimeError::Init(format!("process {pid} has ended"))),
        }
    }

    /// Whether it lives: a zombie does not.
    pub fn lives(&self) -> bool {
        stat(self.pid).is_some_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X'))
    }
}

/// State letter and start time; the name in parentheses may hold anything, so reading begins after the last one.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Container id.
    pub id: String,
    /// The caller's bundle.
    pub bundle: PathBuf,
    /// Its root filesystem.
    pub rootfs: PathBuf,
    /// The configuration's annotations.
    pub annotations: HashMap<String, String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Who made it.
    pub owner: u32,
    /// How far its making came: creating, created or running.
    pub phase: Status,
    /// Its first process, once there is one.
    pub init: Option<Init>,
    /// Its cgroup's name.
    pub cgroup: PathBuf,
    /// The staging directory of a training container.
    pub staging: Option<PathBuf>,
}

/// A container on disk.
#[derive(Debug, Clone)]
pub struct Container {
    dir: PathBuf,
    /// What is known of it.
    pub record: Record,
}

impl Container {
    /// Claims the id and writes the first record.
    ///
    /// # Errors
    /// [`RuntimeError::Exists`] when it is taken.
    pub fn create(root: &Path, record: Record) -> Result<Self> {
        if !valid_id(&record.id) {
            return Err(RuntimeError::BadId);
        }
        let dir = root.join(&record.id);
        let make = |recursive, path: &Path| DirBuilder::new().recursive(recursive).mode(0o700).create(path);
        make(true, root).map_err(RuntimeError::io("create", root))?;
        match make(false, &dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(RuntimeError::Exists),
            Err(error) => return Err(RuntimeError::io("create", &dir)(error)),
        }
        let container = Self { dir, record };
        container.save()?;
        Ok(container)
    }

    /// Finds container `id`.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`] when there is none.
    pub fn load(root: &Path, id: &str) -> Result<Self> {
        if !valid_id(id) {
            return Err(RuntimeError::BadId);
        }
        let dir = root.join(id);
        let path = dir.join("state.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes).map_err(|source| RuntimeError::Json { path, source })?;
                Ok(Self { dir, record })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(RuntimeError::NotFound),
            Err(error) => Err(RuntimeError::io("read", path)(error)),
        }
    }

    /// Every container below `root` that has a record; what else lies there is somebody else's.
    ///
    /// # Errors
    /// When the directory cannot be read; one that is not there holds none.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let entries = match std::fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RuntimeError::io("read", root)(error)),
        };
        let mut ids: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        ids.sort();
        Ok(ids.iter().filter_map(|id| Self::load(root, id).ok()).collect())
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<()> {
        self.put("state.json", &self.record)
    }

    fn put<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.dir.join(name);
        let bytes = serde_json::to_vec(value).map_err(|source| RuntimeError::Json { path: path.clone(), source })?;
        swap_file(&path, &bytes).map_err(RuntimeError::io("replace", path))
    }

    /// The container's directory below `--root`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// libcontainer's root: it makes `<id>` in it.
    pub fn libcontainer_root(&self) -> PathBuf {
        self.dir.join("lc")
    }

    /// The bundle that libcontainer is given.
    pub fn libcontainer_bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// Keeps the configuration as the container gets it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_spec(&self, spec: &Spec) -> Result<()> {
        self.put("config.json", spec)
    }

    /// The configuration as the container got it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn spec(&self) -> Result<Spec> {
        let path = self.dir.join("config.json");
        let bytes = std::fs::read(&path).map_err(RuntimeError::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|source| RuntimeError::Json { path, source })
    }

    /// Its cgroup.
    ///
    /// # Errors
    /// When the host's hierarchies cannot be read.
    pub fn cgroup(&self) -> Result<Cgroup> {
        Ok(Cgroup::new(&self.record.cgroup)?)
    }

    /// Its state now.
    ///
    /// # Errors
    /// When the freezer cannot be read.
    pub fn status(&self) -> Result<Status> {
        if !self.record.init.is_some_and(|init| init.lives()) {
            let being_made = self.record.phase == Status::Creating && self.record.init.is_none();
            return Ok(if being_made { Status::Creating } else { Status::Stopped });
        }
        if self.record.phase == Status::Running && self.cgroup()?.is_frozen()? {
            return Ok(Status::Paused);
        }
        Ok(self.record.phase)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When its directory cannot be removed.
    pub fn forget(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RuntimeError::io("remove", &self.dir)(error))
            }
            _ => Ok(()),
        }
    }

    /// What `state` prints and hooks read: the OCI state, and what runc adds to it.
    pub fn report(&self, status: Status) -> Report<'_> {
        let record = &self.record;
        let pid = if status == Status::Stopped { 0 } else { record.init.map_or(0, |init| init.pid) };
        Report {
            oci_version: OCI_VERSION,
            id: &record.id,
            pid,
            status,
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner: "",
        }
    }
}

/// The OCI state (runtime.md, "State"), with runc's `rootfs`, `created` and `owner`.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'static str,
    id: &'a str,
    /// 0 when it has ended.
    pub pid: i32,
    status: Status,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: &'a HashMap<String, String>,
    owner: &'a str,
}

impl<'a> Report<'a> {
    /// With the name of the user who made it, which only `list` tells.
    pub fn owned_by(self, owner: &'a str) -> Self {
        Self { owner, ..self }
    }
}

/// runc's letters of an id; one path component, never `.` or `..`.
fn valid_id(id: &str) -> bool {
    let letters = |c: u8| c.is_ascii_alphanumeric() || b"_+-.".contains(&c);
    !id.is_empty() && id.len() <= 1024 && id.bytes().all(letters) && id != "." && id != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        Record {
            id: id.into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            annotations: HashMap::new(),
            created: "2026-01-01T00:00:00Z".into(),
            owner: 0,
            phase: Status::Creating,
            init: None,
            cgroup: "/c".into(),
            staging: None,
        }
    }

    #[test]
    fn an_id_is_claimed_once() {
        let root = tempfile::tempdir().expect("tempdir");
        Container::create(root.path(), record("a")).expect("create");
        assert!(matches!(Container::create(root.path(), record("a")), Err(RuntimeError::Exists)));
        assert!(matches!(Container::load(root.path(), "b"), Err(RuntimeError::NotFound)));
        for id in ["", "..", "a/b", "é"] {
            assert!(matches!(Container::load(root.path(), id), Err(RuntimeError::BadId)), "{id:?}");
        }
        let found = Container::all(root.path()).expect("all");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].status().expect("status"), Status::Creating);
    }

    #[test]
    fn a_reused_process_id_is_not_ours() {
        let me = Init::of(std::process::id() as i32).expect("self");
        assert!(me.lives());
        assert!(!Init { start_time: me.start_time + 1, ..me }.lives());
    }
}
