//! `hone-keeper --staging DIR --status-fd N --pid PID [--cgroup DIR] [--log FILE] [--log-format text|json]`
//!
//! Returns once the keeper holds its lock and has opened the container's init; the keeper itself goes on in the
//! background, detached from terminal, session and inherited descriptors.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use hone_contract::chain;
use hone_keeper::keep::{Keeper, is_readable, open_init};
use hone_keeper::report::{Format, Level, Log};
use hone_keeper::staging::Staging;
use hone_sys::Fork;

struct Args {
    staging: PathBuf,
    status: i32,
    pid: i32,
    cgroup: Option<PathBuf>,
    log: Log,
}

fn main() -> ExitCode {
    let result = parse(std::env::args().skip(1)).and_then(|args| start(args).map_err(|e| chain(e.as_ref())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            hone_contract::tell(std::io::stderr(), &format!("hone-keeper: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Args, String> {
    let (mut staging, mut status, mut pid, mut cgroup, mut log) = (None, None, None, None, Log::default());
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("read option {name}: want a value"))?;
        let number = || value.parse::<i32>().map_err(|_| format!("read option {name}: want a number, got {value:?}"));
        match name.as_str() {
            "--staging" => staging = Some(PathBuf::from(value)),
            "--status-fd" => status = Some(number()?),
            "--pid" => pid = Some(number()?),
            "--cgroup" => cgroup = Some(PathBuf::from(value)),
            "--log" => log.path = Some(PathBuf::from(value)),
            "--log-format" if value == "json" => log.format = Format::Json,
            "--log-format" if value == "text" => log.format = Format::Text,
            _ => return Err(format!("read option {name} {value}: unknown")),
        }
    }
    let want = |name| format!("read options: want {name}");
    Ok(Args {
        staging: staging.ok_or_else(|| want("--staging"))?,
        status: status.ok_or_else(|| want("--status-fd"))?,
        pid: pid.ok_or_else(|| want("--pid"))?,
        cgroup,
        log,
    })
}

fn start(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let staging = Staging::at(args.staging);
    let hone = std::env::current_exe()?.with_file_name("hone");
    let lock = staging.lock()?;
    let init = open_init(args.pid)?;
    let status = take_descriptor(args.status)?;
    if matches!(hone_sys::fork()?, Fork::Parent(_)) {
        return Ok(());
    }
    rustix::process::setsid()?;
    // A second fork, so that the keeper leads no session and can never get a terminal.
    if matches!(hone_sys::fork()?, Fork::Parent(_)) {
        return Ok(());
    }
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let keep = [lock.as_raw_fd(), init.as_raw_fd(), status.as_raw_fd()];
    std::mem::forget(null);
    hone_sys::close_descriptors_from(3, &keep)?;
    std::env::set_current_dir("/")?;
    let log = args.log.clone();
    let keeper = Keeper { staging, status, init, cgroup: args.cgroup, log: args.log, hone };
    if let Err(error) = keeper.run() {
        log.write(Level::Error, &chain(&error));
    }
    drop(lock);
    Ok(())
}

/// The status pipe comes as a number, as it must between two programs.
fn take_descriptor(number: i32) -> Result<OwnedFd, String> {
    let path = format!("/proc/self/fd/{number}");
    let file = std::fs::File::open(&path).map_err(|e| format!("open status descriptor {number}: {e}"))?;
    if number < 3 || !is_readable(&file) {
        return Err(format!("open status descriptor {number}: want the read end of a pipe"));
    }
    Ok(file.into())
}
