//! An archive as a source: its images, and where their bytes are.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use hone_contract::{Digest, quoted};
use hone_files::open_regular;
use hone_image::oci::{DocumentError, MAX_DOCUMENT_BYTES};
use hone_image::untar;

use crate::images::{ArchivedArtifact, ArchivedPack, Contents};
use crate::table::{Place, Table};
use crate::{docker, oci_read};

/// All documents of an archive together, each time one is read (bytes).
const MAX_DOCUMENTS: u64 = 32 << 20;

/// An archive that cannot be read, or that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A system call failed.
    #[error("read archive: {}", quoted(object))]
    Io {
        /// Which part.
        object: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The whole file is compressed.
    #[error("read archive: it is compressed with {0}; decompress it first")]
    Compressed(&'static str),
    /// The tar itself cannot be read, or is refused.
    #[error("read archive")]
    Tar {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing says that what there is of it is all.
    #[error("read archive: it ends without an end: it was cut off")]
    CutOff,
    /// An entry is not as it should be.
    #[error("read archive: entry \"{}\": {why}", quoted(name))]
    Entry {
        /// The entry's name; empty when it is not known.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A name that leads out of the archive, or is no name.
    #[error("read archive")]
    Name {
        /// Which, and why.
        #[source]
        source: hone_image::tar::TarError,
    },
    /// More than any real archive has.
    #[error("read archive: more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A tar without images.
    #[error("read archive: got neither oci-layout and index.json nor manifest.json, want an OCI or docker archive")]
    NoImages,
    /// Something named is not there.
    #[error("read archive: {} names {}, which is not in the archive", quoted(of), quoted(object))]
    Missing {
        /// Who names it.
        of: String,
        /// A digest or a file.
        object: String,
    },
    /// A size or a digest is not what was promised.
    #[error("read archive: {}: got {}, want {want}", quoted(object), quoted(got))]
    Mismatch {
        /// A digest or a file.
        object: String,
        /// What it is.
        got: String,
        /// What was promised.
        want: String,
    },
    /// A document is not of its form.
    #[error("read archive: {}", quoted(object))]
    Document {
        /// A digest or a file.
        object: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// A manifest and a configuration that are not one image.
    #[error("read archive: {}", quoted(object))]
    Image {
        /// A digest or a file.
        object: String,
        /// Why.
        #[source]
        source: hone_image::image::ImageError,
    },
}

/// An archive, its documents read and checked, its layers found.
///
/// Documents are what their digests say. Layers are there, with the size that is promised; their digests are the
/// archive's claim until somebody reads them.
#[derive(Debug)]
pub struct Archive {
    file: Arc<File>,
    contents: Contents,
}

impl Archive {
    /// Reads the archive in the file at `path`: a regular one, since it is read here and there.
    ///
    /// # Errors
    /// As [`Archive::open`]; what is no regular file is not waited for.
    pub fn at(path: &Path) -> Result<Self, ArchiveError> {
        let io_error = |source| ArchiveError::Io { object: path.display().to_string(), source };
        Self::open(open_regular(path).map_err(io_error)?)
    }

    /// Reads the archive in `file`, whichever of the two forms it has; an archive with both is read as OCI's.
    ///
    /// # Errors
    /// When it is damaged, incomplete, compressed, hostile, or no archive.
    pub fn open(file: File) -> Result<Self, ArchiveError> {
        let table = scan(&file)?;
        let source = Source { file: Arc::new(file), table, left: Cell::new(MAX_DOCUMENTS) };
        let contents = match (source.table.find("oci-layout")?, source.table.find("manifest.json")?) {
            (Some(_), _) => oci_read::contents(&source)?,
            (None, Some(manifest)) => docker::contents(&source, manifest)?,
            (None, None) => return Err(ArchiveError::NoImages),
        };
        Ok(Self { file: source.file, contents })
    }

    /// Refuses a stream by its first block of 512 bytes, before the rest of something else is read to its end.
    ///
    /// # Errors
    /// When no archive begins so.
    pub fn check_beginning(block: &[u8]) -> Result<(), ArchiveError> {
        if let Some(name) = format_of(block) {
            return Err(ArchiveError::Compressed(name));
        }
        let why = match (block.is_empty(), untar::is_header(block)) {
            (_, true) => return Ok(()),
            (true, _) => "it ends before its first entry",
            (false, _) => "it does not begin as a tar does",
        };
        Err(ArchiveError::Entry { name: String::new(), why })
    }

    /// The images and indexes, each once.
    pub fn packs(&self) -> &[ArchivedPack] {
        &self.contents.packs
    }

    /// Manifests in no index that are no images of containers.
    pub fn artifacts(&self) -> &[ArchivedArtifact] {
        &self.contents.artifacts
    }

    /// The bytes that the archive has under this digest, not checked against it.
    pub fn open_blob(&self, digest: Digest) -> Option<Section> {
        let place = self.contents.blobs.get(&digest)?;
        Some(Section { file: Arc::clone(&self.file), place: *place })
    }
}

fn scan(file: &File) -> Result<Table, ArchiveError> {
    let mut magic = [0; 6];
    // Shorter files than this are no tars; scanning says so.
    let _ = file.read_exact_at(&mut magic, 0);
    match format_of(&magic) {
        Some(name) => Err(ArchiveError::Compressed(name)),
        None => Table::scan(file),
    }
}

/// How a file is compressed that begins so.
pub(crate) fn format_of(magic: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 4] =
        [(&[0x1f, 0x8b], "gzip"), (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz")];
    KNOWN.iter().find(|(start, _)| magic.starts_with(start)).map(|(_, name)| *name)
}

/// The bytes of a blob in an archive.
#[derive(Debug)]
pub struct Section {
    file: Arc<File>,
    place: Place,
}

impl Section {
    /// How many are left.
    pub fn size(&self) -> u64 {
        self.place.size
    }
}

impl Read for Section {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(usize::try_from(self.place.size).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut to[..most], self.place.at)?;
        if got == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive became shorter while it was read"));
        }
        self.place = Place { at: self.place.at + got as u64, size: self.place.size - got as u64 };
        Ok(got)
    }
}

/// A scanned archive, while its documents are read.
pub(crate) struct Source {
    file: Arc<File>,
    pub(crate) table: Table,
    left: Cell<u64>,
}

impl Source {
    /// The bytes at `place`.
    pub(crate) fn section(&self, place: Place) -> Section {
        Section { file: Arc::clone(&self.file), place }
    }

    /// The file that `of` names.
    pub(crate) fn find(&self, name: &str, of: &str) -> Result<Place, ArchiveError> {
        let missing = || ArchiveError::Missing { of: of.to_owned(), object: name.to_owned() };
        self.table.find(name)?.ok_or_else(missing)
    }

    /// A small document at `place`.
    pub(crate) fn read(&self, place: Place, object: &str) -> Result<Vec<u8>, ArchiveError> {
        if place.size > MAX_DOCUMENT_BYTES {
            let source = DocumentError::TooLarge { what: "document", got: place.size };
            return Err(ArchiveError::Document { object: object.to_owned(), source });
        }
        let left = self.left.get().checked_sub(place.size);
        let all = MAX_DOCUMENTS as usize;
        self.left.set(left.ok_or(ArchiveError::TooMany { what: "bytes of documents", max: all })?);
        let mut bytes = vec![0; place.size as usize];
        let io_error = |source| ArchiveError::Io { object: object.to_owned(), source };
        self.file.read_exact_at(&mut bytes, place.at).map_err(io_error)?;
        Ok(bytes)
    }
}

/// Refuses a size that is not the promised one.
pub(crate) fn same_size(object: &str, got: u64, want: u64) -> Result<(), ArchiveError> {
    if got == want {
        return Ok(());
    }
    let bytes = |n: u64| format!("{n} bytes");
    Err(ArchiveError::Mismatch { object: object.to_owned(), got: bytes(got), want: bytes(want) })
}
