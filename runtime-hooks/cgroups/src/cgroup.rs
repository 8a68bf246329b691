//! The cgroup of one container, in every hierarchy at once.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use rustix::process::Pid;

use crate::freezer::Freezer;
use crate::tree::{collect, make, remove, write};
use crate::{CgroupError, Hierarchies, Hierarchy, Setting, devices, v1, v2};

/// How long a directory may stay busy after its last process has been reaped.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A cgroup, by name; the directories need not exist.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: PathBuf,
    hierarchies: Hierarchies,
}

impl Cgroup {
    /// The cgroup called `path` (absolute, from [`crate::container_path`]) on this host.
    ///
    /// # Errors
    /// When the host's hierarchies cannot be read.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, CgroupError> {
        Ok(Self { path: path.into(), hierarchies: Hierarchies::detect()? })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory where `controller` lives.
    pub fn dir(&self, controller: &str) -> Option<PathBuf> {
        self.hierarchies.with(controller).map(|h| h.dir(&self.path))
    }

    /// Makes it everywhere, ready for processes.
    ///
    /// # Errors
    /// When it holds processes already or is frozen: they would be limited, killed and counted with ours.
    pub fn create(&self) -> Result<(), CgroupError> {
        for hierarchy in self.hierarchies.iter() {
            make(hierarchy, &self.path)?;
        }
        let count = self.processes()?.len();
        if count > 0 {
            return Err(CgroupError::NotEmpty { count, path: self.path.clone() });
        }
        if self.is_frozen()? {
            return Err(CgroupError::Frozen { path: self.path.clone() });
        }
        Ok(())
    }

    /// Moves `pid` into it, in every hierarchy.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        for hierarchy in self.hierarchies.iter() {
            write(&hierarchy.dir(&self.path).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Where below it a process can join `pid`, when v2 lets none into the cgroup itself: one that has given
    /// controllers to inner cgroups holds no processes (cgroups(7), "no internal processes").
    ///
    /// # Errors
    /// When the kernel's files cannot be read.
    pub fn inner_of(&self, pid: i32) -> Result<Option<PathBuf>, CgroupError> {
        let Some(hierarchy) = self.hierarchies.unified().filter(|_| self.hierarchies.only_v2()) else {
            return Ok(None);
        };
        let read =
            |path: PathBuf| std::fs::read_to_string(&path).map_err(|source| CgroupError::Read { path, source });
        if read(hierarchy.dir(&self.path).join("cgroup.subtree_control"))?.trim().is_empty() {
            return Ok(None);
        }
        let own = read(format!("/proc/{pid}/cgroup").into())?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        Ok(Path::new(own).strip_prefix(&self.path).ok().filter(|p| !p.as_os_str().is_empty()).map(Path::to_owned))
    }

    /// Applies limits; those that are absent or zero stay as they are.
    ///
    /// # Errors
    /// When a limit was asked for and cannot be enforced.
    pub fn limit(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let old = v1::settings(resources);
        if let Some(setting) = old.iter().find(|s| !s.optional && !self.has_home(s.controller)) {
            return Err(CgroupError::NoController { controller: setting.controller, file: setting.file.clone() });
        }
        for setting in old.iter().filter(|s| self.lives(s.controller, false)) {
            self.write_v1(setting, &old)?;
        }
        if self.hierarchies.unified().is_some_and(|h| !h.controllers.is_empty()) {
            self.limit_v2(resources)?;
        }
        self.write_unified(resources)
    }

    /// On a hybrid host only the controllers that live there count: memory may be v1's, and its swap with it.
    fn limit_v2(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let mut resources = resources.clone();
        if !self.lives("memory", true) {
            resources.set_memory(None);
        }
        let settings = v2::settings(&resources)?;
        settings.iter().filter(|s| self.lives(s.controller, true)).try_for_each(|s| self.write_setting(s))
    }

    /// Whether a limit of v1's `controller` can be enforced at all. Network classes and priorities have no place in
    /// v2, where they are set by BPF programs of the network's owner: they are passed over there.
    fn has_home(&self, controller: &str) -> bool {
        let new = match controller {
            "blkio" => "io",
            "net_cls" | "net_prio" => return true,
            same => same,
        };
        self.lives(controller, false) || self.lives(new, true)
    }

    fn lives(&self, controller: &str, v2: bool) -> bool {
        self.hierarchies.with(controller).is_some_and(|h| h.v2 == v2)
    }

    /// Memory and memory+swap bound each other: whichever is raised first must leave room for the other.
    fn write_v1(&self, setting: &Setting, all: &[Setting]) -> Result<(), CgroupError> {
        match self.write_setting(setting) {
            Err(CgroupError::Write { source, .. })
                if setting.file == "memory.limit_in_bytes" && source.raw_os_error() == Some(22) =>
            {
                if let Some(swap) = all.iter().find(|s| s.file == "memory.memsw.limit_in_bytes") {
                    self.write_setting(swap)?;
                }
                self.write_setting(setting)
            }
            Err(CgroupError::Write { source, path, .. }) if source.raw_os_error() == Some(16) => {
                Err(self.too_small(setting, path, source))
            }
            other => other,
        }
    }

    /// EBUSY of a memory limit: more is in use than it allows.
    fn too_small(&self, setting: &Setting, path: PathBuf, source: io::Error) -> CgroupError {
        let read = |file: &str| std::fs::read_to_string(path.with_file_name(file)).unwrap_or_default();
        match setting.file.as_str() {
            "memory.limit_in_bytes" => CgroupError::BadLimits(format!(
                "unable to set memory limit to {} (current usage: {}, peak usage: {})",
                setting.value,
                read("memory.usage_in_bytes").trim(),
                read("memory.max_usage_in_bytes").trim()
            )),
            _ => CgroupError::Write { path, value: setting.value.clone(), source },
        }
    }

    fn write_setting(&self, setting: &Setting) -> Result<(), CgroupError> {
        let Some(dir) = self.dir(setting.controller) else { return Ok(()) };
        let path = dir.join(alias(&dir, &setting.file));
        match write(&path, &setting.value) {
            Err(CgroupError::Write { source, .. })
                if setting.optional && source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn write_unified(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let pairs = v2::unified(resources)?;
        let Some(hierarchy) = self.hierarchies.unified() else {
            return match pairs.first() {
                None => Ok(()),
                Some((file, _)) => Err(CgroupError::NoController { controller: "cgroup v2", file: file.clone() }),
            };
        };
        pairs.iter().try_for_each(|(file, value)| write(&hierarchy.dir(&self.path).join(file), value))
    }

    /// Lets through only the devices of `given` and those that every container has.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn allow_devices(&self, given: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
        let rules = devices::complete(given);
        if let Some(dir) = self.dir("devices") {
            for (file, line) in devices::v1_lines(&rules) {
                write(&dir.join(file), &line)?;
            }
            return Ok(());
        }
        let Some(hierarchy) = self.hierarchies.unified() else { return Ok(()) };
        let path = hierarchy.dir(&self.path);
        let fail = |source| CgroupError::DeviceFilter { path: path.clone(), source };
        let dir = std::fs::File::open(&path).map_err(fail)?;
        hone_sys::detach_device_filters(dir.as_fd()).map_err(fail)?;
        hone_sys::attach_device_filter(dir.as_fd(), &devices::v2_program(&rules)).map_err(fail)
    }

    /// Every process in it and in the cgroups that the payload made below it.
    ///
    /// # Errors
    /// When a directory cannot be read; one that is not there holds none.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = BTreeSet::new();
        if let Some(hierarchy) = self.main_hierarchy() {
            collect(&hierarchy.dir(&self.path), &mut pids)?;
        }
        Ok(pids.into_iter().collect())
    }

    /// The hierarchy that is asked who is inside.
    fn main_hierarchy(&self) -> Option<&Hierarchy> {
        let named = ["freezer", "devices", "memory", "pids"];
        let v1 = named.iter().find_map(|c| self.hierarchies.with(c).filter(|h| !h.v2));
        v1.or_else(|| self.hierarchies.unified()).or_else(|| self.hierarchies.iter().next())
    }

    fn freezer(&self) -> Option<Freezer> {
        let v1 = self.dir("freezer").map(|dir| Freezer::v1(&dir));
        v1.or_else(|| Some(Freezer::v2(&self.hierarchies.unified()?.dir(&self.path))))
    }

    /// Whether its processes are stopped by the freezer.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.freezer().map_or(Ok(false), |freezer| freezer.is_frozen())
    }

    /// Stops every process; returns when they are.
    ///
    /// # Errors
    /// When the kernel refuses or does not come to rest.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.freezer().map_or(Ok(()), |freezer| freezer.set(true))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When the kernel refuses or does not come to rest.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.freezer().map_or(Ok(()), |freezer| freezer.set(false))
    }

    /// Sends signal number `signal` to every process; they are frozen meanwhile, so none escapes by forking.
    ///
    /// # Errors
    /// When they cannot be listed or let go again.
    pub fn kill(&self, signal: i32) -> Result<(), CgroupError> {
        // Best effort: without a freezer the list is still sent the signal.
        let _ = self.freeze();
        let listed = self.processes();
        for pid in listed.iter().flatten().filter_map(|pid| Pid::from_raw(*pid)) {
            // A process that is gone by now needs no signal.
            let _ = hone_sys::send_signal(pid, signal);
        }
        self.thaw()?;
        listed.map(drop)
    }

    /// Removes it everywhere, with whatever the payload made below it.
    ///
    /// # Errors
    /// When a directory stays busy: a process is left in it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut first = None;
        for hierarchy in self.hierarchies.iter() {
            let dir = hierarchy.dir(&self.path);
            if dir == hierarchy.mount {
                continue;
            }
            if let Err(error) = remove(&dir, Instant::now() + REMOVE_TIMEOUT) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Counters, as far as the host's controllers give them.
    ///
    /// # Errors
    /// When a file that exists cannot be read.
    pub fn stats(&self) -> Result<crate::Stats, CgroupError> {
        crate::stats::read(|controller| self.hierarchies.with(controller).map(|h| (h.dir(&self.path), h.v2)))
    }
}

/// Kernels with the BFQ scheduler only have the weight under another name.
fn alias(dir: &Path, file: &str) -> String {
    let other = match file {
        "blkio.weight" => "blkio.bfq.weight",
        "blkio.weight_device" => "blkio.bfq.weight_device",
        "io.weight" => "io.bfq.weight",
        _ => return file.to_owned(),
    };
    let use_other = !dir.join(file).exists() && dir.join(other).exists();
    if use_other { other.to_owned() } else { file.to_owned() }
}
