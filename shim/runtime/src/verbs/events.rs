//! `events`: counters of a container, once or again and again.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::Context;
use crate::cli::EventsArgs;
use crate::error::{Result, RuntimeError};
use crate::state::{Container, Status};

/// Prints lines until the container has ended; one line with `--stats`.
///
/// # Errors
/// When the container does not run.
pub fn events(ctx: &Context, args: &EventsArgs) -> Result<()> {
    let container = Container::load(&ctx.root, &args.id)?;
    let interval = interval(&args.interval)?;
    if container.status()? == Status::Stopped {
        return Err(RuntimeError::Usage(format!("container with id {} is not running", args.id)));
    }
    let mut kills = oom_kills(&container)?;
    loop {
        print(&container, "stats")?;
        if args.stats {
            return Ok(());
        }
        std::thread::sleep(interval);
        if container.status()? == Status::Stopped {
            return Ok(());
        }
        let now = oom_kills(&container)?;
        if now > kills {
            line(&json!({ "type": "oom", "id": container.record.id }))?;
        }
        kills = now;
    }
}

fn print(container: &Container, kind: &str) -> Result<()> {
    let stats = container.cgroup()?.stats()?;
    line(&json!({ "type": kind, "id": container.record.id, "data": stats }))
}

fn line(value: &serde_json::Value) -> Result<()> {
    writeln!(std::io::stdout(), "{value}").map_err(RuntimeError::call("print"))
}

fn oom_kills(container: &Container) -> Result<u64> {
    let raw = container.cgroup()?.stats()?.memory.raw;
    Ok(raw.get("oom_kill").copied().unwrap_or(0))
}

/// Go's durations, as far as anyone uses them here.
fn interval(text: &str) -> Result<Duration> {
    let bad = || RuntimeError::Usage(format!("read --interval {text:?}: want a duration above 0, as 5s or 500ms"));
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let found = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        _ => return Err(bad()),
    };
    if found.is_zero() { Err(bad()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(interval("5s").expect("5s"), Duration::from_secs(5));
        assert_eq!(interval("500ms").expect("500ms"), Duration::from_millis(500));
        assert!(interval("0s").is_err() && interval("5").is_err() && interval("x").is_err());
    }
}
