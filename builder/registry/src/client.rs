//! The client: what all requests share, and the way from names to repositories, downloads and hubs.

use std::path::PathBuf;
use std::sync::Arc;

use hone_image::digest::Digest;
use hone_image::reference::Reference;

use crate::download::Download;
use crate::error::Error;
use crate::hub::Hub;
use crate::pace::Pace;
use crate::parse;
use crate::repository::Repository;
use crate::retry::Retry;
use crate::wire::Wire;

/// How to reach servers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Registries (`host[:port]`) that speak plain HTTP. This machine's own (localhost, 127.0.0.0/8) do anyway.
    pub insecure: Vec<String>,
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
/// variable is looked for in lower case first. Certificates are those this machine trusts, or those of `SSL_CERT_FILE`.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) wire: Arc<Wire>,
    options: Arc<Options>,
}

impl Client {
    /// A client; nothing is connected to yet.
    pub fn new(options: Options) -> Self {
        let name = concat!("hone/", env!("CARGO_PKG_VERSION"));
        let wire = Wire::new(name, options.retry.clone(), options.pace.clone());
        Self { wire: Arc::new(wire), options: Arc::new(options) }
    }

    /// The repository that a reference is in. What is learnt of our identity there is kept in it: share one.
    pub fn repository(&self, reference: &Reference) -> Repository {
        let plain = parse::is_loopback(reference.domain())
            || self.options.insecure.iter().any(|host| host == reference.domain());
        Repository::new(self.wire.clone(), reference, plain, self.options.auth_files.clone())
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

/// An image to fetch: a tag, or a digest (`name[:tag]@sha256:...`), which then alone decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The name; its tag is only for people where there is a digest.
    pub reference: Reference,
    /// The manifest's digest.
    pub digest: Option<Digest>,
}

impl Pinned {
    /// What to ask the registry for.
    pub fn target(&self) -> String {
        self.digest.map_or_else(|| self.reference.tag().to_owned(), |digest| digest.to_string())
    }
}

impl std::str::FromStr for Pinned {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why: String| Error::name("image reference", text, why);
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse().map_err(|_| bad("want NAME@sha256:<64 hex digits>".into()))?))
            }
            None => (text, None),
        };
        let reference = name.parse::<Reference>().map_err(|e| bad(e.why.to_owned()))?;
        Ok(Self { reference, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_decides_over_a_tag() {
        let digest = Digest::of(b"x");
        let pinned: Pinned = format!("localhost:5000/a/b:v1@{digest}").parse().expect("pinned");
        assert_eq!(pinned.target(), digest.to_string());
        assert_eq!(pinned.reference.to_string(), "localhost:5000/a/b:v1");
        let tagged: Pinned = "a".parse().expect("tagged");
        assert_eq!(tagged.target(), "latest");
        for bad in ["", "@", "a@sha256:00", "@sha256:", "a@b@c"] {
            assert!(bad.parse::<Pinned>().is_err(), "{bad}");
        }
    }
}
