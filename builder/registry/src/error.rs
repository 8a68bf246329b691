//! What can go wrong between here and a server, with what to do about it.
//!
//! Messages carry what the server itself said, cut short and without control characters; they never carry a
//! credential, a token or a signed URL.

use std::fmt;
use std::io;

use hone_contract::digest::Digest;
use hone_contract::quoted;
use hone_image::walk::Refusal;

use crate::parse::RegistryError;
use crate::tls::AUTHORITY;

/// A request that failed, or an answer that cannot be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused.
    #[error("{task}: {} answered {status}{}{advice}", quoted(.host), said(.error))]
    Answer {
        /// Operation and object.
        task: String,
        /// The server.
        host: String,
        /// HTTP status.
        status: u16,
        /// The server's own words.
        error: Box<RegistryError>,
        /// What to do, after `; `, or nothing.
        advice: String,
    },
    /// No answer.
    #[error("{task}: no answer from {host}{advice}")]
    Unreachable {
        /// Operation and object.
        task: String,
        /// The server.
        host: String,
        /// What to do, after `; `, or nothing.
        advice: String,
        /// Why.
        #[source]
        source: Box<Cause>,
    },
    /// An answer that breaks its protocol or a bound.
    #[error("{task}: {host} {why}")]
    Protocol {
        /// Operation and object.
        task: String,
        /// The server.
        host: String,
        /// What it did.
        why: String,
    },
    /// A file that is shorter than its beginning that is here: it is another one, or that beginning is.
    #[error("{task}: {host} has fewer bytes than the {have} that are here already")]
    Fewer {
        /// Operation and object.
        task: String,
        /// The server.
        host: String,
        /// Bytes that are here.
        have: u64,
    },
    /// Content under a digest that is not its own.
    #[error("{task}: {host} has {got}, want {want}; the content was changed on its way or at the registry")]
    Digest {
        /// Operation and object.
        task: String,
        /// The server.
        host: String,
        /// What came, or what the server names.
        got: Digest,
        /// What was asked for.
        want: Digest,
    },
    /// An index, a manifest or a configuration that is refused.
    #[error("{task}")]
    Document {
        /// Operation and object.
        task: String,
        /// Why.
        #[source]
        source: Box<Refusal>,
    },
    /// The caller's own data could not be read.
    #[error("{task}: read the data to send")]
    Source {
        /// Operation and object.
        task: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Credentials are configured and cannot be had.
    #[error("read credentials for {host} from {file}; correct that file or sign in again")]
    Credentials {
        /// The registry.
        host: String,
        /// The file that names them.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Credentials are not kept, or not forgotten.
    #[error("change the credentials for {host} in {file}")]
    Keep {
        /// The registry.
        host: String,
        /// The file that has them, or names their helper.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Certificates are configured and cannot be had.
    #[error("read certificates {file}")]
    Certificates {
        /// The file or directory.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Text that is no address of what it should be.
    #[error("{what} \"{}\": {why}", quoted(.text))]
    Name {
        /// What it should be.
        what: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// The HTTP status, where a server answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(crate) fn name(what: &'static str, text: &str, why: impl Into<String>) -> Self {
        Self::Name { what, text: text.to_owned(), why: why.into() }
    }
}

/// An error in a [`std::io::Read`]: [`std::io::Error::get_ref`] gives it back.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// Why there was no answer. It may have a stranger's words, those of a certificate or a proxy, and shows them as such.
#[derive(Debug)]
pub struct Cause(ureq::Error);

impl Cause {
    pub(crate) fn inner(&self) -> &ureq::Error {
        &self.0
    }
}

impl From<ureq::Error> for Cause {
    fn from(error: ureq::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(&self.0.to_string()).fmt(f)
    }
}

impl std::error::Error for Cause {}

fn said(error: &RegistryError) -> String {
    match (error.code.as_str(), error.message.as_str()) {
        ("", "") => String::new(),
        ("", message) => format!(": {message}"),
        (code, "") => format!(" {code}"),
        (code, message) => format!(" {code}: {message}"),
    }
}

/// Whom a request speaks to: decides which advice helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Registry,
    /// A registry, by somebody who is to be known there.
    Login,
    Web,
    Hub,
    /// Whoever a redirect led to.
    Redirected,
}

/// What to do about an answer, as the end of a message.
pub(crate) fn advice(peer: Peer, host: &str, status: u16, error: &RegistryError) -> String {
    let text = match (peer, status) {
        (_, 400) if error.message.contains("HTTPS server") => {
            format!("{host} speaks https")
        }
        (Peer::Registry, 401 | 403) => {
            format!(
                "sign in with `hone login {host}`, `docker login {host}` or `podman login {host}` as one who may do this"
            )
        }
        (Peer::Login, 401 | 403) => "check the user and the password".into(),
        (Peer::Login, 404) => "check the registry's name".into(),
        (Peer::Hub, 401 | 403) => "set HF_TOKEN to a token that may read the model, and accept its terms".into(),
        (Peer::Registry, 404) if error.code == "NAME_UNKNOWN" => "check the repository's name".into(),
        (Peer::Registry, 404) if error.code == "MANIFEST_UNKNOWN" => "check the tag or digest".into(),
        (Peer::Hub, 404) => "check the model's name and revision; a private one needs HF_TOKEN".into(),
        (Peer::Web, 401 | 403 | 404 | 410) => "check the URL".into(),
        (Peer::Redirected, 401 | 403) => format!("it is not told who we are, as only {host} is"),
        (_, 407) => "check the user and password in the proxy's URL".into(),
        (_, 413) => "it is larger than the server or a proxy before it accepts".into(),
        (Peer::Registry, 429) => "wait, or sign in: the registry limits requests".into(),
        (_, 429 | 500..) => "try again later".into(),
        _ => return String::new(),
    };
    format!("; {text}")
}

/// What to do when there was no answer.
pub(crate) fn unreachable_advice(peer: Peer, host: &str, error: &ureq::Error) -> String {
    let tls = match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        ureq::Error::Io(e) => e.kind() == io::ErrorKind::InvalidData,
        _ => false,
    };
    // The TLS library's own error is private to it: its words are all there is.
    let certificate = tls && error.to_string().contains("certificate");
    let text = match (error, peer) {
        (ureq::Error::HostNotFound, _) => "check the name and the network".into(),
        (ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl, _) => "check the proxy's settings".into(),
        _ if certificate && error.to_string().contains(AUTHORITY) => {
            let other = format!("its certificate calls itself an authority: give {host} one that does not");
            match peer {
                Peer::Registry | Peer::Login => format!("{other}, or put that very one, as *.crt, in --cert-dir"),
                _ => other,
            }
        }
        _ if certificate => {
            let own = "a certificate that this machine trusts, or name its authority's in SSL_CERT_FILE";
            match peer {
                Peer::Registry | Peer::Login => format!("give {host} {own} or, as *.crt, in --cert-dir"),
                _ => format!("give {host} {own}"),
            }
        }
        (_, Peer::Registry | Peer::Login) if tls => {
            format!("if {host} speaks plain HTTP, name it as an insecure registry (--tls-verify=false)")
        }
        _ if tls => format!("if {host} speaks plain HTTP, write http://"),
        (ureq::Error::Protocol(_), _) => format!("check whether {host} speaks https rather than http"),
        _ => return String::new(),
    };
    format!("; {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_who_was_asked_and_what_was_said() {
        let none = RegistryError::default();
        let said = |message: &str| RegistryError { message: message.into(), ..none.clone() };
        assert!(advice(Peer::Registry, "r.example", 401, &none).contains("`podman login r.example`"));
        assert!(advice(Peer::Hub, "h", 403, &none).contains("HF_TOKEN"));
        assert!(advice(Peer::Redirected, "h", 401, &none).contains("only h is"));
        assert!(
            advice(Peer::Registry, "r", 400, &said("Client sent an HTTP request to an HTTPS server."))
                .contains("https")
        );
        assert_eq!(advice(Peer::Registry, "r", 400, &none), "");
    }

    #[test]
    fn plain_http_and_unknown_certificates_are_told_apart() {
        let broken = |text: &str| ureq::Error::Io(io::Error::new(io::ErrorKind::InvalidData, text.to_owned()));
        let plain = broken("received corrupt message of type InvalidContentType");
        assert!(unreachable_advice(Peer::Registry, "r", &plain).contains("insecure registry"));
        assert!(unreachable_advice(Peer::Web, "r", &plain).contains("write http://"));
        let unknown = broken("invalid peer certificate: UnknownIssuer");
        assert!(unreachable_advice(Peer::Registry, "r", &unknown).contains("SSL_CERT_FILE"));
        let authority = broken("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))");
        assert!(
            unreachable_advice(Peer::Registry, "r", &authority).contains("that very one, as *.crt, in --cert-dir")
        );
        assert!(unreachable_advice(Peer::Web, "r", &authority).ends_with("give r one that does not"));
    }
}
