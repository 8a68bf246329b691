//! The client: what all requests share, and the way from names to repositories, downloads and hubs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hone_contract::Reference;

use crate::download::Download;
use crate::error::Error;
use crate::hub::Hub;
use crate::pace::Pace;
use crate::parse;
use crate::reach::{Notice, Reach, Way};
use crate::repository::Repository;
use crate::retry::Retry;
use crate::trust::{self, Trust};
use crate::wire::Wire;

/// How to reach servers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Registries (`host[:port]`) whose certificate is not looked at, and which may speak plain HTTP. This machine's own
    /// (localhost, 127.0.0.0/8) may do that anyway.
    pub insecure: Vec<String>,
    /// Every registry is such a one.
    pub all_insecure: bool,
    /// A directory with the certificates for every registry ([`crate::cert_dirs`] says what is in one).
    pub cert_dir: Option<PathBuf>,
    /// Where such directories are, one a registry; not looked at where there is one for every registry.
    pub cert_dirs: Vec<PathBuf>,
    /// Hears of registries that are not verified.
    pub notice: Option<Notice>,
    /// Files with credentials, most specific first; [`crate::auth_files`] knows the usual ones.
    pub auth_files: Vec<PathBuf>,
    /// When to try again, and when to stop.
    pub retry: Retry,
    /// How slow a server may be.
    pub pace: Pace,
}

/// Connections, proxies and certificates, shared by everything that is asked of servers.
///
/// http URLs are reached through the proxy of `HTTP_PROXY`, https ones through that of `HTTPS_PROXY`, either through
/// that of `ALL_PROXY` where its own is not set; the hosts of `NO_PROXY` and this machine itself through none. Each
/// variable is looked for in lower case first. Certificates are those this machine trusts, or those of `SSL_CERT_FILE`; for
/// a registry those of its directory besides.
#[derive(Clone)]
pub struct Client {
    pub(crate) wire: Arc<Wire>,
    options: Arc<Options>,
    /// Registries that were asked for: how one is reached is found out once.
    known: Arc<Mutex<HashMap<String, Arc<Reach>>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client; nothing is connected to yet.
    pub fn new(options: Options) -> Self {
        let wire = wire(&options, &trust::of_machine());
        Self { wire, options: Arc::new(options), known: Arc::default() }
    }

    /// The repository that a reference is in. What is learnt of our identity there is kept in it: share one.
    ///
    /// # Errors
    /// When the registry has certificates of its own here, and they cannot be read.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, Error> {
        Ok(Repository::new(self.reach(reference.domain())?, reference, self.options.auth_files.clone()))
    }

    pub(crate) fn auth_files(&self) -> &[PathBuf] {
        &self.options.auth_files
    }

    /// How a registry is reached.
    pub(crate) fn reach(&self, domain: &str) -> Result<Arc<Reach>, Error> {
        // A poisoned lock guards what can be found out again.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reach) = known.get(domain) {
            return Ok(reach.clone());
        }
        let options = &self.options;
        let way = match options.all_insecure || options.insecure.iter().any(|host| host == domain) {
            true => Way::Insecure,
            false if parse::is_loopback(domain) => Way::Own,
            false => Way::Tls,
        };
        let dir = options.cert_dir.clone().or_else(|| trust::dir_of(&options.cert_dirs, domain));
        let wire = match (dir, way) {
            (None, Way::Tls | Way::Own) => self.wire.clone(),
            (dir, way) => wire(options, &trust::of_registry(dir.as_deref(), way != Way::Insecure)?),
        };
        let reach = Arc::new(Reach::new(wire, domain, way, options.notice));
        known.insert(domain.to_owned(), reach.clone());
        Ok(reach)
    }

    /// A file at an http or https URL.
    ///
    /// # Errors
    /// When `url` is not one.
    pub fn download(&self, url: &str) -> Result<Download, Error> {
        Download::new(self.wire.clone(), url)
    }

    /// A model hub that speaks Hugging Face's API, e.g. `https://huggingface.co`.
    ///
    /// # Errors
    /// When `endpoint` is not an http or https URL, or the token holds what no header can.
    pub fn hub(&self, endpoint: &str, token: Option<String>) -> Result<Hub, Error> {
        Hub::new(self.clone(), endpoint, token)
    }
}

fn wire(options: &Options, trust: &Trust) -> Arc<Wire> {
    let name = concat!("hone/", env!("CARGO_PKG_VERSION"));
    Arc::new(Wire::new(name, trust, options.retry.clone(), options.pace.clone()))
}
