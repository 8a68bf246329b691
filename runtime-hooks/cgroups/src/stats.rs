//! Counters of a cgroup, in the shape of `runc events --stats`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::CgroupError;

/// What `events --stats` prints under `data`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// Time withheld by a quota.
    pub throttling: Throttling,
}

/// Time used, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    pub total: u64,
    /// By processor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// Outside it.
    pub user: u64,
}

/// Time withheld by a quota.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Throttling {
    /// Periods that passed.
    pub periods: u64,
    /// Periods in which it was withheld.
    #[serde(rename = "throttledPeriods")]
    pub throttled_periods: u64,
    /// Nanoseconds withheld.
    #[serde(rename = "throttledTime")]
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Of which page cache.
    pub cache: u64,
    /// Memory alone.
    pub usage: MemoryUsage,
    /// Memory and swap together.
    pub swap: MemoryUsage,
    /// Everything the kernel tells.
    pub raw: BTreeMap<String, u64>,
}

/// One counter and its bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryUsage {
    /// The bound.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// The most it was.
    pub max: u64,
    /// How often the bound was hit.
    pub failcnt: u64,
}

/// Processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// At most; 0 when unbounded.
    pub limit: u64,
}

/// Reads what there is; `find` gives the directory of a controller and whether it is v2.
pub(crate) fn read(find: impl Fn(&str) -> Option<(PathBuf, bool)>) -> Result<Stats, CgroupError> {
    let mut stats = Stats::default();
    match find("cpu") {
        Some((dir, true)) => cpu_v2(&dir, &mut stats.cpu)?,
        Some((dir, false)) => throttling_v1(&dir, &mut stats.cpu.throttling)?,
        None => {}
    }
    if let Some((dir, false)) = find("cpuacct") {
        usage_v1(&dir, &mut stats.cpu.usage)?;
    }
    match find("memory") {
        Some((dir, true)) => stats.memory = memory_v2(&dir)?,
        Some((dir, false)) => stats.memory = memory_v1(&dir)?,
        None => {}
    }
    if let Some((dir, _)) = find("pids") {
        stats.pids = Pids { current: number(&dir, "pids.current")?, limit: number(&dir, "pids.max")? };
        if stats.pids.limit == u64::MAX {
            stats.pids.limit = 0;
        }
    }
    Ok(stats)
}

fn text(dir: &Path, file: &str) -> Result<String, CgroupError> {
    let path = dir.join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(CgroupError::Read { path, source }),
    }
}

/// A file of one number; `max` is [`u64::MAX`], a file that is not there 0.
fn number(dir: &Path, file: &str) -> Result<u64, CgroupError> {
    let text = text(dir, file)?;
    Ok(if text.trim() == "max" { u64::MAX } else { text.trim().parse().unwrap_or(0) })
}

/// A file of lines `key value`.
fn table(dir: &Path, file: &str) -> Result<BTreeMap<String, u64>, CgroupError> {
    let pair = |line: &str| line.split_once(' ').and_then(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)));
    Ok(text(dir, file)?.lines().filter_map(pair).collect())
}

fn throttling_v1(dir: &Path, out: &mut Throttling) -> Result<(), CgroupError> {
    let stat = table(dir, "cpu.stat")?;
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    *out = Throttling {
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: get("throttled_time"),
    };
    Ok(())
}

fn usage_v1(dir: &Path, out: &mut CpuUsage) -> Result<(), CgroupError> {
    out.total = number(dir, "cpuacct.usage")?;
    out.kernel = number(dir, "cpuacct.usage_sys")?;
    out.user = number(dir, "cpuacct.usage_user")?;
    let percpu = text(dir, "cpuacct.usage_percpu")?;
    out.percpu = percpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    Ok(())
}

fn cpu_v2(dir: &Path, out: &mut Cpu) -> Result<(), CgroupError> {
    let stat = table(dir, "cpu.stat")?;
    let nanoseconds = |key: &str| stat.get(key).copied().unwrap_or(0) * 1000;
    out.usage.total = nanoseconds("usage_usec");
    out.usage.user = nanoseconds("user_usec");
    out.usage.kernel = nanoseconds("system_usec");
    out.throttling = Throttling {
        periods: nanoseconds("nr_periods") / 1000,
        throttled_periods: nanoseconds("nr_throttled") / 1000,
        throttled_time: nanoseconds("throttled_usec"),
    };
    Ok(())
}

fn memory_v1(dir: &Path) -> Result<Memory, CgroupError> {
    let usage = |prefix: &str| -> Result<MemoryUsage, CgroupError> {
        Ok(MemoryUsage {
            limit: number(dir, &format!("{prefix}.limit_in_bytes"))?,
            usage: number(dir, &format!("{prefix}.usage_in_bytes"))?,
            max: number(dir, &format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: number(dir, &format!("{prefix}.failcnt"))?,
        })
    };
    let raw = table(dir, "memory.stat")?;
    let cache = raw.get("cache").copied().unwrap_or(0);
    Ok(Memory { cache, usage: usage("memory")?, swap: usage("memory.memsw")?, raw })
}

fn memory_v2(dir: &Path) -> Result<Memory, CgroupError> {
    let raw = table(dir, "memory.stat")?;
    let events = table(dir, "memory.events")?;
    let usage = MemoryUsage {
        limit: number(dir, "memory.max")?,
        usage: number(dir, "memory.current")?,
        max: number(dir, "memory.peak")?,
        failcnt: events.get("max").copied().unwrap_or(0),
    };
    let swap = MemoryUsage {
        limit: usage.limit.saturating_add(number(dir, "memory.swap.max")?),
        usage: usage.usage.saturating_add(number(dir, "memory.swap.current")?),
        max: usage.max.saturating_add(number(dir, "memory.swap.peak")?),
        failcnt: 0,
    };
    let cache = raw.get("file").copied().unwrap_or(0);
    Ok(Memory { cache, usage, swap, raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_files_become_runcs_numbers() {
        let dir = tempfile::tempdir().expect("tempdir");
        let put = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).expect("write");
        put("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\n");
        put("memory.current", "4096\n");
        put("memory.max", "max\n");
        put("memory.stat", "file 12\nanon 3\n");
        put("pids.current", "2\n");
        put("pids.max", "max\n");
        let stats = read(|_| Some((dir.path().into(), true))).expect("read");
        assert_eq!((stats.cpu.usage.total, stats.cpu.throttling.periods), (7000, 2));
        assert_eq!((stats.memory.usage.usage, stats.memory.usage.limit, stats.memory.cache), (4096, u64::MAX, 12));
        assert_eq!(stats.pids, Pids { current: 2, limit: 0 });
    }
}
