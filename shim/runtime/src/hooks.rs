//! Hooks of the runtime's namespace: prestart, createRuntime, poststart, poststop.
//!
//! libcontainer calls one hook only, this program again ([`host_hook`]), which then runs the caller's: with the
//! caller's bundle in the state, the error text that engines expect, and no thread in a process that forks.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, HookBuilder, Hooks, Spec};

use crate::error::{Result, RuntimeError};

/// Pause between two looks at a hook with a timeout.
const TICK: Duration = Duration::from_millis(5);
/// The verb by which this program is its own hook.
pub const HOST_HOOKS: &str = "host-hooks";
/// Where that verb leaves the error for the process that waits in libcontainer.
pub const ERROR_FILE: &str = "hook-error";

/// The hooks that run in the runtime's namespaces before the container's root is entered, in order.
pub fn before_root(hooks: &Hooks) -> Vec<Hook> {
    #[allow(deprecated)] // docker 20.10 to 28 use prestart
    let lists = [hooks.prestart(), hooks.create_runtime()];
    lists.into_iter().flatten().flatten().cloned().collect()
}

/// The one hook that libcontainer calls, when the configuration has any for it to stand for.
///
/// # Errors
/// When this program's own path is unknown.
pub fn host_hook(spec: &Spec, root: &Path, id: &str) -> Result<Option<Hook>> {
    if spec.hooks().as_ref().is_none_or(|hooks| before_root(hooks).is_empty()) {
        return Ok(None);
    }
    let args = ["hone-runtime".into(), "--root".into(), root.display().to_string(), HOST_HOOKS.into(), id.into()];
    // The caller's hooks inherit the runtime's environment, as they do under runc.
    let env: Vec<String> =
        std::env::vars_os().filter_map(|(n, v)| Some(format!("{}={}", n.to_str()?, v.to_str()?))).collect();
    let hook = HookBuilder::default().path(crate::sealed::origin()?).args(args).env(env).build();
    hook.map(Some).map_err(|error| RuntimeError::Spec(error.to_string()))
}

/// Runs hooks one after the other, each with `state` on its standard input.
///
/// # Errors
/// The first that fails, in runc's words.
pub fn run(hooks: &[Hook], state: &str) -> Result<()> {
    for (number, hook) in hooks.iter().enumerate() {
        run_one(hook, state)
            .map_err(|why| RuntimeError::Hook(format!("error running hook #{number}: error running hook: {why}")))?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &str) -> Result<(), String> {
    let mut command = Command::new(hook.path());
    if let Some((name, args)) = hook.args().as_ref().and_then(|args| args.split_first()) {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(args);
    }
    if let Some(env) = hook.env() {
        command.env_clear().envs(env.iter().filter_map(|v| v.split_once('=')));
    }
    let say = |error: std::io::Error| crate::init::plain(&error);
    // Files, not pipes: a hook may leave a process behind that keeps its output open.
    let (mut out, mut err) = (anonymous_file().map_err(say)?, anonymous_file().map_err(say)?);
    let clone = |file: &std::fs::File| file.try_clone().map(Stdio::from).map_err(say);
    command.stdin(Stdio::piped()).stdout(clone(&out)?).stderr(clone(&err)?);
    let mut child =
        command.spawn().map_err(|e| format!("{}: {}", hone_contract::quoted_path(hook.path()), say(e)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its input; one that fails says so by its exit status.
        let _ = stdin.write_all(state.as_bytes());
    }
    let status = wait(&mut child, hook.timeout())?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{}, stdout: {}, stderr: {}", tell(status), text(&mut out), text(&mut err)))
}

fn anonymous_file() -> std::io::Result<std::fs::File> {
    Ok(rustix::fs::memfd_create(c"hook-output", rustix::fs::MemfdFlags::CLOEXEC)?.into())
}

fn text(file: &mut std::fs::File) -> String {
    use std::io::Seek as _;
    let mut bytes = Vec::new();
    // What cannot be read back is missing from an error that is told anyway.
    let _ = file.rewind().and_then(|()| file.take(4096).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &mut Child, timeout: Option<i64>) -> Result<ExitStatus, String> {
    let say = |error: std::io::Error| crate::init::plain(&error);
    let Some(seconds) = timeout.and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0) else {
        return child.wait().map_err(say);
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(status) = child.try_wait().map_err(say)? {
            return Ok(status);
        }
        if Instant::now() >= end {
            // It is killed below its own feet; what counts is that it is waited for.
            let _ = child.kill();
            child.wait().map_err(say)?;
            return Err(format!("hook ran past timeout of {seconds}.0s"));
        }
        std::thread::sleep(TICK);
    }
}

/// Go's words for an exit status, which scripts grep for.
fn tell(status: ExitStatus) -> String {
    match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal: {}", signal.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(json: &str) -> Vec<Hook> {
        vec![serde_json::from_str(json).expect("hook")]
    }

    #[test]
    fn a_hook_reads_the_state() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("got");
        let script = format!(r#"{{"path":"/bin/sh","args":["sh","-c","cat > {}"]}}"#, file.display());
        run(&hook(&script), "{\"pid\":7}").expect("run");
        assert_eq!(std::fs::read_to_string(file).expect("read"), "{\"pid\":7}");
    }

    #[test]
    fn a_failing_hook_is_told_in_runcs_words() {
        let error =
            run(&hook(r#"{"path":"/bin/sh","args":["sh","-c","echo oops >&2; exit 7"]}"#), "{}").expect_err("7");
        let want = "error running hook #0: error running hook: exit status 7, stdout: , stderr: oops\n";
        assert!(error.to_string().ends_with(want), "{error}");
    }

    #[test]
    fn a_slow_hook_is_stopped() {
        let error = run(&hook(r#"{"path":"/bin/sleep","args":["sleep","60"],"timeout":1}"#), "{}").expect_err("slow");
        assert!(error.to_string().contains("past timeout"), "{error}");
    }
}
