//! `hone login` and `hone logout`: who we are at a registry, kept where docker and podman keep it.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use hone_contract::quoted;
use hone_registry::login::{self, Kept, Login as Credentials, Tried};
use hone_registry::{Client, Error};
use serde::Serialize;

use crate::answer::Form;
use crate::failure::{Failure, chain};
use crate::net::NetArgs;
use crate::output;
use crate::secret;

/// Longest password that is read (bytes): tokens have some thousands.
const MAX_PASSWORD: u64 = 64 << 10;

/// Arguments of `hone login`.
#[derive(Debug, Args)]
pub struct Login {
    /// The registry, HOST or HOST:PORT [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// The name there
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password, which others on this machine can read there
    #[arg(short, long, value_name = "PASSWORD", requires = "username")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username", conflicts_with = "password")]
    password_stdin: bool,
    /// Print who is logged in, and change nothing
    #[arg(long, conflicts_with_all = ["username", "password", "password_stdin"])]
    get_login: bool,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    form: Form,
}

/// Who is logged in, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Known {
    registry: String,
    username: Option<String>,
}

/// Arguments of `hone logout`.
#[derive(Debug, Args)]
pub struct Logout {
    /// The registry, HOST or HOST:PORT [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// Of every registry
    #[arg(long, conflicts_with = "registry")]
    all: bool,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    form: Form,
}

/// What was forgotten, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Forgotten {
    registry: String,
    file: PathBuf,
}

impl Login {
    /// Tries the credentials, then keeps them.
    pub fn run(self) -> Result<(), Failure> {
        let registry = login::registry(self.registry.as_deref())?;
        let files = self.net.auth_files();
        if self.get_login {
            let user = login::user(&files, &registry)?.ok_or_else(|| format!("not logged in to {registry}"))?;
            let known = Known { registry, username: Some(user.clone()) };
            return self.form.report(&known, |_| format!("{user}\n"));
        }
        if self.password.is_some() {
            output::tell("hone: warning: a password on the command line can be read by others; use --password-stdin");
        }
        let client = self.net.client();
        if self.username.is_none() && is_known(&client, &registry)? {
            let username = login::user(&files, &registry)?;
            return self.succeeded(registry, username);
        }
        let (user, password) = self.credentials(&registry)?;
        let credentials = Credentials { registry: &registry, user: &user, password: &password };
        let tried = client.try_login(&credentials)?;
        keep(&files, &credentials)?;
        if tried == Tried::NotAsked {
            output::tell(&format!("hone: note: {registry} did not ask who you are: what is kept was not tried"));
        }
        self.succeeded(registry, Some(user))
    }

    fn succeeded(&self, registry: String, username: Option<String>) -> Result<(), Failure> {
        self.form.report(&Known { registry, username }, |_| "Login Succeeded\n".to_owned())
    }

    fn credentials(&self, registry: &str) -> Result<(String, String), Failure> {
        let asks = self.username.is_none() || (self.password.is_none() && !self.password_stdin);
        if asks && !io::stdin().is_terminal() {
            let how = format!("`hone login -u NAME --password-stdin {registry}`");
            return Err(format!("log in to {registry}: standard input is no terminal to ask at; use {how}").into());
        }
        let user = match &self.username {
            Some(user) => user.clone(),
            None => secret::ask(&format!("Username for {registry}: "))?,
        };
        let password = match &self.password {
            Some(password) => password.clone(),
            None if self.password_stdin => piped()?,
            None => secret::ask_unseen("Password: ")?,
        };
        if password.is_empty() {
            return Err(format!("log in to {registry}: the password is empty").into());
        }
        Ok((user, password))
    }
}

/// Whether what is kept already still holds, as docker tries it first.
fn is_known(client: &Client, registry: &str) -> Result<bool, Failure> {
    match client.try_kept(registry) {
        Ok(Some(Tried::Proven)) => {
            output::tell(&format!("hone: {registry} takes the credentials that are kept already"));
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error @ Error::Answer { status: 401 | 403, .. }) => {
            output::tell(&format!("hone: note: what is kept holds no more: {}", chain(&error)));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// A password as it is piped: its line's end is none of it.
fn piped() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_PASSWORD + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_PASSWORD {
        return Err(format!("the password on standard input has more than {MAX_PASSWORD} bytes").into());
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Keeps them in docker's file, which is the last that is looked into, or the only one that is named.
fn keep(files: &[PathBuf], credentials: &Credentials<'_>) -> Result<(), Failure> {
    let (file, before) =
        files.split_last().ok_or("there is no place for credentials: set HOME or name --authfile")?;
    let shown = file.display();
    match login::keep(file, credentials)? {
        Kept::Plain => output::tell(&format!(
            "hone: warning: the password is kept unencrypted in {shown}; a credential helper (credsStore) keeps it better"
        )),
        Kept::Helper(helper) => {
            output::tell(&format!("hone: kept with docker-credential-{}, as {shown} says", quoted(&helper)));
        }
    }
    for other in before {
        if login::user(std::slice::from_ref(other), credentials.registry)?.is_some() {
            let other = other.display();
            output::tell(&format!("hone: warning: {other} has other credentials, which are looked for first"));
        }
    }
    Ok(())
}

impl Logout {
    /// Forgets, in every file that is looked into.
    pub fn run(self) -> Result<(), Failure> {
        let files = self.net.auth_files();
        let one = login::registry(self.registry.as_deref())?;
        let mut removed = Vec::new();
        for file in &files {
            let registries = if self.all { login::registries(file)? } else { vec![one.clone()] };
            for registry in registries {
                if login::forget(file, &registry)? {
                    removed.push(Forgotten { registry, file: file.clone() });
                }
            }
        }
        let line = |Forgotten { registry, file }: &Forgotten| {
            format!("Removing login credentials for {registry} from {}\n", file.display())
        };
        self.form.report(&serde_json::json!({"removed": removed}), |_| match (removed.is_empty(), self.all) {
            (true, true) => "Not logged in to any registry\n".to_owned(),
            (true, false) => format!("Not logged in to {one}\n"),
            (false, _) => removed.iter().map(line).collect(),
        })
    }
}
