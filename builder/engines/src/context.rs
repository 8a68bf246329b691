//! Where the user's own docker goes: DOCKER_HOST, a context, or the usual socket (docker/cli, cli/command/cli.go,
//! resolveContextName: a host decides before a context does).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hone_docker::Address;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::install::files;

/// Where docker listens when nobody says otherwise.
const DEFAULT: &str = "/var/run/docker.sock";
/// What docker calls the context that is none.
const NONE: &str = "default";

/// Looks a variable of the environment up.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What docker's own configuration says about the way to a daemon.
#[derive(Debug, Default)]
pub(crate) struct Client {
    dir: Option<PathBuf>,
    /// The context that is used unless a host is given.
    pub(crate) context: Option<String>,
    /// Whether each request takes header fields along.
    pub(crate) has_headers: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
    #[serde(rename = "HttpHeaders")]
    http_headers: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    host: String,
}

/// A variable that is set and not empty.
pub(crate) fn set(env: Env<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

impl Client {
    /// Reads the configuration of the user whose environment this is.
    pub(crate) fn read(env: Env<'_>) -> Result<Self, Error> {
        let home = || Some(Path::new(&set(env, "HOME")?).join(".docker"));
        let dir = set(env, "DOCKER_CONFIG").map(PathBuf::from).or_else(home);
        let path = dir.as_ref().map(|dir| dir.join("config.json"));
        let config: Config = path.map(|path| json(&path)).transpose()?.flatten().unwrap_or_default();
        let chosen = set(env, "DOCKER_CONTEXT").and_then(|name| name.into_string().ok()).or(config.current_context);
        Ok(Self {
            dir,
            context: chosen.filter(|name| !name.is_empty() && name != NONE),
            has_headers: config.http_headers.is_some_and(|headers| !headers.is_empty()),
        })
    }

    /// The address that a context names; `None` when nobody has made such a context.
    pub(crate) fn host_of(&self, context: &str) -> Result<Option<String>, Error> {
        let Some(dir) = &self.dir else { return Ok(None) };
        // docker files a context under the hash of its name.
        let hash = hone_contract::Digest::of(context.as_bytes()).hex();
        let meta: Option<Meta> = json(&dir.join("contexts/meta").join(hash).join("meta.json"))?;
        Ok(meta.map(|meta| meta.endpoints.docker.host))
    }
}

/// The daemon at `host`, else the one that the user's own `docker` talks to; `None` when that is not a socket of this
/// machine and nothing more than that. Everything else (contexts, ssh, TLS, headers that a user's configuration adds) is
/// the command line's, whose words the user knows.
pub(crate) fn socket(host: Option<&str>, env: Env<'_>) -> Option<Address> {
    let client = Client::read(env).ok().filter(|client| !client.has_headers)?;
    let said = host.map(OsString::from).or_else(|| set(env, "DOCKER_HOST"));
    if let Some(said) = said {
        return said.to_str()?.strip_prefix("unix://").map(|path| Address::Unix(path.into()));
    }
    client.context.is_none().then(|| Address::Unix(DEFAULT.into()))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(text) = files::read(path)? else { return Ok(None) };
    let refused =
        |error: serde_json::Error| Error::Config { path: path.to_owned(), reason: format!("not JSON: {error}") };
    serde_json::from_str(&text).map(Some).map_err(refused)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(host: Option<&str>, vars: &[(&str, &str)]) -> Option<String> {
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        match socket(host, &env)? {
            Address::Unix(path) => Some(path.display().to_string()),
            Address::Tcp(host) => panic!("{host} is no socket"),
        }
    }

    #[test]
    fn the_socket_is_docker_s_own_choice() {
        let dir = tempfile::tempdir().expect("directory");
        let home = dir.path().to_str().expect("a path");
        assert_eq!(at(None, &[("HOME", home)]).as_deref(), Some(DEFAULT));
        assert_eq!(at(Some("unix:///a"), &[("DOCKER_HOST", "tcp://b")]).as_deref(), Some("/a"));
        assert_eq!(at(None, &[("DOCKER_HOST", "unix:///b"), ("DOCKER_CONTEXT", "c")]).as_deref(), Some("/b"));
        assert_eq!(at(None, &[("DOCKER_HOST", "")]).as_deref(), Some(DEFAULT));
        assert_eq!(at(None, &[("DOCKER_CONTEXT", "default")]).as_deref(), Some(DEFAULT));
        for others in [[("DOCKER_HOST", "ssh://b")], [("DOCKER_HOST", "tcp://b")], [("DOCKER_CONTEXT", "c")]] {
            assert_eq!(at(None, &others), None, "{others:?}");
        }
        fs::create_dir(dir.path().join(".docker")).expect("directory");
        for (config, want) in [
            (r#"{"auths":{},"currentContext":"default"}"#, Some(DEFAULT)),
            (r#"{"currentContext":"rootless"}"#, None),
            (r#"{"HttpHeaders":{"X-Meta":"a"}}"#, None),
            ("{", None),
        ] {
            fs::write(dir.path().join(".docker/config.json"), config).expect("write");
            assert_eq!(at(None, &[("HOME", home)]).as_deref(), want, "{config}");
        }
    }
}
