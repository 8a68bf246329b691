//! `update`: changes the limits of a container.

use std::io::Read as _;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::Context;
use crate::cli::{UpdateArgs, bytes};
use crate::error::{Result, RuntimeError};
use crate::state::{Container, Status};

/// Applies the limits given; the others stay as they are.
///
/// # Errors
/// When the container has ended, a value cannot be read, or the kernel refuses a limit.
pub fn update(ctx: &Context, args: &UpdateArgs) -> Result<()> {
    let container = Container::load(&ctx.root, &args.id)?;
    if container.status()? == Status::Stopped {
        return Err(RuntimeError::NotRunning);
    }
    let value = match &args.resources {
        Some(path) => read(path)?,
        None => from_options(args)?,
    };
    let path = args.resources.clone().unwrap_or_else(|| "options".into());
    let resources: LinuxResources =
        serde_json::from_value(value).map_err(|source| RuntimeError::Json { path, source })?;
    Ok(container.cgroup()?.limit(&resources)?)
}

fn read(path: &std::path::Path) -> Result<Value> {
    let mut text = String::new();
    let done = if path == std::path::Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    done.map_err(RuntimeError::io("read", path))?;
    serde_json::from_str(&text).map_err(|source| RuntimeError::Json { path: path.into(), source })
}

/// The options as `linux.resources` says them.
fn from_options(args: &UpdateArgs) -> Result<Value> {
    let size = |name: &str, text: &Option<String>| match text {
        Some(text) => bytes(text)
            .map(|n| Some(json!(n)))
            .ok_or_else(|| RuntimeError::Usage(format!("invalid value for {name}: {text:?}"))),
        None => Ok(None),
    };
    let cpu = object([
        ("shares", args.cpu_share.map(Value::from)),
        ("quota", args.cpu_quota.map(Value::from)),
        ("period", args.cpu_period.map(Value::from)),
        ("burst", args.cpu_burst.map(Value::from)),
        ("realtimePeriod", args.cpu_rt_period.map(Value::from)),
        ("realtimeRuntime", args.cpu_rt_runtime.map(Value::from)),
        ("cpus", args.cpuset_cpus.clone().map(Value::from)),
        ("mems", args.cpuset_mems.clone().map(Value::from)),
        ("idle", args.cpu_idle.map(Value::from)),
    ]);
    let memory = object([
        ("limit", size("memory", &args.memory)?),
        ("reservation", size("memory-reservation", &args.memory_reservation)?),
        ("swap", size("memory-swap", &args.memory_swap)?),
    ]);
    let block_io = object([("weight", args.blkio_weight.map(Value::from))]);
    let pids = args.pids_limit.map(|limit| json!({ "limit": limit }));
    Ok(object([("cpu", some(cpu)), ("memory", some(memory)), ("blockIO", some(block_io)), ("pids", pids)]))
}

fn object<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Value {
    let set = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(set.collect::<Map<_, _>>())
}

fn some(value: Value) -> Option<Value> {
    value.as_object().is_some_and(|map| !map.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_limits() {
        let args = UpdateArgs {
            memory: Some("64M".into()),
            memory_swap: Some("-1".into()),
            cpu_quota: Some(-1),
            pids_limit: Some(7),
            ..UpdateArgs::default()
        };
        let want = json!({"cpu":{"quota":-1},"memory":{"limit":64 << 20,"swap":-1},"pids":{"limit":7}});
        assert_eq!(from_options(&args).expect("options"), want);
        let bad = UpdateArgs { memory: Some("much".into()), ..UpdateArgs::default() };
        assert_eq!(from_options(&bad).expect_err("much").to_string(), "invalid value for memory: \"much\"");
    }
}
