//! What a layer holds, read to its end: the blob's digest and the diff id are earned by that, and the hash of each file
//! on the way.

use std::collections::BTreeMap;
use std::io::{self, Read};

use hone_contract::progress::{Step, over};
use hone_contract::{Digest, Hashing, quoted_bytes};
use hone_image::untar::{self, Kind};
use hone_image::{Layer, LayerKind};

use crate::touch::Links;
use crate::{Budget, Store, StoreError};

/// A file that is kept whole is not larger than this (bytes).
const MAX_KEPT: u64 = 8 << 20;
/// Longest path that Linux opens (bytes).
const MAX_PATH: usize = 4096;
/// Bytes of the paths of one layer; ten thousand files have less than one megabyte.
const MAX_PATHS: usize = 256 << 20;

/// One file of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// sha256.
    pub digest: Digest,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// A layer's regular files.
#[derive(Debug, Default)]
pub struct Contents {
    /// By path from the root, without the leading slash.
    pub files: BTreeMap<String, Content>,
    /// The bytes of those that were to be kept.
    pub kept: BTreeMap<String, Vec<u8>>,
    /// How many entries make, replace or hide each of those, if any does.
    pub touched: BTreeMap<String, usize>,
    links: Links,
    /// Bytes of all paths, repeated ones too.
    paths: usize,
}

/// A layer that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("{kind} layer {layer}")]
pub struct ContentsError {
    /// What the layer is.
    pub kind: LayerKind,
    /// Its blob.
    pub layer: Digest,
    /// What is wrong with it.
    #[source]
    pub source: Box<Unread>,
}

/// What is wrong with a layer that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Its blob is damaged, or not there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is no tar, not the one that its digests say, or more than it may be.
    #[error(transparent)]
    Tar(#[from] io::Error),
    /// A path that no system opens.
    #[error("{}: a path of more than {MAX_PATH} bytes", quoted_bytes(.0))]
    Path(Vec<u8>),
    /// More paths than any system has.
    #[error("paths of more than {MAX_PATHS} bytes together")]
    Paths,
}

/// Reads a layer within the budget of its image; the files of `keep` whole. `step` is told how far in the tar it is.
///
/// # Errors
/// When it cannot be read to its end.
pub fn read(
    store: &Store,
    layer: &Layer,
    budget: &Budget,
    keep: &[&str],
    step: &dyn Step,
) -> Result<Contents, ContentsError> {
    let read = || -> Result<Contents, Unread> {
        let mut tar = over(step, store.open_layer(layer, budget)?);
        let mut contents = Contents::default();
        untar::walk(&mut tar, untar::MAX_ENTRIES, &mut |entry| contents.add(entry, keep))?;
        Ok(contents)
    };
    read().map_err(|source| ContentsError {
        kind: layer.kind,
        layer: layer.descriptor.digest,
        source: Box::new(source),
    })
}

impl Contents {
    /// A path as it is listed. Headers may have a megabyte each, and unpack from nothing: what is kept of them is bounded.
    fn path(&mut self, bytes: &[u8]) -> Result<String, Unread> {
        if bytes.len() > MAX_PATH {
            return Err(Unread::Path(bytes.to_vec()));
        }
        self.paths += bytes.len();
        if self.paths > MAX_PATHS {
            return Err(Unread::Paths);
        }
        Ok(untar::clean(&String::from_utf8_lossy(bytes))?)
    }

    fn add(&mut self, entry: &mut untar::Entry<'_, '_>, keep: &[&str]) -> Result<(), Unread> {
        let path = self.path(entry.path())?;
        for wanted in keep.iter().filter(|wanted| self.links.touches(&path, entry.kind(), wanted)) {
            *self.touched.entry((*wanted).to_owned()).or_default() += 1;
        }
        self.links.note(&path, entry.kind());
        if !matches!(entry.kind(), Kind::File | Kind::Sparse) {
            return Ok(());
        }
        let executable = entry.mode()? & 0o100 != 0;
        let mut hashing = Hashing::new(io::sink());
        if keep.contains(&path.as_str()) {
            let mut bytes = Vec::new();
            entry.by_ref().take(MAX_KEPT).read_to_end(&mut bytes)?;
            hashing.update(&bytes);
            self.kept.insert(path.clone(), bytes);
        }
        io::copy(entry, &mut hashing)?;
        self.files.insert(path, Content { size: hashing.size(), digest: hashing.digest(), executable });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bounded_one_by_one_and_together() {
        let mut contents = Contents::default();
        for path in ["usr/bin/env", "./usr/bin/env", "/usr//bin/./env"] {
            assert_eq!(contents.path(path.as_bytes()).expect("a path"), "usr/bin/env");
        }
        assert!(contents.path(b"usr/x/../bin/env").is_err());
        let longest = vec![b'x'; MAX_PATH];
        assert_eq!(contents.path(&longest).expect("as long as Linux has them").len(), MAX_PATH);
        let evil = [b"\x1b[2J".as_slice(), &vec![b'x'; 1 << 20]].concat();
        let said = contents.path(&evil).expect_err("a megabyte").to_string();
        assert!(said.len() < 1000 && !said.contains('\u{1b}'), "{said}");
        for _ in 2..MAX_PATHS / MAX_PATH {
            contents.path(&longest).expect("within");
        }
        assert!(contents.path(&longest).is_err());
    }
}
