//! Who we are at a registry, from the files that docker's and podman's `login` write, and from their helpers.
//!
//! The files are named by the caller ([`auth_files`] knows the usual places); they are read when a registry
//! asks who we are, not before: a public image needs no helper to work.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use hone_contract::quoted;
use serde_json::Value;

use crate::error::Error;

/// Largest auth file that is read (bytes).
const MAX_FILE: u64 = 1 << 20;
/// Longest time for a helper to say what it has: it may have to ask its user for a password.
pub(crate) const HELPER: Duration = Duration::from_secs(60);
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

/// The auth files to look into, most specific first: podman's in the run-time and the configuration directory, docker's
/// in the home directory. `env` looks a variable up.
///
/// `REGISTRY_AUTH_FILE`, or else `DOCKER_CONFIG`, names the only one, as it does for podman and skopeo (containers/common,
/// `GetDefaultAuthFile`; docker itself knows `DOCKER_CONFIG` alone): who is somebody else for once must not be sent along
/// with the credentials at home, and who names an empty place is nobody.
pub fn auth_files(env: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let only = path("REGISTRY_AUTH_FILE").or_else(|| path("DOCKER_CONFIG").map(|d| d.join("config.json")));
    if let Some(only) = only {
        return vec![only];
    }
    let home = path("HOME");
    let config = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|h| h.join(".config")));
    [
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
        if let Some(found) = find_in(&document, &bytes, domain, path).map_err(|why| failed(why.into()))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first credential in a file's text, which is this document, and of the helpers that it names.
fn find_in(document: &Value, bytes: &[u8], domain: &str, path: &str) -> Result<Option<Credential>, String> {
    for key in keys(document, domain, path) {
        let (text, asked) = (bytes.to_vec(), key.clone());
        let found = in_time(HELPER, move || get_credential_from_reader(&text[..], &asked));
        match found.ok_or_else(|| silent(document, &key))? {
            Ok(DockerCredential::IdentityToken(token)) => return Ok(Some(Credential::Identity(token))),
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                return Ok(Some(Credential::Password { user, password }));
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(shown(error)),
        }
    }
    Ok(None)
}

/// What `work` gives; `None` when it takes longer. It is then left to itself: what it waits for cannot be ended from
/// here, and ends with this program at the latest.
pub(crate) fn in_time<T: Send + 'static>(longest: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    let started = thread::Builder::new().spawn(move || drop(sender.send(work())));
    started.ok().and_then(|_| receiver.recv_timeout(longest).ok())
}

/// What to say of a helper that does not answer.
fn silent(document: &Value, key: &str) -> String {
    let helper = document["credHelpers"][key].as_str().or(document["credsStore"].as_str()).unwrap_or_default();
    unanswered(helper)
}

pub(crate) fn unanswered(helper: &str) -> String {
    let wait = HELPER.as_secs();
    format!("docker-credential-{} gives no answer in {wait} s; it may wait for its user to unlock it", quoted(helper))
}

/// Whether an auth file's text has a credential for a repository of `domain` in itself. The helpers that it names are
/// not asked: this is for those who have no file but a text that anybody may have written.
///
/// # Errors
/// Why it is no such file.
pub fn stores_credential(bytes: &[u8], domain: &str, path: &str) -> Result<bool, String> {
    let mut document: Value = serde_json::from_slice(bytes).map_err(|e| quoted(&e.to_string()).to_string())?;
    if let Some(parts) = document.as_object_mut() {
        parts.retain(|name, _| name == "auths");
    }
    let text = document.to_string();
    find_in(&document, text.as_bytes(), domain, path).map(|found| found.is_some())
}

pub(crate) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
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

/// What is wrong; of what a helper printed only the complaint, which is none of a credential, as it may be shown.
fn shown(error: CredentialRetrievalError) -> String {
    match error {
        CredentialRetrievalError::HelperFailure { helper, stdout, stderr } => {
            // Helpers complain on either.
            let said =
                [stderr.trim(), stdout.trim()].into_iter().find(|text| !text.is_empty() && !text.starts_with('{'));
            let said = said.map(|text| format!(": {}", quoted(text))).unwrap_or_default();
            format!("{} fails{said}", quoted(&helper))
        }
        other => other.to_string(),
    }
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
    fn a_text_is_asked_without_its_helpers() {
        let stores = |text: &str| stores_credential(text.as_bytes(), "r.example", "org/a");
        assert_eq!(stores(r#"{"auths":{"r.example/org":{"auth":"b3JnOng="}},"credsStore":"none"}"#), Ok(true));
        assert_eq!(stores(r#"{"credHelpers":{"r.example":"../none"},"credsStore":"none"}"#), Ok(false));
        for bad in ["", "{", "[]", "7", r#"{"auths":7}"#, r#"{"auths":{"r.example":{"auth":"!!"}}}"#] {
            assert!(stores(bad).is_err(), "{bad}");
        }
    }

    fn places(set: &[(&str, &str)]) -> Vec<String> {
        let env = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        auth_files(&env).iter().map(|p| p.display().to_string()).collect()
    }

    #[test]
    fn places_come_from_the_environment_in_order() {
        let home = ("HOME", "/home/u");
        assert_eq!(
            places(&[home, ("DOCKER_CONFIG", ""), ("REGISTRY_AUTH_FILE", ""), ("XDG_RUNTIME_DIR", "/run/user/7")]),
            [
                "/run/user/7/containers/auth.json",
                "/home/u/.config/containers/auth.json",
                "/home/u/.docker/config.json"
            ]
        );
        assert_eq!(
            places(&[home, ("XDG_CONFIG_HOME", "/c")]),
            ["/c/containers/auth.json", "/home/u/.docker/config.json"]
        );
    }

    #[test]
    fn a_place_that_is_named_is_the_only_one() {
        let homes = [("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/7"), ("XDG_CONFIG_HOME", "/c")];
        let with = |more: &[(&str, &str)]| places(&[&homes[..], more].concat());
        let (file, dir) = (("REGISTRY_AUTH_FILE", "/a.json"), ("DOCKER_CONFIG", "/d"));
        assert_eq!(with(&[file]), ["/a.json"]);
        assert_eq!(with(&[dir]), ["/d/config.json"]);
        assert_eq!(with(&[dir, file]), ["/a.json"], "as podman and skopeo choose");
    }

    #[test]
    fn a_helper_that_does_not_answer_is_given_up_and_named() {
        let (_held, never) = mpsc::channel::<()>();
        assert_eq!(in_time(Duration::from_millis(20), move || never.recv().is_ok()), None);
        assert_eq!(in_time(HELPER, || 7), Some(7));
        let document = serde_json::json!({"credHelpers": {"r.example": "ecr\n"}, "credsStore": "pass"});
        for (key, helper) in
            [("r.example", r"docker-credential-ecr\n gives"), ("o.example", "docker-credential-pass ")]
        {
            let said = silent(&document, key);
            assert!(said.starts_with(helper) && said.contains(" 60 s"), "{said}");
        }
    }

    #[test]
    fn a_helper_s_complaint_is_told_and_its_secret_is_not() {
        let fails = |stdout: &str, stderr: &str| {
            let (stdout, stderr) = (stdout.to_owned(), stderr.to_owned());
            shown(CredentialRetrievalError::HelperFailure { helper: "docker-credential-x".into(), stdout, stderr })
        };
        assert_eq!(fails("locked\u{1b}[2J\n", " "), r"docker-credential-x fails: locked\u{1b}[2J");
        assert_eq!(fails("", "locked"), "docker-credential-x fails: locked");
        assert_eq!(fails(r#"{"Secret":"pw"}"#, ""), "docker-credential-x fails");
    }
}
