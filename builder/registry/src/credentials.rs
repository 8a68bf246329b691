//! Who we are at a registry, from the files that docker's and podman's `login` write, and from their helpers.
//!
//! The files are named by the caller ([`auth_files`] knows the usual places); they are read when a registry
//! asks who we are, not before: a public image needs no helper to work.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde_json::Value;

use crate::error::Error;

/// Largest auth file that is read (bytes).
const MAX_FILE: u64 = 1 << 20;
/// Docker's key for its own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Proof of identity.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Password {
        user: String,
        password: String,
    },
    /// A refresh token of the registry's token service.
    Identity(String),
}

/// The auth files to look into, most specific first: `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG`, podman's in the
/// run-time and the configuration directory, docker's in the home directory. `env` looks a variable up.
pub fn auth_files(env: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = path("HOME");
    let config = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|h| h.join(".config")));
    [
        path("REGISTRY_AUTH_FILE"),
        path("DOCKER_CONFIG").map(|d| d.join("config.json")),
        path("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")),
        config.map(|d| d.join("containers/auth.json")),
        home.map(|d| d.join(".docker/config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The first credential for a repository of `domain` in `files`. A file that is not there is passed over.
pub(crate) fn find(files: &[PathBuf], domain: &str, path: &str) -> Result<Option<Credential>, Error> {
    for file in files {
        let failed =
            |source| Error::Credentials { host: domain.to_owned(), file: file.display().to_string(), source };
        let Some(bytes) = read(file).map_err(|e| failed(e.into()))? else { continue };
        let document: Value = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
        for key in keys(&document, domain, path) {
            match get_credential_from_reader(bytes.as_slice(), &key) {
                Ok(DockerCredential::IdentityToken(token)) => return Ok(Some(Credential::Identity(token))),
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    return Ok(Some(Credential::Password { user, password }));
                }
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
    Ok(None)
}

fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than 1 MiB"));
    }
    Ok(Some(bytes))
}

/// The keys to ask a file for: the repository and its parents where the file names them (podman), then the
/// registry, which also a helper for all registries is asked for.
fn keys(document: &Value, domain: &str, path: &str) -> Vec<String> {
    let named = |key: &str| ["auths", "credHelpers"].iter().any(|part| document[*part].get(key).is_some());
    let mut keys = Vec::new();
    let mut scope = path;
    while !scope.is_empty() {
        let key = format!("{domain}/{scope}");
        if named(&key) {
            keys.push(key);
        }
        scope = scope.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    if domain == "docker.io" {
        let spelled = ["index.docker.io", "docker.io", "registry-1.docker.io"];
        let own = [HUB_KEY].into_iter().chain(spelled).find(|key| named(key)).unwrap_or(HUB_KEY);
        keys.push(own.to_owned());
    } else {
        keys.push(domain.to_owned());
    }
    keys
}

/// Helpers say in words that they have nothing (docker-credential-helpers, credentials/error.go).
fn is_absent(error: &CredentialRetrievalError) -> bool {
    match error {
        CredentialRetrievalError::NoCredentialConfigured => true,
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => {
            [stdout, stderr].iter().any(|text| text.contains("credentials not found"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).expect("write");
        let absent = dir.path().join("absent.json");
        (dir, vec![absent, path])
    }

    fn user(found: Result<Option<Credential>, Error>) -> Option<String> {
        match found.expect("credentials") {
            Some(Credential::Password { user, .. }) => Some(user),
            Some(Credential::Identity(token)) => Some(format!("token {token}")),
            None => None,
        }
    }

    #[test]
    fn the_most_specific_entry_counts() {
        // b3JnOng= is org:x, aG9zdDp4 host:x.
        let (_dir, files) = file(
            r#"{"auths":{"r.example/org":{"auth":"b3JnOng="},"r.example":{"auth":"aG9zdDp4"},
                "t.example":{"auth":"","identitytoken":"abc"}}}"#,
        );
        assert_eq!(user(find(&files, "r.example", "org/a/b")).as_deref(), Some("org"));
        assert_eq!(user(find(&files, "r.example", "orga/b")).as_deref(), Some("host"));
        assert_eq!(user(find(&files, "t.example", "a")).as_deref(), Some("token abc"));
        assert_eq!(user(find(&files, "o.example", "a")), None);
    }

    #[test]
    fn dockers_own_registry_has_many_spellings() {
        for key in [HUB_KEY, "index.docker.io", "docker.io", "registry-1.docker.io"] {
            let (_dir, files) = file(&format!(r#"{{"auths":{{"{key}":{{"auth":"aG9zdDp4"}}}}}}"#));
            assert_eq!(user(find(&files, "docker.io", "library/a")).as_deref(), Some("host"), "{key}");
        }
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it() {
        let (_dir, files) = file("{");
        let error = find(&files, "r.example", "a").err().expect("error").to_string();
        assert!(error.contains("config.json") && error.contains("r.example"), "{error}");
        let (_dir, files) = file(r#"{"auths":{"r.example":{"auth":"!!"}}}"#);
        assert!(find(&files, "r.example", "a").is_err());
    }

    #[test]
    fn places_come_from_the_environment_in_order() {
        let env = |name: &str| match name {
            "REGISTRY_AUTH_FILE" => Some("/a.json".into()),
            "HOME" => Some("/home/u".into()),
            "DOCKER_CONFIG" => Some("".into()),
            _ => None,
        };
        let places: Vec<String> = auth_files(&env).iter().map(|p| p.display().to_string()).collect();
        assert_eq!(places, ["/a.json", "/home/u/.config/containers/auth.json", "/home/u/.docker/config.json"]);
    }
}
