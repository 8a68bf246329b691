//! JSON of registries and token services: errors, tokens, lists of referrers.

use hone_contract::{quoted, quoted_bytes};
use hone_image::oci::{Descriptor, MAX_DOCUMENT_BYTES};
use serde::Deserialize;

/// Longest token that is sent back to a registry (bytes): a header must carry it.
const MAX_TOKEN: usize = 64 << 10;
/// Seconds a token lives when its service does not say (distribution's token specification).
const DEFAULT_LIFE: u64 = 60;
/// Most referrers read from one list.
const MAX_REFERRERS: usize = 10_000;

/// The first error of a registry's error document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryError {
    /// E.g. `MANIFEST_UNKNOWN`; as it may be shown.
    pub code: String,
    /// For people; as it may be shown.
    pub message: String,
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The secret.
    pub secret: String,
    /// Seconds from now for which it is good.
    pub life: u64,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct TokenDocument {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

#[derive(Deserialize)]
struct ReferrersDocument {
    #[serde(default, deserialize_with = "hone_image::oci::empty_when_null")]
    manifests: Vec<Descriptor>,
}

/// What a failed request's body says; a body that is no error document gives its first line as the message.
pub fn registry_error(body: &[u8]) -> RegistryError {
    if let Ok(Errors { errors }) = serde_json::from_slice(body) {
        let Some(first) = errors.into_iter().next() else { return RegistryError::default() };
        let code = first.code.as_str().map(|c| quoted(c).at_most(64).to_string()).unwrap_or_default();
        return RegistryError { code, message: quoted(&first.message).to_string() };
    }
    let line = body.split(|b| b"\r\n".contains(b)).map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    // A page of markup tells nobody anything.
    let line = line.filter(|line| !line.starts_with(b"<")).unwrap_or_default();
    let message = quoted_bytes(line).to_string();
    RegistryError { code: String::new(), message }
}

/// The token of a token service's answer; `None` when there is none that a header can carry.
pub fn token(body: &[u8]) -> Option<Token> {
    let document: TokenDocument = serde_json::from_slice(body).ok()?;
    let secret = document.token.filter(|t| !t.is_empty()).or(document.access_token)?;
    let plain = |b: u8| b.is_ascii_graphic();
    if secret.is_empty() || secret.len() > MAX_TOKEN || !secret.bytes().all(plain) {
        return None;
    }
    let life = match document.expires_in {
        Some(seconds) if seconds.is_finite() && seconds >= 1.0 => seconds.min(86_400.0 * 365.0) as u64,
        _ => DEFAULT_LIFE,
    };
    Some(Token { secret, life })
}

/// The entries of a referrers list, in order.
///
/// # Errors
/// When it is not an index, or has more than 10,000 entries.
pub fn referrers(body: &[u8]) -> Result<Vec<Descriptor>, &'static str> {
    if body.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err("the list of referrers is larger than 8 MiB");
    }
    let document: ReferrersDocument =
        serde_json::from_slice(body).map_err(|_| "the list of referrers is not an image index")?;
    if document.manifests.len() > MAX_REFERRERS {
        return Err("the list of referrers has more than 10,000 entries");
    }
    Ok(document.manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_and_other_bodies() {
        let error =
            registry_error(br#"{"errors":[{"code":"NAME_UNKNOWN","message":"no\nsuch","detail":{}},{"code":"X"}]}"#);
        assert_eq!(error, RegistryError { code: "NAME_UNKNOWN".into(), message: r"no\nsuch".into() });
        assert_eq!(registry_error(b"\n  Client sent X\nmore").message, "Client sent X");
        assert_eq!(registry_error(b"<html><body>"), RegistryError::default());
        assert_eq!(registry_error(br#"{"errors":[]}"#), RegistryError::default());
        assert_eq!(registry_error(b"\xff\xfe\x1b[2Jx").message.chars().filter(|c| c.is_control()).count(), 0);
        let long = format!(r#"{{"errors":[{{"code":7,"message":"{}"}}]}}"#, "x".repeat(9000));
        assert_eq!(registry_error(long.as_bytes()).message, format!("{}... (9000 bytes)", "x".repeat(256)));
        let bidi = "{\"errors\":[{\"code\":\"\\u001b]0;x\\u0007\",\"message\":\"\u{202e}exe\"}]}";
        assert_eq!(
            registry_error(bidi.as_bytes()),
            RegistryError { code: r"\u{1b}]0;x\u{7}".into(), message: r"\u{202e}exe".into() }
        );
    }

    #[test]
    fn tokens() {
        let good = token(br#"{"token":"abc","expires_in":300,"issued_at":"x"}"#).expect("token");
        assert_eq!((good.secret.as_str(), good.life), ("abc", 300));
        let other = token(br#"{"access_token":"abc"}"#).expect("token");
        assert_eq!((other.secret.as_str(), other.life), ("abc", DEFAULT_LIFE));
        for bad in [&b""[..], b"{}", br#"{"token":""}"#, br#"{"token":"a\r\nX: y"}"#, br#"{"token":7}"#, b"[]"] {
            assert!(token(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
        assert_eq!(token(br#"{"token":"a","expires_in":-4}"#).map(|t| t.life), Some(DEFAULT_LIFE));
    }

    #[test]
    fn referrer_lists() {
        let digest = hone_contract::digest::Digest::of(b"x");
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{digest}","size":1,"artifactType":"t/x"}}]}}"#
        );
        let list = referrers(text.as_bytes()).expect("list");
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].digest, digest);
        assert_eq!(list[0].artifact_type.as_deref(), Some("t/x"));
        assert_eq!(referrers(br#"{"schemaVersion":2}"#), Ok(Vec::new()));
        assert_eq!(referrers(br#"{"schemaVersion":2,"manifests":null}"#), Ok(Vec::new()));
        assert!(referrers(b"[]").is_err() || referrers(b"[]") == Ok(Vec::new()));
        assert!(referrers(br#"{"manifests":[{"digest":"sha256:00"}]}"#).is_err());
    }
}
