//! Image references as docker writes them: `assistant:base`, `registry.example:5000/team/assistant:base`.
//!
//! One type, parsed once; shown in docker's familiar form, so that a name printed here can be typed there.
//! Digests (`name@sha256:...`) are not references here: they name content and need no tag.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::quote::quoted;
use serde::{Deserialize, Serialize};

/// The registry that docker assumes when a name has none.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The namespace that docker assumes on its own registry.
const DEFAULT_NAMESPACE: &str = "library";
/// The tag that docker assumes.
pub const DEFAULT_TAG: &str = "latest";
/// Longest name without the tag, in bytes (distribution-spec).
const MAX_NAME: usize = 255;
/// Longest tag, in bytes (distribution-spec).
const MAX_TAG: usize = 128;

/// A tagged image name. Names are in the order in which people count: `base-v2` before `base-v10`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: String,
}

/// Text that docker would not accept as a tagged name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image reference \"{}\": {why}", quoted(text))]
pub struct BadReference {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Reference {
    /// The name without its tag, in familiar form: `assistant`, `registry.example/team/assistant`.
    pub fn name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The registry, e.g. `docker.io` or `registry.example:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The name within its registry, with docker's namespace where docker assumes one: `library/assistant`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The same name under another tag.
    ///
    /// # Errors
    /// When `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, BadReference> {
        check_tag(tag).map_err(|why| bad(tag, why))?;
        Ok(Self { tag: tag.to_owned(), ..self.clone() })
    }

    /// The whole name with registry and namespace, as containerd and podman store it.
    pub fn canonical(&self) -> String {
        format!("{}/{}:{}", self.domain, self.path, self.tag)
    }
}

impl Ord for Reference {
    fn cmp(&self, other: &Self) -> Ordering {
        let domain = counted(&self.domain, &other.domain);
        domain.then_with(|| counted(&self.path, &other.path)).then_with(|| counted(&self.tag, &other.tag))
    }
}

impl PartialOrd for Reference {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares texts with the numbers in them as numbers; equal only when the texts are.
fn counted(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(x), Some(y)) = (left.bytes().next(), right.bytes().next()) else {
            // `01` and `1` are the same number and not the same text.
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        let order = match x.is_ascii_digit() && y.is_ascii_digit() {
            true => {
                let (m, n) = (digits(&mut left), digits(&mut right));
                m.len().cmp(&n.len()).then_with(|| m.cmp(n))
            }
            false => {
                // Names are ASCII, so that every byte is a character.
                (left, right) = (&left[1..], &right[1..]);
                x.cmp(&y)
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Takes a number off the front, without its leading zeros.
fn digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name(), self.tag)
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        parse(text).map_err(|why| bad(text, why))
    }
}

impl TryFrom<String> for Reference {
    type Error = BadReference;

    fn try_from(text: String) -> Result<Self, BadReference> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

fn bad(text: &str, why: &'static str) -> BadReference {
    BadReference { text: text.to_owned(), why }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty, want NAME:TAG");
    }
    if text.contains('@') {
        return Err("a digest is not a tag, want NAME:TAG");
    }
    let (name, tag) = split_tag(text);
    let tag = tag.unwrap_or(DEFAULT_TAG);
    check_tag(tag)?;
    let (domain, path) = split_domain(name);
    if !is_domain(&domain) {
        return Err("the registry's name is not a host name with an optional port");
    }
    check_path(&path)?;
    if domain.len() + 1 + path.len() > MAX_NAME {
        return Err("the name is longer than 255 bytes");
    }
    Ok(Reference { domain, path, tag: tag.to_owned() })
}

/// A name and its tag as they are written, unchecked, a pattern perhaps. The last colon starts a tag unless a slash follows
/// it: then it was a port.
pub fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Docker's rule: the first component is a registry only if it looks like a host.
fn split_domain(name: &str) -> (String, String) {
    let host = |s: &str| s.contains(['.', ':']) || s == "localhost" || s.bytes().any(|b| b.is_ascii_uppercase());
    match name.split_once('/') {
        Some((first, rest)) if host(first) => {
            let domain = if first == "index.docker.io" { DEFAULT_DOMAIN } else { first };
            (domain.to_owned(), with_namespace(domain, rest))
        }
        _ => (DEFAULT_DOMAIN.to_owned(), with_namespace(DEFAULT_DOMAIN, name)),
    }
}

fn with_namespace(domain: &str, path: &str) -> String {
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return format!("{DEFAULT_NAMESPACE}/{path}");
    }
    path.to_owned()
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("a name is written in lower case");
    }
    if !path.split('/').all(is_component) {
        return Err("a name has lower case letters and digits, joined by one of . _ __ - and /");
    }
    let last = path.rsplit('/').next().unwrap_or(path);
    if last.len() == 64 && last.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("64 hex digits are an image id, not a name");
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, docker's path component.
fn is_component(component: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends = bytes.first().is_some_and(|&b| alnum(b)) && bytes.last().is_some_and(|&b| alnum(b));
    ends && component
        .split(|c: char| alnum(c as u8) && c.is_ascii())
        .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    match bytes.first() {
        Some(&b) if word(b) => {}
        _ => return Err("a tag starts with a letter, a digit or _"),
    }
    if bytes.len() > MAX_TAG {
        return Err("the tag is longer than 128 bytes");
    }
    if !bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-') {
        return Err("a tag has letters, digits and . _ -");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, &'static str> {
        text.parse::<Reference>().map(|r| r.to_string()).map_err(|e| e.why)
    }

    #[test]
    fn names_are_shown_as_docker_shows_them() {
        for (given, want) in [
            ("assistant:base", "assistant:base"),
            ("assistant", "assistant:latest"),
            ("docker.io/library/assistant:base", "assistant:base"),
            ("index.docker.io/assistant:base", "assistant:base"),
            ("docker.io/team/assistant", "team/assistant:latest"),
            ("localhost/assistant:base", "localhost/assistant:base"),
            ("localhost:5000/a/b:v1.0_x-y", "localhost:5000/a/b:v1.0_x-y"),
            ("ghcr.io/o/a--b__c.d:1", "ghcr.io/o/a--b__c.d:1"),
        ] {
            assert_eq!(shown(given).as_deref(), Ok(want), "{given}");
        }
    }

    #[test]
    fn what_is_shown_parses_to_the_same_reference() {
        for text in ["a:b", "library/a:b", "x.y:1/a/b:c", "team/a", "localhost/z:q"] {
            let first: Reference = text.parse().expect(text);
            let again: Reference = first.to_string().parse().expect("shown form");
            assert_eq!(first, again, "{text}");
        }
    }

    #[test]
    fn bad_names_are_refused_with_a_reason() {
        for text in [
            "",
            ":",
            ":tag",
            "Assistant:base",
            "a b:c",
            "a/../b:c",
            "a..b:c",
            "a___b:c",
            "-a:b",
            "a-:b",
            "a:",
            "a:-x",
            "a:b c",
            "a:b/c d",
            "a@sha256:00",
            "/a:b",
            "a//b:c",
            "a:\u{e9}",
            "h\u{e9}:x",
            "a_:b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
        assert!(format!("{}:x", "a".repeat(300)).parse::<Reference>().is_err());
        assert!(format!("a:{}", "x".repeat(129)).parse::<Reference>().is_err());
        assert!(format!("{}:x", "0".repeat(64)).parse::<Reference>().is_err());
    }

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let sorted = [
            "a:base",
            "a:base-v01",
            "a:base-v1",
            "a:base-v2",
            "a:base-v10",
            "a:base-v10-x",
            "a:base-v11",
            "a:v99999999999999999999",
            "a:v100000000000000000000",
            "a2:x",
            "a10:x",
            "b:a",
            "localhost:80/a:x",
            "localhost:5000/a:x",
        ];
        let parse = |text: &str| text.parse::<Reference>().expect("reference");
        for (i, a) in sorted.iter().enumerate() {
            for (k, b) in sorted.iter().enumerate() {
                assert_eq!(parse(a).cmp(&parse(b)), i.cmp(&k), "{a} and {b}");
            }
        }
    }

    #[test]
    fn canonical_form_has_registry_and_namespace() {
        let reference: Reference = "assistant:base".parse().expect("reference");
        assert_eq!(reference.canonical(), "docker.io/library/assistant:base");
        assert_eq!(reference.with_tag("v1").expect("tag").to_string(), "assistant:v1");
        assert!(reference.with_tag("no good").is_err());
    }
}
