//! OCI layouts beside the store: where one is, in skopeo's words, and what lies there, whoever made it.
//!
//! A layout is a directory of somebody: what is read there is bounded, and is a regular file.

mod read;
mod write;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hone_files::open_regular;
use hone_image::oci::MAX_DOCUMENT_BYTES;
use hone_store::{Store, store_around};
use serde::Deserialize;

use crate::failure::Failure;

pub use read::{Entry, Reading, listed};
pub use write::{Adding, check};

/// What marks a layout (image-spec, image-layout.md).
const MARK: &str = "oci-layout";
/// Where its names are.
const INDEX: &str = "index.json";
/// The longest name of an image in a layout: the longest reference with a tag of its own.
const MAX_NAME: usize = 512;

/// A layout, and which image of it: `DIR[:TAG]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The layout.
    pub dir: PathBuf,
    /// The name of an image in it.
    pub tag: Option<String>,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (dir, tag) = hone_plan::layout(text)?;
        match tag {
            Some(tag) if !is_name(&tag) => Err(format!(
                "want oci:DIR or oci:DIR:TAG, got `oci:{text}`: {tag:?} is no tag, and a path ends at its first colon"
            )),
            tag => Ok(Self { dir: dir.into(), tag }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Some(tag) => write!(f, "oci:{}:{tag}", self.dir.display()),
            None => write!(f, "oci:{}", self.dir.display()),
        }
    }
}

/// What a layout may call an image: a tag, or a whole name with one (image-spec, annotations.md).
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let mut chars = part.chars();
        ends(chars.clone().next())
            && ends(chars.clone().next_back())
            && chars.all(|c| c.is_ascii_alphanumeric() || "-._:@+".contains(c))
    };
    text.len() <= MAX_NAME && text.split('/').all(part)
}

/// Refuses to write into a store, whichever way the path leads there: its files are its own.
pub fn outside_of_stores(path: &Path, own: &Store) -> Result<(), Failure> {
    let around = match own.surrounds(path) {
        true => Some(own.root().to_owned()),
        false => store_around(path),
    };
    match around {
        None => Ok(()),
        Some(root) => {
            let root = root.display();
            Err(format!(
                "{} is in Hone's store {root}, which nothing else may write; name another place",
                path.display()
            )
            .into())
        }
    }
}

/// Whether a file is called as tempfile calls one with this prefix.
pub fn is_temporary(name: &OsStr, prefix: &str) -> bool {
    let random = name.as_encoded_bytes().strip_prefix(prefix.as_bytes());
    random.is_some_and(|random| random.len() == 6 && random.iter().all(u8::is_ascii_alphanumeric))
}

/// A small file of a layout, whole; `None` when it is not there.
fn small_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(io::Error::other(format!("want at most {MAX_DOCUMENT_BYTES} bytes")));
    }
    Ok(Some(bytes))
}

/// Whether a directory is marked as a layout of a form that is known here.
fn is_marked(dir: &Path) -> io::Result<bool> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Mark {
        image_layout_version: String,
    }
    let Some(bytes) = small_file(&dir.join(MARK))? else { return Ok(false) };
    let mark: Mark =
        serde_json::from_slice(&bytes).map_err(|_| io::Error::other("oci-layout: it names no version"))?;
    match mark.image_layout_version.split('.').next() {
        Some("1") => Ok(true),
        _ => Err(io::Error::other("oci-layout: want version 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_at_its_first_colon_and_a_name_follows() {
        let place = |text: &str| text.parse::<Place>();
        for (text, dir, tag) in [
            ("d", "d", None),
            ("/a b/d", "/a b/d", None),
            ("d:v1", "d", Some("v1")),
            ("d:assistant:base", "d", Some("assistant:base")),
            ("../d:r.test:5000/a/b__c:1", "../d", Some("r.test:5000/a/b__c:1")),
        ] {
            let want = Place { dir: dir.into(), tag: tag.map(str::to_owned) };
            assert_eq!(place(text), Ok(want.clone()), "{text}");
            assert_eq!(want.to_string(), format!("oci:{text}"));
        }
        for text in
            ["", ":v1", "d:", "d:/x", "d:a//b", "d:a b", "d:\u{1b}[2J", "d:a:", &format!("d:{}", "x".repeat(513))]
        {
            assert!(place(text).is_err(), "{text:?}");
        }
    }
}
