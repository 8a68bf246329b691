//! OCI limits as files of cgroup v1. Pure.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use crate::Setting;

/// What to write for `resources`; zero means unset, as everywhere in the OCI configuration.
pub fn settings(resources: &LinuxResources) -> Vec<Setting> {
    let mut out = Vec::new();
    if let Some(cpu) = resources.cpu() {
        cpu_settings(cpu, &mut out);
    }
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut out);
    }
    if let Some(pids) = resources.pids() {
        let limit = pids.limit();
        if limit != 0 {
            out.push(Setting::must("pids", "pids.max", if limit < 0 { "max".into() } else { limit.to_string() }));
        }
    }
    if let Some(block_io) = resources.block_io() {
        block_io_settings(block_io, &mut out);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", page.page_size());
        out.push(Setting::must("hugetlb", file, page.limit()));
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            out.push(Setting::must("net_cls", "net_cls.classid", class));
        }
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            out.push(Setting::must("net_prio", "net_prio.ifpriomap", value));
        }
    }
    out
}

fn cpu_settings(cpu: &LinuxCpu, out: &mut Vec<Setting>) {
    let set = |value: Option<u64>| value.filter(|v| *v != 0);
    if let Some(shares) = set(cpu.shares()) {
        out.push(Setting::must("cpu", "cpu.shares", shares));
    }
    if let Some(period) = set(cpu.period()) {
        out.push(Setting::must("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota().filter(|q| *q != 0) {
        out.push(Setting::must("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst() {
        out.push(Setting::may("cpu", "cpu.cfs_burst_us", burst));
    }
    if let Some(period) = set(cpu.realtime_period()) {
        out.push(Setting::must("cpu", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|r| *r != 0) {
        out.push(Setting::must("cpu", "cpu.rt_runtime_us", runtime));
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

fn memory_settings(memory: &LinuxMemory, out: &mut Vec<Setting>) {
    let pairs = [
        ("memory.limit_in_bytes", memory.limit()),
        ("memory.memsw.limit_in_bytes", memory.swap()),
        ("memory.soft_limit_in_bytes", memory.reservation()),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp()),
    ];
    for (file, value) in pairs {
        if let Some(value) = value.filter(|v| *v != 0) {
            out.push(Setting::must("memory", file, value));
        }
    }
    if memory.disable_oom_killer() == Some(true) {
        out.push(Setting::must("memory", "memory.oom_control", 1));
    }
    // -1 and u64::MAX both stand for "leave it" in what engines send.
    if let Some(swappiness) = memory.swappiness().filter(|s| *s <= 100) {
        out.push(Setting::must("memory", "memory.swappiness", swappiness));
    }
}

fn block_io_settings(block_io: &LinuxBlockIo, out: &mut Vec<Setting>) {
    if let Some(weight) = block_io.weight().filter(|w| *w != 0) {
        out.push(Setting::must("blkio", "blkio.weight", weight));
    }
    if let Some(weight) = block_io.leaf_weight().filter(|w| *w != 0) {
        out.push(Setting::must("blkio", "blkio.leaf_weight", weight));
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            out.push(Setting::must("blkio", "blkio.weight_device", value));
        }
    }
    throttle("read_bps", block_io.throttle_read_bps_device(), out);
    throttle("write_bps", block_io.throttle_write_bps_device(), out);
    throttle("read_iops", block_io.throttle_read_iops_device(), out);
    throttle("write_iops", block_io.throttle_write_iops_device(), out);
}

fn throttle(what: &str, devices: &Option<Vec<LinuxThrottleDevice>>, out: &mut Vec<Setting>) {
    for device in devices.iter().flatten() {
        let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        out.push(Setting::must("blkio", format!("blkio.throttle.{what}_device"), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str) -> Vec<String> {
        let resources: LinuxResources = serde_json::from_str(json).expect("resources");
        settings(&resources).iter().map(|s| format!("{} {}", s.file, s.value)).collect()
    }

    #[test]
    fn zero_is_unset() {
        let json = r#"{"memory":{"limit":0,"swap":0,"disableOOMKiller":false},"cpu":{"shares":0,"quota":0},
            "pids":{"limit":0},"blockIO":{"weight":0}}"#;
        assert!(lines(json).is_empty());
    }

    #[test]
    fn limits_are_written_where_v1_keeps_them() {
        let json = r#"{"memory":{"limit":67108864,"swap":-1,"reservation":1024},
            "cpu":{"shares":2,"quota":50000,"period":100000,"cpus":"0-1","idle":1},"pids":{"limit":-1},
            "hugepageLimits":[{"pageSize":"2MB","limit":9}],
            "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5}]}}"#;
        assert_eq!(
            lines(json),
            [
                "cpu.shares 2",
                "cpu.cfs_period_us 100000",
                "cpu.cfs_quota_us 50000",
                "cpu.idle 1",
                "cpuset.cpus 0-1",
                "memory.limit_in_bytes 67108864",
                "memory.memsw.limit_in_bytes -1",
                "memory.soft_limit_in_bytes 1024",
                "pids.max max",
                "blkio.throttle.read_bps_device 8:0 5",
                "hugetlb.2MB.limit_in_bytes 9",
            ]
        );
    }
}
