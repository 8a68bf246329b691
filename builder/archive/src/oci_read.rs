//! The documents of an OCI archive: `index.json`, indexes that it names, manifests, configurations.

use std::collections::BTreeMap;

use hone_image::oci::{Descriptor, Manifest, Plain, Sealed};
use hone_image::{Artifact, Digest, Document, Image, Pack, document, media};

use crate::archive::{ArchiveError, Source, same_size};
use crate::images::Contents;
use crate::oci_shipment::name_of;
use crate::table::Place;

/// Manifests that are read, at most: an index may name one many times, and another index, too.
const MAX_STEPS: usize = 4096;

/// Reads everything that `index.json` leads to.
pub(crate) fn contents(source: &Source) -> Result<Contents, ArchiveError> {
    let place = source.find("index.json", "oci-layout")?;
    let index = document::index(Some(media::INDEX), source.read(place, "index.json")?);
    let index = index.map_err(|source| ArchiveError::Document { object: "index.json".to_owned(), source })?;
    let mut reading = Reading { source, steps: 0, found: Contents { blobs: blobs(source)?, ..Contents::default() } };
    index.value().manifests.iter().try_for_each(|descriptor| reading.root(descriptor))?;
    Ok(reading.found)
}

/// Every file that is named as a blob.
fn blobs(source: &Source) -> Result<BTreeMap<Digest, Place>, ArchiveError> {
    let named = source.table.files().filter_map(|(name, place)| Some((name.strip_prefix("blobs/sha256/")?, place)));
    let digest = |hex: &str| {
        let why = "want blobs/sha256/ and 64 lowercase hex digits";
        format!("sha256:{hex}").parse().map_err(|_| ArchiveError::Entry { name: hex.to_owned(), why })
    };
    named.map(|(hex, place)| Ok((digest(hex)?, place))).collect()
}

struct Reading<'a> {
    source: &'a Source,
    steps: usize,
    found: Contents,
}

/// A manifest, as it is.
enum Read {
    Image(Box<Image>),
    Artifact(Box<Artifact>),
}

impl Reading<'_> {
    fn root(&mut self, descriptor: &Descriptor) -> Result<(), ArchiveError> {
        let name = name_of(descriptor);
        if descriptor.is_index() {
            let pack = self.index(descriptor)?;
            self.found.pack(name, pack);
            return Ok(());
        }
        match self.manifest(descriptor, "index.json")? {
            Read::Image(image) => self.found.pack(name, Pack::alone(*image)),
            Read::Artifact(artifact) => self.found.artifact(name, *artifact),
        }
        Ok(())
    }

    /// An index with those of its manifests that are here: engines save it whole, and one platform's manifests with
    /// it. An index in an index is legal and nobody's; what nests cannot go in circles.
    fn index(&mut self, descriptor: &Descriptor) -> Result<Pack, ArchiveError> {
        let object = descriptor.digest.to_string();
        let bytes = self.source.verified(&self.found.blobs, descriptor, "index.json")?;
        let Document::Index(index) = document(descriptor, &object, bytes)? else {
            return Err(other(object, "a manifest", "an index"));
        };
        let (mut images, mut artifacts) = (Vec::new(), Vec::new());
        for entry in &index.value().manifests {
            if !entry.is_manifest() || !self.found.blobs.contains_key(&entry.digest) {
                continue;
            }
            match self.manifest(entry, &object)? {
                Read::Image(image) => images.push(*image),
                Read::Artifact(artifact) => artifacts.push(*artifact),
            }
        }
        if images.is_empty() && artifacts.is_empty() && !index.value().manifests.is_empty() {
            let (got, want) = ("none of its manifests".to_owned(), "one at least".to_owned());
            return Err(ArchiveError::Mismatch { object, got, want });
        }
        Ok(Pack::join(index, images, artifacts))
    }

    fn manifest(&mut self, descriptor: &Descriptor, of: &str) -> Result<Read, ArchiveError> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(ArchiveError::TooMany { what: "entries of indexes", max: MAX_STEPS });
        }
        let object = descriptor.digest.to_string();
        if !descriptor.is_manifest() {
            return Err(other(object, &descriptor.media_type, "an index or a manifest"));
        }
        let bytes = self.source.verified(&self.found.blobs, descriptor, of)?;
        let Document::Manifest(manifest) = document(descriptor, &object, bytes)? else {
            return Err(other(object, "an index", "a manifest"));
        };
        let Manifest { config, layers, .. } = manifest.value();
        for part in std::iter::once(config).chain(layers) {
            let missing = || ArchiveError::Missing { of: object.clone(), object: part.digest.to_string() };
            let place = self.found.blobs.get(&part.digest).ok_or_else(missing)?;
            same_size(&part.digest.to_string(), place.size, part.size)?;
        }
        let (bytes, of_config) =
            (self.source.verified(&self.found.blobs, config, &object)?, config.digest.to_string());
        if descriptor.is_attestation() || !manifest.value().is_image() {
            let config = parsed("config", &of_config, bytes)?;
            return Ok(Read::Artifact(Box::new(Artifact { manifest, config })));
        }
        let config = parsed("config", &of_config, bytes)?;
        let image = Image::join(manifest, config).map_err(|source| ArchiveError::Image { object, source })?;
        Ok(Read::Image(Box::new(image)))
    }
}

/// Parses an index or a manifest, and says which it was when it is none.
fn document(descriptor: &Descriptor, object: &str, bytes: Vec<u8>) -> Result<Document, ArchiveError> {
    Document::of(descriptor, bytes).map_err(|source| ArchiveError::Document { object: object.to_owned(), source })
}

fn other(object: String, got: &str, want: &str) -> ArchiveError {
    ArchiveError::Mismatch { object, got: got.to_owned(), want: want.to_owned() }
}

/// Parses a document of another kind, and says which it was when it is none.
pub(crate) fn parsed<T: Plain>(what: &'static str, object: &str, bytes: Vec<u8>) -> Result<Sealed<T>, ArchiveError> {
    Sealed::parse(what, bytes).map_err(|source| ArchiveError::Document { object: object.to_owned(), source })
}
