//! What this process costs, and what it may cost.

use std::fs;

/// The largest resident memory so far, in MB (10^6 bytes), as the kernel counted it; 0 where it does not tell.
pub fn peak_rss_mb() -> f64 {
    kib("/proc/self/status", "VmHWM:").unwrap_or(0.0) * 1024.0 / 1e6
}

/// Bytes of memory that this process may still take: what the machine has free, or its cgroup's limit.
pub fn memory_available() -> u64 {
    let free = kib("/proc/meminfo", "MemAvailable:").map_or(u64::MAX, |kib| (kib * 1024.0) as u64);
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    limit.fold(free, u64::min)
}

fn kib(file: &str, field: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}
