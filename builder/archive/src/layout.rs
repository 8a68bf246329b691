//! OCI layouts beside the store, whoever made them (image-spec, image-layout.md).
//!
//! A layout is a directory of somebody: what is read there is bounded, and is a regular file. Beside it this crate writes
//! only what [`Adding`] and [`write_partial`] say.

mod adding;
mod entries;
mod partial;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_contract::{Digest, Reference, quoted};
use hone_files::open_regular;
use hone_image::Pack;
use hone_image::oci::{Descriptor, DocumentError, MAX_DOCUMENT_BYTES};
use hone_image::walk::MAX_BYTES;
use hone_store::{Store, StoreError};
use serde::Deserialize;

pub use adding::{Adding, check};
pub use entries::{Entry, Layout, listed};
pub use partial::write_partial;

use crate::shipment::Delivery;

/// What marks a layout.
pub(crate) const MARK: &str = "oci-layout";
/// What the mark says: the first that is written.
pub(crate) const MARKED: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Where its names are.
pub(crate) const INDEX: &str = "index.json";

/// A layout that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A system call failed.
    #[error("{op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory without the mark.
    #[error("{}: it is no OCI layout: there is no file oci-layout in it", .0.display())]
    Unmarked(PathBuf),
    /// A place that is not to be written.
    #[error("write {}: {why}", path.display())]
    Refused {
        /// The place.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Its index is none.
    #[error("read {}", path.display())]
    Index {
        /// The layout.
        path: PathBuf,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Its index has no list of images.
    #[error("read {}", path.display())]
    List {
        /// The layout.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A line of its index that cannot be used.
    #[error("{shown}: its entry in {INDEX} is no descriptor of an image: {}", quoted(why))]
    Line {
        /// What to call it.
        shown: String,
        /// What the parser says.
        why: String,
    },
    /// What a line of its index names cannot be read.
    #[error("{shown}: it cannot be read")]
    Entry {
        /// What to call it.
        shown: String,
        /// Why.
        #[source]
        source: Arc<Self>,
    },
    /// More than is read of one layout.
    #[error("the layout's documents have more than {MAX_BYTES} bytes together; name one of its images")]
    Large,
    /// A tag that is none of its, or several.
    #[error("want one image with the tag {tag}, got {got}; {names}")]
    Tag {
        /// The tag.
        tag: String,
        /// How many have it.
        got: usize,
        /// Which names there are.
        names: String,
    },
    /// A manifest that is none.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A blob could not be written.
    #[error("write blob {digest}")]
    Blob {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob or a document could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LayoutError {
    /// Says on what a system call failed.
    fn at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { op, path, source }
    }
}

/// Adds a pack of the store `from` to the layout at `dir`, under `name`, or under `tag` there: blobs, documents, its model
/// and what is said of it. `seen` is told how many bytes of layers are there.
///
/// # Errors
/// When something else is there, a blob cannot be read, or the disk refuses; the layout is then as it was.
pub fn add(
    dir: &Path,
    tag: Option<&str>,
    name: &Reference,
    pack: &Pack,
    from: &Store,
    seen: &mut dyn FnMut(u64),
) -> Result<Delivery, LayoutError> {
    let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
    let called = tag.map_or_else(|| name.to_string(), str::to_owned);
    let model = format!("{called}-modelpack");
    let mut adding = Adding::at(dir)?;
    for d in pack.layers() {
        adding.take(d, from)?;
        sent = Delivery { sent_layers: sent.sent_layers + 1, sent_bytes: sent.sent_bytes + d.size };
        seen(sent.sent_bytes);
    }
    for (_, bytes) in pack.documents() {
        adding.put(bytes)?;
    }
    adding.name(&called, &pack.descriptor(), tag.map(|_| name));
    match pack.model() {
        Some(artifact) => adding.name(&model, &Descriptor { platform: None, ..artifact.descriptor() }, None),
        None => adding.unname_model(&model),
    }
    for referrer in from.referrers(pack.digest())? {
        adding.state(&referrer, from)?;
    }
    adding.publish()?;
    Ok(sent)
}

/// Whether a file is called as tempfile calls one with this prefix.
pub(crate) fn is_temporary(name: &OsStr, prefix: &str) -> bool {
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
