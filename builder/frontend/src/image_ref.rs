//! Names of images as BuildKit wants them: with registry, tag, and the digest when it is known.

use std::fmt;

use hone_image::{Digest, Reference};

use crate::error::FrontendError;

/// The last part of the name of a frontend's image; its neighbours are the trainers' images.
const FRONTEND: &str = "frontend";

/// A name, and perhaps which of its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    name: Reference,
    digest: Option<Digest>,
}

impl ImageRef {
    /// `NAME:TAG`, `NAME@sha256:...` or both.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, FrontendError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let wrong = |error: hone_image::digest::BadDigest| FrontendError::Refused(error.to_string());
                (name, Some(digest.parse().map_err(wrong)?))
            }
            None => (text, None),
        };
        Ok(Self { name: name.parse()?, digest })
    }

    /// The image beside this frontend's that has the built-in trainer `name`: `r/hone/frontend:1` ->
    /// `r/hone/trainer-onnx:1`. `None` when this one is not called `frontend`.
    pub fn trainer_beside(&self, name: &str) -> Option<Self> {
        let whole = self.name.name();
        let folder = whole.strip_suffix(FRONTEND).filter(|rest| rest.is_empty() || rest.ends_with('/'))?;
        let name = format!("{folder}trainer-{name}:{}", self.name.tag()).parse().ok()?;
        Some(Self { name, digest: None })
    }

    /// The same name with the contents that were found under it.
    pub fn at(&self, digest: Digest) -> Self {
        Self { name: self.name.clone(), digest: Some(digest) }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.canonical())?;
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trainer_is_looked_for_beside_its_frontend() {
        let beside = |text: &str| ImageRef::parse(text).expect(text).trainer_beside("onnx").map(|r| r.to_string());
        let digest = format!("sha256:{}", "a".repeat(64));
        for (frontend, trainer) in [
            ("127.0.0.1:5000/hone/frontend:1", "127.0.0.1:5000/hone/trainer-onnx:1"),
            ("hone/frontend", "docker.io/hone/trainer-onnx:latest"),
            ("frontend:2", "docker.io/library/trainer-onnx:2"),
            (&format!("r.example/frontend:1@{digest}"), "r.example/trainer-onnx:1"),
        ] {
            assert_eq!(beside(frontend).as_deref(), Some(trainer));
        }
        assert_eq!(beside("r.example/my-frontend:1"), None);
        assert_eq!(beside("r.example/other:frontend"), None);
    }

    #[test]
    fn names_are_written_whole() {
        let shown = |text: &str| ImageRef::parse(text).map(|r| r.to_string());
        assert_eq!(shown("busybox").expect("a name"), "docker.io/library/busybox:latest");
        assert!(shown("x@sha256:0").is_err());
        assert!(shown("X").is_err());
    }
}
