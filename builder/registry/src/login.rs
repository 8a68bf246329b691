//! Logging in to a registry and out of it: credentials are tried, then kept where docker and podman keep theirs, in an
//! auth file or with the helper that the file names.
//!
//! A file is replaced whole, is its owner's alone (0600), and keeps everything else that is in it as it was written.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine;
use hone_contract::quoted;
use hone_contract::reference::Reference;
use serde_json::json;
use serde_json::value::RawValue;
use ureq::http::Method;

use crate::auth::Auth;
use crate::client::Client;
use crate::credentials::{Credential, HELPER, find, in_time, read, unanswered};
use crate::error::{Error, Peer};
use crate::ordered::Object;
use crate::session::Session;
use crate::wire::{Ask, Task};

/// Docker's registry, and its key in an auth file.
const HUB: &str = "docker.io";
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Longest complaint of a helper that is shown (bytes).
const MAX_SAID: usize = 4096;

/// Who somebody is at a registry.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The registry, as [`registry`] gives it.
    pub registry: &'a str,
    /// The name there.
    pub user: &'a str,
    /// What proves it.
    pub password: &'a str,
}

/// What a registry said to a login that it did not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It asked who we are, and took the answer.
    Proven,
    /// It did not ask.
    NotAsked,
}

/// Where a login is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In the auth file itself, for everybody to read who may read that.
    Plain,
    /// With the helper `docker-credential-<name>`.
    Helper(String),
}

/// The registry that a person means: `HOST[:PORT]`, also as a URL; docker's own without any.
///
/// # Errors
/// When the text is none.
pub fn registry(text: Option<&str>) -> Result<String, Error> {
    let Some(text) = text else { return Ok(HUB.to_owned()) };
    let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
    let host = host.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    if [HUB, "index.docker.io", "registry-1.docker.io"].contains(&host) {
        return Ok(HUB.to_owned());
    }
    let named: Option<Reference> = format!("{host}/x").parse().ok();
    match named.filter(|named| named.domain() == host && !host.contains('/')) {
        Some(_) => Ok(host.to_owned()),
        None => Err(Error::name("registry", text, "want HOST[:PORT], e.g. registry.example:5000")),
    }
}

impl Client {
    /// Tries whether a registry takes a login; nothing is kept.
    ///
    /// # Errors
    /// When it does not, or is not reached.
    pub fn try_login(&self, login: &Login<'_>) -> Result<Tried, Error> {
        let (user, password) = (login.user.to_owned(), login.password.to_owned());
        if user.is_empty() || user.contains(':') {
            return Err(Error::name("user", login.user, "want a name without a colon"));
        }
        self.try_credential(login.registry, Credential::Password { user, password })
    }

    /// Tries what is kept for a registry already; `None` when nothing is.
    ///
    /// # Errors
    /// When the registry does not take it, is not reached, or the credentials cannot be read.
    pub fn try_kept(&self, registry: &str) -> Result<Option<Tried>, Error> {
        let kept = find(self.auth_files(), registry, "")?;
        kept.map(|credential| self.try_credential(registry, credential)).transpose()
    }

    fn try_credential(&self, registry: &str, credential: Credential) -> Result<Tried, Error> {
        let session = Session::new(self.reach(registry)?, Auth::of(registry, credential));
        let task = Task { text: format!("log in to {registry}"), host: registry.to_owned(), peer: Peer::Login };
        let ask = Ask::new(Method::GET, format!("{}/v2/", session.reach.base()));
        let answer = session.call(&task, "", &ask)?;
        match answer.is_success() {
            true if session.was_asked() => Ok(Tried::Proven),
            true => Ok(Tried::NotAsked),
            false => Err(task.refused(answer)),
        }
    }
}

/// Who we are at a registry, by the first of `files` that says; an identity token has no name.
///
/// # Errors
/// When they cannot be read.
pub fn user(files: &[PathBuf], registry: &str) -> Result<Option<String>, Error> {
    Ok(find(files, registry, "")?.map(|credential| match credential {
        Credential::Password { user, .. } => user,
        Credential::Identity(_) => "<token>".to_owned(),
    }))
}

/// Keeps a login in `file`, or with the helper that it names.
///
/// # Errors
/// When it cannot be kept; the file is then as it was.
pub fn keep(file: &Path, login: &Login<'_>) -> Result<Kept, Error> {
    let registry = login.registry;
    change(file, registry, |document| {
        let key = key_of(registry);
        let mut auths = document.object("auths")?;
        let (kept, entry) = match helper_for(document, key)? {
            Some(helper) => {
                let stored = json!({"ServerURL": key, "Username": login.user, "Secret": login.password});
                run(&helper, "store", stored.to_string())?;
                // So that whoever lists the file knows of it, as docker has it.
                (Kept::Helper(helper), "{}".to_owned())
            }
            None => {
                let both = format!("{}:{}", login.user, login.password);
                let both = base64::engine::general_purpose::STANDARD.encode(both);
                (Kept::Plain, format!("{{\n\t\t\t\"auth\": \"{both}\"\n\t\t}}"))
            }
        };
        for other in spellings(registry).iter().filter(|other| *other != key) {
            auths.remove(other);
        }
        auths.set(key, RawValue::from_string(entry)?);
        document.set("auths", auths.raw(1)?);
        Ok((kept, true))
    })
}

/// Forgets what `file` and its helper have for a registry; whether there was anything.
///
/// # Errors
/// When it cannot be forgotten.
pub fn forget(file: &Path, registry: &str) -> Result<bool, Error> {
    change(file, registry, |document| {
        let mut auths = document.object("auths")?;
        let mut there = false;
        let listed = spellings(registry).iter().filter(|key| auths.remove(key)).count() > 0;
        if let Some(helper) = helper_for(document, key_of(registry))? {
            there |= run(&helper, "erase", key_of(registry).to_owned())?;
        }
        if listed {
            document.set("auths", auths.raw(1)?);
        }
        Ok((there || listed, listed))
    })
}

/// The registries that `file` lists.
///
/// # Errors
/// When it cannot be read.
pub fn registries(file: &Path) -> Result<Vec<String>, Error> {
    let listed = change(file, "every registry", |document| {
        let mut keys = document.object("auths")?.keys();
        keys.extend(document.object("credHelpers")?.keys());
        Ok((keys, false))
    })?;
    let mut all: Vec<String> = listed.iter().filter_map(|key| registry(Some(key)).ok()).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

type Why = Box<dyn std::error::Error + Send + Sync>;

/// Reads a file, changes its document, and writes it where that is asked for.
fn change<T>(
    file: &Path,
    registry: &str,
    edit: impl FnOnce(&mut Object) -> Result<(T, bool), Why>,
) -> Result<T, Error> {
    let changed = || -> Result<T, Why> {
        let mut document = match read(file)? {
            // An empty file is one that somebody has only touched.
            Some(bytes) if !bytes.trim_ascii().is_empty() => Object::parse(std::str::from_utf8(&bytes)?)?,
            _ => Object::default(),
        };
        let (found, write) = edit(&mut document)?;
        if write {
            replace(file, &format!("{}\n", document.text(0)))?;
        }
        Ok(found)
    };
    let (host, shown) = (registry.to_owned(), file.display().to_string());
    changed().map_err(|source| Error::Keep { host, file: shown, source })
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    // Behind a link, what it names is replaced: dotfiles are often kept elsewhere.
    let file = if file.is_symlink() { fs::canonicalize(file)? } else { file.to_owned() };
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // For its owner alone, as tempfile makes it.
    let mut new = tempfile::Builder::new().prefix(".hone-login-").tempfile_in(dir)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(&file).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

fn key_of(registry: &str) -> &str {
    if registry == HUB { HUB_KEY } else { registry }
}

/// Every way in which an auth file may name a registry.
fn spellings(registry: &str) -> Vec<String> {
    let mut all = vec![registry.to_owned(), format!("https://{registry}"), format!("http://{registry}")];
    if registry == HUB {
        all.extend([HUB_KEY, "index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    all
}

/// The helper that the file names for a key.
fn helper_for(document: &Object, key: &str) -> Result<Option<String>, Why> {
    let named = document.object("credHelpers")?.string(key).or_else(|| document.string("credsStore"));
    let named = named.filter(|name| !name.is_empty());
    match &named {
        Some(name) if name.contains('/') => Err(format!("the helper {}: want a name without /", quoted(name)).into()),
        _ => Ok(named),
    }
}

/// Has a helper do something; whether it had what it was asked for.
fn run(helper: &str, verb: &'static str, input: String) -> Result<bool, Why> {
    let program = Arc::new(format!("docker-credential-{helper}"));
    let started = program.clone();
    let done = in_time(HELPER, move || -> io::Result<std::process::Output> {
        let mut command = Command::new(started.as_str());
        let piped = command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn()?;
        if let Some(mut stdin) = process.stdin.take() {
            // A helper that ends before it has read says why by its exit code.
            let _ = stdin.write_all(input.as_bytes());
        }
        process.wait_with_output()
    });
    let output = done.ok_or_else(|| unanswered(helper))?.map_err(|e| format!("{}: {e}", quoted(&program)))?;
    let said = [&output.stdout, &output.stderr]
        .map(|said| String::from_utf8_lossy(&said[..said.len().min(MAX_SAID)]).trim().to_owned());
    match output.status.success() {
        true => Ok(true),
        false if verb == "erase" && said.iter().any(|said| said.contains("credentials not found")) => Ok(false),
        false => {
            let said = said.iter().find(|said| !said.is_empty() && !said.starts_with('{'));
            let said = said.map(|said| format!(": {}", quoted(said))).unwrap_or_default();
            Err(format!("{} {verb} fails{said}", quoted(&program)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HUB_LOGIN: Login<'static> = Login { registry: HUB, user: "u", password: "p" };

    fn dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("new/config.json");
        (dir, file)
    }

    #[test]
    fn a_registry_is_named_in_many_ways() {
        assert_eq!(registry(None).expect("docker's"), "docker.io");
        for hub in ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            assert_eq!(registry(Some(hub)).expect("docker's"), "docker.io");
        }
        for (text, want) in [
            ("r.example", "r.example"),
            ("https://r.example/", "r.example"),
            ("http://r.example:5000/v2/", "r.example:5000"),
            ("localhost", "localhost"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
        ] {
            assert_eq!(registry(Some(text)).expect("a registry"), want);
        }
        for bad in ["", "https://", "r.example/team", "word", "a b.example", "-u", "r.example:port"] {
            assert!(registry(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_login_is_kept_for_its_owner_and_the_rest_stays_as_it_was() {
        let (_dir, file) = dir();
        assert!(!forget(&file, "r.example").expect("nothing there") && !file.exists());
        let login = Login { registry: "r.example:5000", user: "me", password: "a:b" };
        assert_eq!(keep(&file, &login).expect("keep"), Kept::Plain);
        let text = fs::read_to_string(&file).expect("file");
        // me:a:b, in docker's own spacing.
        assert_eq!(
            text,
            "{\n\t\"auths\": {\n\t\t\"r.example:5000\": {\n\t\t\t\"auth\": \"bWU6YTpi\"\n\t\t}\n\t}\n}\n"
        );
        assert_eq!(fs::metadata(&file).expect("file").permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(file.parent().expect("parent")).expect("dir").permissions().mode() & 0o7777, 0o700);
        assert_eq!(user(std::slice::from_ref(&file), "r.example:5000").expect("user").as_deref(), Some("me"));
        let others = "{\"z\": [1,  2], \"auths\": {\"b.example\": {\"auth\":  \"eDp5\"}, \"a.example\": {}}, \"proxies\": {\"b\": 1, \"a\": 2}}";
        fs::write(&file, others).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
        keep(&file, &HUB_LOGIN).expect("keep");
        let text = fs::read_to_string(&file).expect("file");
        for kept in ["\"z\": [1,  2]", "{\"auth\":  \"eDp5\"}", "{\"b\": 1, \"a\": 2}"] {
            assert!(text.contains(kept), "{text}");
        }
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
        assert!(at("\"z\"") < at("auths") && at("auths") < at("b.example") && at("b.example") < at("a.example"));
        assert!(at("a.example") < at(HUB_KEY) && at(HUB_KEY) < at("proxies"));
        assert_eq!(fs::metadata(&file).expect("file").permissions().mode() & 0o7777, 0o600);
        assert_eq!(registries(&file).expect("listed"), ["a.example", "b.example", "docker.io"]);
        assert!(forget(&file, "docker.io").expect("forget"));
        assert!(!forget(&file, "docker.io").expect("forget"));
        assert!(forget(&file, "a.example").expect("forget"));
        assert_eq!(registries(&file).expect("listed"), ["b.example"]);
    }

    #[test]
    fn a_link_stays_one_and_a_broken_file_stays_as_it_is() {
        let (dir, file) = dir();
        let real = dir.path().join("dotfiles.json");
        fs::write(&real, "").expect("touched");
        fs::create_dir(file.parent().expect("parent")).expect("directory");
        std::os::unix::fs::symlink(&real, &file).expect("link");
        keep(&file, &HUB_LOGIN).expect("keep");
        assert!(file.is_symlink() && fs::read_to_string(&real).expect("file").contains(HUB_KEY));
        for broken in ["{", "[]", "7", r#"{"auths": 7}"#, r#"{"credsStore": "../x"}"#] {
            fs::write(&real, broken).expect("write");
            let said = keep(&file, &HUB_LOGIN).expect_err("broken").to_string();
            assert!(said.contains("docker.io") && said.contains("config.json"), "{said}");
            assert_eq!(fs::read_to_string(&real).expect("file"), broken);
        }
    }
}
