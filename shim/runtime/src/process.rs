//! The process of `exec`, from a file or from the command line. Pure but for reading the file.

use hone_contract::quoted_path;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

use crate::bundle;
use crate::cli::ExecArgs;
use crate::error::{Result, RuntimeError};
use crate::log::Logger;

/// The process to run, with what it does not say itself taken from the container's.
///
/// # Errors
/// When the file or an option cannot be read.
pub fn of_exec(args: &ExecArgs, spec: &Spec, log: &Logger) -> Result<Process> {
    let container = spec.process().clone().unwrap_or_default();
    let mut process = match &args.process {
        Some(path) => bundle::read_process(path, log)?,
        None => from_options(args, container.clone())?,
    };
    if process.args().as_ref().is_none_or(|a| a.is_empty()) {
        return Err(RuntimeError::Usage("exec args cannot be empty".into()));
    }
    if !process.cwd().is_absolute() {
        let got = quoted_path(process.cwd());
        return Err(RuntimeError::Usage(format!("cwd must be an absolute path, got \"{got}\"")));
    }
    if process.capabilities().is_none() {
        process.set_capabilities(container.capabilities().clone());
    }
    if process.rlimits().is_none() {
        process.set_rlimits(container.rlimits().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(container.oom_score_adj());
    }
    Ok(process)
}

fn from_options(args: &ExecArgs, mut process: Process) -> Result<Process> {
    process.set_args(Some(args.command.clone())).set_terminal(Some(args.tty)).set_console_size(None);
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    process.set_env(Some(env));
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    let mut user = process.user().clone();
    if let Some(text) = &args.user {
        let (uid, gid) = user_of(text)?;
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    groups.extend(&args.additional_gids);
    user.set_additional_gids(Some(groups));
    process.set_user(user);
    let capabilities = process.capabilities().clone().map(|c| with_capabilities(c, &args.cap)).transpose()?;
    process.set_capabilities(capabilities);
    Ok(process)
}

fn user_of(text: &str) -> Result<(u32, Option<u32>)> {
    let bad = || RuntimeError::Usage(format!("read --user {text:?}: want UID[:GID], in numbers"));
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let gid = gid.map(|gid| gid.parse().map_err(|_| bad())).transpose()?;
    Ok((uid.parse().map_err(|_| bad())?, gid))
}

fn with_capabilities(capabilities: LinuxCapabilities, names: &[String]) -> Result<LinuxCapabilities> {
    let parse = |name: &String| {
        let unknown = |_| RuntimeError::Usage(format!("unknown capability {name:?}"));
        serde_json::from_value::<Capability>(name.to_ascii_uppercase().into()).map_err(unknown)
    };
    let more = names.iter().map(parse).collect::<Result<Vec<_>>>()?;
    Ok(crate::edits::capabilities::with(&capabilities, &more))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn process(command: &str) -> Result<Process> {
        let cli = Cli::try_parse_from(command.split_whitespace()).expect("command line");
        let Some(Verb::Exec(args)) = cli.command else { panic!("not exec") };
        let spec = serde_json::from_str(
            r#"{"ociVersion":"1.0.2","process":{"cwd":"/work","args":["sh"],"env":["A=1"],"user":{"uid":3,"gid":4},
            "capabilities":{"bounding":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_NOFILE","hard":9,"soft":9}]}}"#,
        );
        of_exec(&args, &spec.expect("spec"), &Logger::default())
    }

    #[test]
    fn what_is_not_said_is_the_containers() {
        let got = process("hone-runtime exec -e B=2 -u 7 -c CAP_CHOWN c id -u").expect("process");
        assert_eq!(got.args().clone().expect("args"), ["id", "-u"]);
        assert_eq!((got.user().uid(), got.user().gid()), (7, 4));
        assert_eq!(got.env().clone().expect("env"), ["A=1", "B=2"]);
        assert_eq!(got.cwd(), std::path::Path::new("/work"));
        assert!(got.rlimits().is_some());
        let bounding = got.capabilities().as_ref().and_then(|c| c.bounding().clone()).expect("bounding");
        assert_eq!(bounding.len(), 2);
    }

    #[test]
    fn bad_options_are_named() {
        assert!(process("hone-runtime exec c").is_err());
        assert!(process("hone-runtime exec -u me c id").expect_err("user").to_string().contains("\"me\""));
        assert!(process("hone-runtime exec -c CAP_NOPE c id").is_err());
    }
}
