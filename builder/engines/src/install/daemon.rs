//! Which daemon `hone install docker` is for: the one that the user's own docker talks to, when it is one of this machine.
//!
//! A runtime is a program, named by its path in the daemon's own configuration: it can only be registered where the
//! daemon runs.

use std::path::{Path, PathBuf};

use super::{DOCKER_CONFIG, DOCKER_HOST};
use crate::context::{Client, Env, set};
use crate::error::Error;

/// Where daemons of users listen.
const OF_USERS: &str = "unix:///run/user/";
/// In the path of Docker Desktop's socket, whose daemon is in a virtual machine.
const DESKTOP: &str = "/.docker/desktop/";

/// The address of the daemon: `given`, else where the user's own docker goes. `env` looks a variable up.
///
/// # Errors
/// When it is no socket of this machine, or docker's configuration cannot be read.
pub fn docker_host(given: Option<&str>, env: Env<'_>) -> Result<String, Error> {
    if let Some(host) = given {
        return match is_socket(host) || host.strip_prefix("tcp://").is_some_and(|at| at.contains(':')) {
            true => Ok(host.to_owned()),
            false => Err(refused(host, "want unix:///PATH or tcp://HOST:PORT, where Hone can ask it")),
        };
    }
    let (host, by) = match set(env, "DOCKER_HOST") {
        Some(host) => (host.to_string_lossy().into_owned(), "DOCKER_HOST names it".to_owned()),
        None => match named(env)? {
            None => return Ok(DOCKER_HOST.to_owned()),
            Some((host, context)) => (host, format!("context {context} names it")),
        },
    };
    if host.contains(DESKTOP) {
        let why = "it runs in Docker Desktop's virtual machine, where programs of this machine are not";
        return Err(refused(&host, &format!("{by}, and {why}; use a docker of this machine")));
    }
    if !is_socket(&host) {
        let why = "it is no socket of this machine, where its runtimes must be";
        let way =
            format!("run `hone install docker` there, or name the daemon of this machine: docker={DOCKER_HOST}");
        return Err(refused(&host, &format!("{by}, and {why}; {way}")));
    }
    Ok(host)
}

/// What the context says that the user has chosen, and its name.
fn named(env: Env<'_>) -> Result<Option<(String, String)>, Error> {
    let client = Client::read(env)?;
    let Some(context) = client.context.clone() else { return Ok(None) };
    match client.host_of(&context)? {
        Some(host) => Ok(Some((host, context))),
        None => Err(refused(&format!("context {context}"), "there is no such context; see `docker context ls`")),
    }
}

fn is_socket(host: &str) -> bool {
    host.strip_prefix("unix://").is_some_and(|path| path.starts_with('/'))
}

fn refused(host: &str, reason: &str) -> Error {
    Error::Host { host: host.to_owned(), reason: reason.to_owned() }
}

/// Whether it is the daemon of a user who is not root.
pub(super) fn is_of_user(host: &str) -> bool {
    host.starts_with(OF_USERS)
}

/// Where that daemon reads its configuration (docs.docker.com, "Rootless mode").
pub fn docker_config(host: &str, env: Env<'_>) -> PathBuf {
    let home = || Some(Path::new(&set(env, "HOME")?).join(".config"));
    let own = set(env, "XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    match own.filter(|_| is_of_user(host)) {
        Some(dir) => dir.join("docker/daemon.json"),
        None => DOCKER_CONFIG.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;

    const VM: &str = "unix:///home/u/.docker/desktop/docker.sock";
    const ROOTLESS: &str = "unix:///run/user/7/docker.sock";

    /// A home with docker contexts in `.docker`.
    fn home(contexts: &[(&str, &str)], current: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let docker = dir.path().join(".docker");
        for (name, host) in contexts {
            let hash = hone_contract::Digest::of(name.as_bytes()).hex();
            let meta = docker.join("contexts/meta").join(hash);
            fs::create_dir_all(&meta).unwrap();
            let text = serde_json::json!({ "Name": name, "Endpoints": { "docker": { "Host": host } } });
            fs::write(meta.join("meta.json"), text.to_string()).unwrap();
        }
        fs::create_dir_all(&docker).unwrap();
        let config = serde_json::json!({ "currentContext": current }).to_string();
        fs::write(docker.join("config.json"), config).unwrap();
        dir
    }

    fn host(given: Option<&str>, home: &Path, vars: &[(&str, &str)]) -> Result<String, String> {
        let env = |name: &str| match name {
            "HOME" => Some(home.into()),
            _ => vars.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)),
        };
        docker_host(given, &env).map_err(|error| error.to_string())
    }

    #[test]
    fn the_daemon_is_the_one_that_docker_talks_to() {
        let contexts = [("rootless", ROOTLESS), ("lab", "ssh://lab")];
        let plain = home(&contexts, "default");
        let ours = |vars: &[(&str, &str)]| host(None, plain.path(), vars);
        assert_eq!(ours(&[]).as_deref(), Ok(DOCKER_HOST));
        let both = [("DOCKER_HOST", "unix:///d.sock"), ("DOCKER_CONTEXT", "lab")];
        assert_eq!(ours(&both).as_deref(), Ok("unix:///d.sock"));
        assert_eq!(ours(&[("DOCKER_CONTEXT", "rootless")]).as_deref(), Ok(ROOTLESS));
        let chosen = home(&contexts, "rootless");
        assert_eq!(host(None, chosen.path(), &[]).as_deref(), Ok(ROOTLESS));
        assert_eq!(host(None, chosen.path(), &[("DOCKER_CONTEXT", "default")]).as_deref(), Ok(DOCKER_HOST));
        // DOCKER_CONFIG is in the place of the home's.
        let elsewhere = plain.path().join(".docker").display().to_string();
        assert_eq!(host(None, chosen.path(), &[("DOCKER_CONFIG", &elsewhere)]).as_deref(), Ok(DOCKER_HOST));
        let none = tempfile::tempdir().unwrap();
        assert_eq!(host(None, none.path(), &[]).as_deref(), Ok(DOCKER_HOST));
    }

    #[test]
    fn a_daemon_elsewhere_is_refused_with_the_reason() {
        let home = home(&[("lab", "ssh://lab"), ("vm", VM), ("odd", "\u{1b}[2J")], "lab");
        let said = |vars: &[(&str, &str)]| host(None, home.path(), vars).expect_err("refused");
        let want = "docker at ssh://lab: context lab names it, and it is no socket of this machine";
        assert!(said(&[]).starts_with(want), "{}", said(&[]));
        for address in ["tcp://10.0.0.1:2376", "ssh://u@h", "fd://", "unix://relative", "npipe:////./pipe/docker"] {
            let said = said(&[("DOCKER_HOST", address)]);
            assert!(said.contains("DOCKER_HOST names it, and it is no socket of this machine"), "{said}");
        }
        assert!(said(&[("DOCKER_CONTEXT", "vm")]).contains("Docker Desktop's virtual machine"));
        assert!(said(&[("DOCKER_CONTEXT", "nope")]).contains("context nope: there is no such context"));
        assert!(!said(&[("DOCKER_CONTEXT", "odd")]).contains('\u{1b}'));
        fs::write(home.path().join(".docker/config.json"), "{").unwrap();
        assert!(said(&[]).contains("config.json: not JSON"));
        // What the user names is taken, where it can be asked.
        for address in ["unix:///run/d.sock", "tcp://127.0.0.1:2375"] {
            assert_eq!(host(Some(address), home.path(), &[]).as_deref(), Ok(address));
        }
        assert!(host(Some("ssh://lab"), home.path(), &[]).is_err());
    }

    #[test]
    fn a_user_s_daemon_has_the_user_s_configuration() {
        let env = |name: &str| (name == "HOME").then(|| OsString::from("/home/u"));
        assert_eq!(docker_config(ROOTLESS, &env), Path::new("/home/u/.config/docker/daemon.json"));
        assert_eq!(docker_config(DOCKER_HOST, &env), Path::new(DOCKER_CONFIG));
    }
}
