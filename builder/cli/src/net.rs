//! Reaching registries, hubs and other servers: what the command line and the environment say about it.

use std::env;
use std::path::PathBuf;

use clap::Args;
use hone_build::HubAccess;
use hone_image::hub::ENDPOINT;
use hone_registry::{Client, Options, Unverified, auth_files, cert_dirs};

use crate::output::tell;

/// Arguments of every verb that reaches a server.
#[derive(Debug, Clone, Default, Args)]
pub struct NetArgs {
    /// Whether registries must prove who they are; without, any certificate is taken, and plain HTTP from those that speak no
    /// TLS. This machine's own may speak plain HTTP anyway [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
    /// A registry to be reached as with --tls-verify=false
    #[arg(long, value_name = "HOST[:PORT]", env = "HONE_INSECURE_REGISTRIES", value_delimiter = ',')]
    insecure_registry: Vec<String>,
    /// Certificates for registries: authorities (*.crt), and who we are (NAME.cert with NAME.key) [default: HOST:PORT in
    /// ~/.config/containers/certs.d, /etc/containers/certs.d or /etc/docker/certs.d]
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// The file with the credentials for registries [default: REGISTRY_AUTH_FILE, else podman's and docker's own]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

impl NetArgs {
    /// A client with the user's credentials and certificates.
    pub fn client(&self) -> Client {
        let env = |name: &str| env::var_os(name);
        Client::new(Options {
            insecure: self.insecure_registry.iter().filter(|host| !host.is_empty()).cloned().collect(),
            all_insecure: self.tls_verify == Some(false),
            cert_dir: self.cert_dir.clone(),
            cert_dirs: cert_dirs(&env),
            auth_files: self.auth_files(),
            notice: Some(unverified),
            ..Options::default()
        })
    }

    /// Where credentials are: docker's and podman's auth files and their helpers.
    pub fn auth_files(&self) -> Vec<PathBuf> {
        match &self.authfile {
            Some(only) => vec![only.clone()],
            None => auth_files(&|name| env::var_os(name)),
        }
    }
}

fn unverified(registry: &str, what: Unverified) {
    let what = match what {
        Unverified::Certificate => "its certificate is not verified",
        Unverified::PlainHttp => "it is reached over plain HTTP, which anybody on the way can read and change",
    };
    tell(&format!("hone: warning: registry {registry}: {what}"));
}

/// Where the model hub is, and who we are there: as its own tools are told.
pub fn hub() -> HubAccess {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    HubAccess { endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()), token: set("HF_TOKEN") }
}
