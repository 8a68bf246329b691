//! OCI layouts beside the store: what lies there, whoever made it.
//!
//! A layout is a directory of somebody: what is read there is bounded, and is a regular file.

mod read;
mod write;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

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
