//! The command line, as runc has it, and Hone's own options. Pure: text to values.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use hone_contract::size::in_units;

/// An OCI runtime for containers and for training containers
#[derive(Debug, Parser)]
#[command(name = "hone-runtime", disable_version_flag = true, arg_required_else_help = true)]
pub struct Cli {
    /// Options before the command
    #[command(flatten)]
    pub global: Global,
    /// What to do
    #[command(subcommand)]
    pub command: Option<Verb>,
}

/// Options before the command.
#[derive(Debug, Args)]
pub struct Global {
    /// Write debug lines to the log
    #[arg(long)]
    pub debug: bool,
    /// Log file (default: standard error)
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Log format
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Where container state lies (should be a tmpfs)
    #[arg(long, default_value = "/run/hone-runtime", value_name = "DIR")]
    pub root: PathBuf,
    /// Take cgroupsPath as "slice:prefix:name" and use the directories that systemd would
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Accepted for runc's callers
    #[arg(long, hide = true, value_name = "MODE")]
    pub rootless: Option<String>,
    /// Accepted for runc's callers
    #[arg(long, hide = true, value_name = "PATH")]
    pub criu: Option<String>,
    /// Hone's store
    #[arg(long, env = "HONE_ROOT", default_value = "/var/lib/hone", value_name = "DIR")]
    pub hone_root: PathBuf,
    /// Who runs this runtime: embedded, docker=ADDRESS, podman or none
    #[arg(long, value_name = "ENGINE")]
    pub hone_engine: Option<String>,
    /// The image of the container: NAME:TAG@sha256:CONFIG
    #[arg(long, value_name = "IMAGE")]
    pub hone_image: Option<String>,
    /// Name of the staging directory (default: the container's id)
    #[arg(long, value_name = "ID")]
    pub hone_staging: Option<String>,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::SetTrue)]
    pub version: bool,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One object a line
    Json,
}

/// One operation.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a container
    Create(CreateArgs),
    /// Start the process of a created container
    Start(Id),
    /// Print the state of a container
    State(Id),
    /// Send a signal to a container's process
    Kill(KillArgs),
    /// Delete a container
    Delete(DeleteArgs),
    /// Create and start a container, and wait for it
    Run(RunArgs),
    /// Run another process in a container
    Exec(Box<ExecArgs>),
    /// List the processes of a container
    Ps(PsArgs),
    /// List containers
    List(ListArgs),
    /// Freeze every process of a container
    Pause(Id),
    /// Let the processes of a container go on
    Resume(Id),
    /// Change the limits of a container
    Update(Box<UpdateArgs>),
    /// Print counters and out-of-memory events of a container
    Events(EventsArgs),
    /// Write a configuration to start from
    Spec(SpecArgs),
    /// Print what this runtime can do
    Features,
    /// Write the manual pages to a directory
    #[command(hide = true)]
    Man(ManArgs),
    /// What libcontainer calls back; not for people
    #[command(name = crate::hooks::HOST_HOOKS, hide = true)]
    HostHooks(Id),
}

/// A container.
#[derive(Debug, Args)]
pub struct Id {
    /// Container id
    pub id: String,
}

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to write them
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The bundle: a directory with config.json
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub bundle: PathBuf,
    /// Unix socket that receives the container's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Where to write the process id
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root (for a root on a ramdisk)
    #[arg(long)]
    pub no_pivot: bool,
    /// Do not create a session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Descriptors to pass on after 0, 1 and 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub preserve_fds: i32,
    /// Container id
    pub id: String,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// As for create
    #[command(flatten)]
    pub create: CreateArgs,
    /// Do not wait
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the container after it has ended
    #[arg(long)]
    pub keep: bool,
    /// Accepted for runc's callers
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
}

/// `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Every process of the container
    #[arg(short, long)]
    pub all: bool,
    /// Container id
    pub id: String,
    /// Name or number (default: TERM)
    #[arg(allow_hyphen_values = true)]
    pub signal: Option<String>,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Kill it first, if it runs; a container that is not there is no error
    #[arg(short, long)]
    pub force: bool,
    /// Container id
    pub id: String,
}

/// `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Unix socket that receives the process's terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Environment variable, NAME=VALUE
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// User, and group after a colon, in numbers
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// Additional group
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// File with the process's configuration
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait
    #[arg(short, long)]
    pub detach: bool,
    /// Where to write the process id
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// No new privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Additional capability
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Descriptors to pass on after 0, 1 and 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub preserve_fds: i32,
    /// Cgroup below the container's to run in
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Also when the container is paused
    #[arg(long)]
    pub ignore_paused: bool,
    /// Accepted for runc's callers
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    /// Container id
    pub id: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// table or json
    #[arg(short, long, default_value = "table")]
    pub format: String,
    /// Container id
    pub id: String,
    /// Options for ps (default: -ef)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// table or json
    #[arg(short, long, default_value = "table")]
    pub format: String,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `update`. Sizes take a suffix: 64M.
#[derive(Debug, Default, Args)]
pub struct UpdateArgs {
    /// File with limits as in config.json, or - for standard input; the other options are then ignored
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long)]
    pub blkio_weight: Option<u16>,
    /// Period of the processor quota (microseconds)
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// Processor time in a period (microseconds); -1 for no quota
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Processor time that may be saved up (microseconds)
    #[arg(long)]
    pub cpu_burst: Option<u64>,
    /// Relative weight
    #[arg(long)]
    pub cpu_share: Option<u64>,
    /// Period of realtime time (microseconds)
    #[arg(long)]
    pub cpu_rt_period: Option<u64>,
    /// Realtime time in a period (microseconds)
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Processors
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// 1: run only when nobody else wants to
    #[arg(long)]
    pub cpu_idle: Option<i64>,
    /// Memory
    #[arg(long, allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory that is kept under pressure
    #[arg(long, allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Memory and swap together; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Accepted and ignored: the kernel has no such limit any more
    #[arg(long, hide = true)]
    pub kernel_memory: Option<String>,
    /// Accepted and ignored: the kernel has no such limit any more
    #[arg(long, hide = true)]
    pub kernel_memory_tcp: Option<String>,
    /// Processes and threads; -1 for no limit
    #[arg(long, allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Container id
    pub id: String,
}

/// `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Time between two lines: 5s, 500ms
    #[arg(long, default_value = "5s")]
    pub interval: String,
    /// Print once and end
    #[arg(long)]
    pub stats: bool,
    /// Container id
    pub id: String,
}

/// `spec`.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Where to write config.json
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub bundle: PathBuf,
    /// For a container without root
    #[arg(long)]
    pub rootless: bool,
}

/// Bytes: `64M`, `1g`, `1024`, `-1`.
pub fn bytes(text: &str) -> Option<i64> {
    let (number, shift) = in_units(text.trim())?;
    number.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_engines_say_is_understood() {
        let create = "hone-runtime --root /r --log /l --log-format json --systemd-cgroup create --bundle /b \
                      --pid-file /p --console-socket /c --no-pivot --preserve-fds 2 abc";
        let cli = Cli::try_parse_from(create.split_whitespace()).expect("create");
        let Some(Verb::Create(args)) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!((args.id.as_str(), args.preserve_fds, args.no_pivot), ("abc", 2, true));
        let exec = "hone-runtime exec --process /p --detach --pid-file /f abc";
        assert!(Cli::try_parse_from(exec.split_whitespace()).is_ok());
        let exec = "hone-runtime exec -t -u 7:8 -e A=b abc ls -la --color";
        let cli = Cli::try_parse_from(exec.split_whitespace()).expect("exec");
        let Some(Verb::Exec(args)) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.command, ["ls", "-la", "--color"]);
        assert!(Cli::try_parse_from("hone-runtime kill --all abc 9".split_whitespace()).is_ok());
        assert!(Cli::try_parse_from("hone-runtime ps --format json abc".split_whitespace()).is_ok());
        assert!(Cli::try_parse_from("hone-runtime --version".split_whitespace()).is_ok());
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("64M"), Some(64 << 20));
        assert_eq!(bytes("1GiB"), Some(1 << 30));
        assert_eq!(bytes("12"), Some(12));
        assert_eq!(bytes("-1"), Some(-1));
        assert_eq!(bytes("many"), None);
    }
}
