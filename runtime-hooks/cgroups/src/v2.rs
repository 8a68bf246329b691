//! OCI limits as files of cgroup v2. Pure.
//!
//! The configuration speaks v1; the conversions are those that runc, crun and the kernel's documentation agree on
//! (opencontainers/runc docs/cgroup-v2.md).

use hone_contract::quoted;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use crate::{CgroupError, Setting};

/// What to write for `resources`, without the `unified` map ([`unified`]).
///
/// # Errors
/// [`CgroupError::BadLimits`] for swap without memory, or smaller than memory.
pub fn settings(resources: &LinuxResources) -> Result<Vec<Setting>, CgroupError> {
    let mut out = Vec::new();
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut out);
    }
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut out)?;
    }
    if let Some(pids) = resources.pids() {
        let limit = pids.limit();
        if limit != 0 {
            out.push(Setting::must("pids", "pids.max", max_or(limit)));
        }
    }
    if let Some(block_io) = resources.block_io() {
        io_settings(block_io, &mut out);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let value = max_or(page.limit());
        out.push(Setting::must("hugetlb", format!("hugetlb.{}.max", page.page_size()), value));
    }
    Ok(out)
}

/// The `unified` map as it was given: the caller speaks v2 themselves.
///
/// # Errors
/// [`CgroupError::BadLimits`] for a key that is not a plain file name.
pub fn unified(resources: &LinuxResources) -> Result<Vec<(String, String)>, CgroupError> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (file, value) in resources.unified().iter().flatten() {
        if file.contains('/') {
            return Err(CgroupError::BadLimits(format!(
                "unified resource \"{}\" must be a file name (no slashes)",
                quoted(file)
            )));
        }
        if file.split_once('.').is_none_or(|(a, b)| a.is_empty() || b.is_empty()) {
            return Err(CgroupError::BadLimits(format!(
                "unified resource \"{}\" must be in the form CONTROLLER.PARAMETER",
                quoted(file)
            )));
        }
        out.push((file.clone(), value.clone()));
    }
    out.sort();
    Ok(out)
}

/// `cpu.shares` (2 to 262144) as `cpu.weight` (1 to 10000).
pub fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn max_or(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.to_string() }
}

fn cpu_settings(cpu: &LinuxCpu, out: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares().filter(|s| *s != 0) {
        out.push(Setting::must("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    let quota = cpu.quota().filter(|q| *q != 0);
    let period = cpu.period().filter(|p| *p != 0);
    if quota.is_some() || period.is_some() {
        let value = format!("{} {}", max_or(quota.unwrap_or(-1)), period.unwrap_or(100_000));
        out.push(Setting::must("cpu", "cpu.max", value));
    }
    if let Some(burst) = cpu.burst() {
        out.push(Setting::may("cpu", "cpu.max.burst", burst));
    }
    if let Some(idle) = cpu.idle() {
        out.push(Setting::may("cpu", "cpu.idle", idle));
    }
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            out.push(Setting::must("cpuset", file, value));
        }
    }
}

fn memory_settings(memory: &LinuxMemory, out: &mut Vec<Setting>) -> Result<(), CgroupError> {
    let limit = memory.limit().filter(|l| *l != 0);
    if let Some(swap) = swap_value(limit, memory.swap())? {
        out.push(Setting::must("memory", "memory.swap.max", max_or(swap)));
    }
    if let Some(limit) = limit {
        out.push(Setting::must("memory", "memory.max", max_or(limit)));
    }
    if let Some(reservation) = memory.reservation().filter(|r| *r != 0) {
        out.push(Setting::must("memory", "memory.low", max_or(reservation)));
    }
    Ok(())
}

/// v1 counts memory and swap together, v2 swap alone.
fn swap_value(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, CgroupError> {
    match (limit, swap.filter(|s| *s != 0)) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(swap)) if swap < 0 => Ok(Some(-1)),
        (None | Some(-1), Some(_)) => {
            Err(CgroupError::BadLimits("unable to set swap limit without memory limit".into()))
        }
        (Some(limit), Some(swap)) if swap < limit => {
            Err(CgroupError::BadLimits(format!("memory+swap limit {swap} should be >= memory limit {limit}")))
        }
        (Some(limit), Some(swap)) => Ok(Some(swap - limit)),
    }
}

fn io_settings(block_io: &LinuxBlockIo, out: &mut Vec<Setting>) {
    if let Some(weight) = block_io.weight().filter(|w| *w != 0) {
        out.push(Setting::must("io", "io.weight", format!("default {}", io_weight(weight))));
    }
    throttle("rbps", block_io.throttle_read_bps_device(), out);
    throttle("wbps", block_io.throttle_write_bps_device(), out);
    throttle("riops", block_io.throttle_read_iops_device(), out);
    throttle("wiops", block_io.throttle_write_iops_device(), out);
}

fn throttle(what: &str, devices: &Option<Vec<LinuxThrottleDevice>>, out: &mut Vec<Setting>) {
    for device in devices.iter().flatten() {
        let value = format!("{}:{} {what}={}", device.major(), device.minor(), device.rate());
        out.push(Setting::must("io", "io.max", value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str) -> Result<Vec<String>, CgroupError> {
        let resources: LinuxResources = serde_json::from_str(json).expect("resources");
        Ok(settings(&resources)?.iter().map(|s| format!("{} {}", s.file, s.value)).collect())
    }

    #[test]
    fn weights_keep_their_ends() {
        assert_eq!((weight_of_shares(2), weight_of_shares(1024), weight_of_shares(262_144)), (1, 39, 10000));
        assert_eq!((io_weight(10), io_weight(500), io_weight(1000)), (1, 4950, 10000));
    }

    #[test]
    fn limits_are_written_where_v2_keeps_them() {
        let json = r#"{"memory":{"limit":100,"swap":150,"reservation":50},"cpu":{"quota":150000,"shares":1024},
            "pids":{"limit":7},"hugepageLimits":[{"pageSize":"2MB","limit":9}]}"#;
        assert_eq!(
            lines(json).expect("convert"),
            [
                "cpu.weight 39",
                "cpu.max 150000 100000",
                "memory.swap.max 50",
                "memory.max 100",
                "memory.low 50",
                "pids.max 7",
                "hugetlb.2MB.max 9"
            ]
        );
        assert_eq!(lines(r#"{"memory":{"limit":-1}}"#).expect("convert"), ["memory.swap.max max", "memory.max max"]);
    }

    #[test]
    fn swap_needs_memory() {
        assert!(lines(r#"{"memory":{"swap":150}}"#).is_err());
        assert!(lines(r#"{"memory":{"limit":200,"swap":150}}"#).is_err());
    }

    #[test]
    fn unified_keys_are_file_names() {
        let with = |json: &str| unified(&serde_json::from_str(json).expect("resources"));
        assert_eq!(with(r#"{"unified":{"memory.high":"1G"}}"#).expect("unified").len(), 1);
        assert!(with(r#"{"unified":{"../memory.high":"1G"}}"#).is_err());
        assert!(with(r#"{"unified":{"memory":"1G"}}"#).is_err());
    }
}
