//! The documents of an OCI archive: `index.json`, indexes that it names, manifests, configurations.

use std::collections::BTreeMap;

use hone_contract::Digest;
use hone_image::oci::{Descriptor, Manifest, Plain, Sealed};
use hone_image::walk::{Documents, Follow, MAX_BYTES, MAX_MANIFESTS, Refusal, Standing, Walk};
use hone_image::{Artifact, Image, document, media};

use crate::archive::{ArchiveError, Source, same_size};
use crate::images::Contents;
use crate::oci_shipment::{name_of, named_by};
use crate::table::Place;

/// Reads everything that `index.json` leads to.
pub(crate) fn contents(source: &Source) -> Result<Contents, ArchiveError> {
    let place = source.find("index.json", "oci-layout")?;
    let index = document::index(Some(media::INDEX), source.read(place, "index.json")?);
    let index = index.map_err(|source| ArchiveError::Document { object: "index.json".to_owned(), source })?;
    let blobs = blobs(source)?;
    let (here, mut found) = (Here { source, blobs: &blobs }, Contents::default());
    index.value().manifests.iter().try_for_each(|descriptor| here.root(descriptor, &mut found))?;
    Ok(Contents { blobs, ..found })
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

/// The blobs of an archive.
struct Here<'a> {
    source: &'a Source,
    blobs: &'a BTreeMap<Digest, Place>,
}

impl Documents for Here<'_> {
    type Error = ArchiveError;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(place) = self.blobs.get(&descriptor.digest) else { return Ok(None) };
        let object = descriptor.digest.to_string();
        let bytes = self.source.read(*place, &object)?;
        same_size(&object, place.size, descriptor.size)?;
        Ok(Some(bytes))
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> ArchiveError {
        let object = descriptor.digest.to_string();
        match why {
            Refusal::Document(source) => ArchiveError::Document { object, source },
            Refusal::Digest { got, want } => {
                ArchiveError::Mismatch { object, got: got.to_string(), want: want.to_string() }
            }
            Refusal::Image(source) => ArchiveError::Image { object, source },
            Refusal::Absent { of } => ArchiveError::Missing { of: named_by(of), object },
            Refusal::Wide { .. } => ArchiveError::TooMany { what: "manifests in one index", max: MAX_MANIFESTS },
            Refusal::Large => ArchiveError::TooMany { what: "bytes of documents", max: MAX_BYTES },
        }
    }
}

impl Here<'_> {
    fn root(&self, descriptor: &Descriptor, found: &mut Contents) -> Result<(), ArchiveError> {
        let (name, object) = (name_of(descriptor), descriptor.digest.to_string());
        if !descriptor.is_index() && !descriptor.is_manifest() {
            let (got, want) = (descriptor.media_type.clone(), "an index or a manifest".to_owned());
            return Err(ArchiveError::Mismatch { object, got, want });
        }
        match Walk::of(self, descriptor.clone(), Follow::joined()).stands_for()? {
            Standing::Pack(pack) => {
                pack.images().iter().map(Image::manifest).try_for_each(|manifest| self.whole(manifest))?;
                pack.artifacts().iter().try_for_each(|artifact| self.whole(&artifact.manifest))?;
                let named = pack.index().is_some_and(|index| !index.value().manifests.is_empty());
                // Engines save an index whole, and one platform's manifests with it: some may be elsewhere, not all.
                if named && pack.images().is_empty() && pack.artifacts().is_empty() {
                    let (got, want) = ("none of its manifests".to_owned(), "one at least".to_owned());
                    return Err(ArchiveError::Mismatch { object, got, want });
                }
                found.pack(name, pack);
            }
            Standing::Artifact(artifact) => {
                let Artifact { manifest, .. } = &*artifact;
                self.whole(manifest)?;
                found.artifact(name, *artifact);
            }
        }
        Ok(())
    }

    /// Refuses a manifest that names what is not here, or is of another size.
    fn whole(&self, manifest: &Sealed<Manifest>) -> Result<(), ArchiveError> {
        let Manifest { config, layers, .. } = manifest.value();
        for part in std::iter::once(config).chain(layers) {
            let (of, object) = (manifest.digest().to_string(), part.digest.to_string());
            let place = self.blobs.get(&part.digest).ok_or(ArchiveError::Missing { of, object: object.clone() })?;
            same_size(&object, place.size, part.size)?;
        }
        Ok(())
    }
}

/// Parses a document of another kind, and says which it was when it is none.
pub(crate) fn parsed<T: Plain>(what: &'static str, object: &str, bytes: Vec<u8>) -> Result<Sealed<T>, ArchiveError> {
    Sealed::parse(what, bytes).map_err(|source| ArchiveError::Document { object: object.to_owned(), source })
}
