//! `ps`: the processes of a container.

use std::process::Command;

use super::Context;
use crate::cli::PsArgs;
use crate::error::{Result, RuntimeError};
use crate::state::Container;

/// The text to print.
///
/// # Errors
/// When there is no such container, or ps(1) fails.
pub fn ps(ctx: &Context, args: &PsArgs) -> Result<String> {
    let pids = Container::load(&ctx.root, &args.id)?.cgroup()?.processes()?;
    match args.format.as_str() {
        "json" => Ok(format!("[{}]\n", pids.iter().map(i32::to_string).collect::<Vec<_>>().join(","))),
        "table" => {
            let options = if args.options.is_empty() { vec!["-ef".to_owned()] } else { args.options.clone() };
            let output = Command::new("ps").args(options).output().map_err(RuntimeError::call("run ps"))?;
            if !output.status.success() {
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(RuntimeError::Usage(format!("run ps: {}", told.trim())));
            }
            select(&String::from_utf8_lossy(&output.stdout), &pids)
        }
        _ => Err(RuntimeError::Usage("invalid format option".into())),
    }
}

/// The heading and the lines of these processes.
fn select(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| RuntimeError::Usage("couldn't find PID field in ps output".into()))?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok([heading].into_iter().chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_stay() {
        let text = "UID  PID CMD\nroot  7 sleep 12\nroot 12 sh\n";
        assert_eq!(select(text, &[12]).expect("select"), "UID  PID CMD\nroot 12 sh\n");
        assert!(select("CMD\nsh\n", &[1]).is_err());
    }
}
