//! Reaching registries, hubs and other servers: what the command line and the environment say about it.

use std::env;

use clap::Args;
use hone_image::hub::ENDPOINT;
use hone_registry::{Client, Options, auth_files};

/// Arguments of every verb that reaches a server.
#[derive(Debug, Clone, Default, Args)]
pub struct NetArgs {
    /// A registry that speaks plain HTTP; this machine's own do anyway
    #[arg(long, value_name = "HOST[:PORT]", env = "HONE_INSECURE_REGISTRIES", value_delimiter = ',')]
    pub insecure_registry: Vec<String>,
}

impl NetArgs {
    /// A client with the user's credentials: docker's and podman's auth files and their helpers.
    pub fn client(&self) -> Client {
        let insecure = self.insecure_registry.iter().filter(|host| !host.is_empty()).cloned().collect();
        Client::new(Options { insecure, auth_files: auth_files(&|name| env::var_os(name)), ..Options::default() })
    }
}

/// Where the model hub is, and who we are there: as its own tools are told.
pub fn hub() -> (String, Option<String>) {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    (set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()), set("HF_TOKEN"))
}
