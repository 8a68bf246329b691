//! `NAME[:TAG][@DIGEST]`: an image by its name, and perhaps which of the contents that the name had.
//!
//! The digest decides where there is one; the tag is then for people. It is parsed here and nowhere else: in a Honefile, on
//! command lines, of registries, BuildKit and engines.

use std::fmt;
use std::str::FromStr;

use crate::Digest;
use crate::reference::{BadReference, Reference, split_tag};

/// A name, and perhaps which of its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The name, with docker's `latest` where no tag was written.
    pub reference: Reference,
    /// The digest of a manifest or an index.
    pub digest: Option<Digest>,
    /// Whether a tag was written.
    pub tagged: bool,
}

impl Pinned {
    /// What to ask a registry for: the digest, else the tag.
    pub fn target(&self) -> String {
        self.digest.map_or_else(|| self.reference.tag().to_owned(), |digest| digest.to_string())
    }

    /// The same name with the contents that were found under it.
    pub fn at(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The whole name with registry, namespace and tag, and the digest where there is one.
    pub fn canonical(&self) -> String {
        let name = self.reference.canonical();
        self.digest.map_or(name.clone(), |digest| format!("{name}@{digest}"))
    }
}

impl From<Reference> for Pinned {
    fn from(reference: Reference) -> Self {
        Self { reference, digest: None, tagged: true }
    }
}

impl FromStr for Pinned {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let bad = |why| BadReference { text: text.to_owned(), why };
        let (name, digest) = split_digest(text);
        let digest = digest.map(str::parse).transpose();
        let digest = digest.map_err(|_| bad("want NAME@sha256:<64 hex digits>"))?;
        let reference = name.parse::<Reference>().map_err(|error| bad(error.why))?;
        Ok(Self { reference, digest, tagged: split_tag(name).1.is_some() })
    }
}

/// `NAME[:TAG]` and the digest as they are written, unchecked.
pub fn split_digest(text: &str) -> (&str, Option<&str>) {
    text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)))
}

/// As it is typed: in docker's familiar form, the tag where one was written or nothing else is said.
impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest {
            None => write!(f, "{}", self.reference),
            Some(digest) if self.tagged => write!(f, "{}@{digest}", self.reference),
            Some(digest) => write!(f, "{}@{digest}", self.reference.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(text: &str) -> Pinned {
        text.parse().expect(text)
    }

    #[test]
    fn a_digest_decides_over_a_tag() {
        let digest = Digest::of(b"x");
        let both = pinned(&format!("localhost:5000/a/b:v1@{digest}"));
        assert_eq!(both.target(), digest.to_string());
        assert_eq!(both.reference.to_string(), "localhost:5000/a/b:v1");
        assert_eq!(pinned("a").target(), "latest");
        for bad in ["", "@", "a@sha256:00", "@sha256:", "a@b@c", "A"] {
            assert!(bad.parse::<Pinned>().is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_shown_as_it_was_typed_and_whole() {
        let digest = Digest::of(b"x");
        for (text, whole) in [
            ("busybox:1", "docker.io/library/busybox:1".to_owned()),
            (&format!("r.test:1/a@{digest}"), format!("r.test:1/a:latest@{digest}")),
            (&format!("r.test:1/a:v@{digest}"), format!("r.test:1/a:v@{digest}")),
        ] {
            assert_eq!((pinned(text).to_string().as_str(), pinned(text).canonical()), (text, whole));
            assert_eq!(pinned(&pinned(text).to_string()), pinned(text));
        }
        assert_eq!(pinned("busybox").to_string(), "busybox:latest");
        assert_eq!(pinned("busybox").at(digest).to_string(), format!("busybox@{digest}"));
        assert!(!pinned("localhost:5000/a").tagged && pinned("localhost:5000/a:1").tagged);
    }
}
