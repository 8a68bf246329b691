//! How one registry is reached: over TLS, or over plain HTTP where that is allowed and it speaks nothing else.
//!
//! Plain HTTP is for this machine's own registries (localhost, 127.0.0.0/8) and for those that are named as insecure; of
//! these the certificate is not looked at either. Both are asked for TLS first, as docker does, and one that speaks TLS
//! with a certificate that is not believed is never fallen back from.

use std::sync::{Arc, OnceLock};

use crate::parse;
use crate::wire::Wire;

/// What is not verified of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// It speaks TLS, and its certificate was not looked at.
    Certificate,
    /// It speaks plain HTTP, and is not this machine's own.
    PlainHttp,
}

/// Hears of a registry (`host[:port]`), once, that it is not verified.
pub type Notice = fn(&str, Unverified);

/// What a registry may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// TLS only.
    Tls,
    /// TLS, else plain HTTP: this machine's own.
    Own,
    /// TLS with any certificate, else plain HTTP.
    Insecure,
}

/// A registry, and the way to it, which is found when it is first asked for.
pub(crate) struct Reach {
    pub wire: Arc<Wire>,
    domain: String,
    way: Way,
    notice: Option<Notice>,
    found: OnceLock<Place>,
}

struct Place {
    base: String,
    origin: String,
}

impl Reach {
    pub(crate) fn new(wire: Arc<Wire>, domain: &str, way: Way, notice: Option<Notice>) -> Self {
        Self { wire, domain: domain.to_owned(), way, notice, found: OnceLock::new() }
    }

    /// Where it is: scheme and host, as in a URL.
    pub(crate) fn base(&self) -> &str {
        &self.place().base
    }

    /// The same, spelled as origins are.
    pub(crate) fn origin(&self) -> &str {
        &self.place().origin
    }

    fn place(&self) -> &Place {
        self.found.get_or_init(|| {
            // Docker's registry is not at docker's name.
            let host = if self.domain == "docker.io" { "registry-1.docker.io" } else { &self.domain };
            let host = host.to_ascii_lowercase();
            let base = format!("{}://{host}", self.scheme(&host));
            let origin = parse::origin(&base).unwrap_or_else(|| base.clone());
            Place { base, origin }
        })
    }

    fn scheme(&self, host: &str) -> &'static str {
        // One that gives no answer at all is asked over plain HTTP again, and for longer; the error is of that request.
        let tls = self.way == Way::Tls || self.wire.speaks_tls(host);
        match (self.way, tls) {
            (Way::Insecure, true) => self.tell(Unverified::Certificate),
            (Way::Insecure, false) if !parse::is_loopback(host) => self.tell(Unverified::PlainHttp),
            _ => {}
        }
        if tls { "https" } else { "http" }
    }

    fn tell(&self, what: Unverified) {
        if let Some(notice) = self.notice {
            notice(&self.domain, what);
        }
    }
}
