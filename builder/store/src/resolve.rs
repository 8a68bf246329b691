//! What a person means by a text that names an image: the one place where that is decided, for every verb.
//!
//! The forms, in this order (docs/cli.md):
//! - `NAME[:TAG]`, a name that is here; without a tag, `latest`;
//! - `NAME:current`, the promoted version of NAME's one lineage;
//! - `NAME[:TAG]@sha256:...`, what NAME has under this digest; the digest decides, the tag is for people;
//! - a digest, with or without `sha256:`, or at least four first digits of one: of what a name stands for, of an image's
//!   manifest, or of its configuration (docker's image id).
//!
//! An image that cannot be read is in nobody's way: it is passed over, and named ([`Store::problems`]).

use std::collections::{BTreeMap, BTreeSet};

use hone_contract::{Digest, Pinned, Reference};
use hone_image::oci::Descriptor;
use hone_image::{Image, Pack};

use crate::versions::VersionRecord;
use crate::{Store, StoreError};

/// The tag that stands for the promoted version.
const CURRENT: &str = "current";
/// Fewest hex digits that may stand for a digest.
const SHORTEST_PREFIX: usize = 4;

/// What a text that names an image stands for.
#[derive(Debug, Clone)]
pub enum Found {
    /// An image that is here.
    Image(Box<Resolved>),
    /// A version of which only configuration and adapter are here: its base is in the engine that ran it.
    Version(Box<VersionRecord>),
}

/// An image that is here.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Its names, the one that was meant first.
    pub references: Vec<Reference>,
    /// What the names point at: an index or a manifest.
    pub descriptor: Descriptor,
    /// The image for this machine.
    pub image: Image,
}

type Names = BTreeMap<Reference, Descriptor>;

/// What a text means, before it is read.
enum Meant {
    /// The index or manifest of this digest, by this name if it was named.
    Root(Digest, Option<Reference>),
    Version(Box<VersionRecord>),
}

impl Store {
    /// The image, or the version, that a person means by `text`; the module says which forms there are.
    ///
    /// # Errors
    /// When there is none, or more than one, or it cannot be read.
    pub fn look_up(&self, text: &str) -> Result<Found, StoreError> {
        let names = self.references()?;
        let (digest, meant) = match self.meant(text, &names)? {
            Meant::Root(digest, meant) => (digest, meant),
            Meant::Version(version) => return Ok(Found::Version(version)),
        };
        let named = names.values().find(|descriptor| descriptor.digest == digest);
        let pack = named.map_or_else(|| self.pack(digest), |descriptor| self.pack_of(descriptor))?;
        let image = self.image_of(&pack)?;
        let mut references: Vec<Reference> =
            names.into_iter().filter(|(_, d)| d.digest == digest).map(|(r, _)| r).collect();
        references.sort_by_key(|r| Some(r) != meant.as_ref());
        Ok(Found::Image(Box::new(Resolved { references, descriptor: pack.descriptor(), image })))
    }

    /// What [`Store::resolve`] takes `text` to mean, without a look at whether it can be read.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, text: &str) -> Result<Digest, StoreError> {
        match self.meant(text, &self.references()?)? {
            Meant::Root(digest, _) => Ok(digest),
            Meant::Version(version) => Err(StoreError::Elsewhere(version.reference)),
        }
    }

    /// As [`Store::look_up`], for whoever needs the whole image.
    ///
    /// # Errors
    /// As there, and for a version whose base is only in an engine: it says how to bring it here.
    pub fn resolve(&self, text: &str) -> Result<Resolved, StoreError> {
        match self.look_up(text)? {
            Found::Image(resolved) => Ok(*resolved),
            Found::Version(version) => Err(StoreError::Elsewhere(version.reference)),
        }
    }

    /// The version that a person means by `text`; `None` when it is an image that is no version of a lineage here.
    ///
    /// # Errors
    /// As [`Store::look_up`].
    pub fn version_of(&self, text: &str) -> Result<Option<VersionRecord>, StoreError> {
        // A version is promoted or removed by its name even when its image cannot be read.
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(version) = self.version(&reference)?
        {
            return Ok(Some(version));
        }
        let resolved = match self.look_up(text)? {
            Found::Version(version) => return Ok(Some(*version)),
            Found::Image(resolved) => resolved,
        };
        let config = resolved.image.config().digest();
        for lineage in self.lineages()? {
            let ours = |v: &VersionRecord| {
                v.config.digest == config && v.manifest.is_none_or(|m| m == resolved.descriptor.digest)
            };
            if let Some(version) = self.versions(&lineage)?.into_iter().find(ours) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    fn meant(&self, text: &str, names: &Names) -> Result<Meant, StoreError> {
        if let Ok(Pinned { reference: name, digest: Some(digest), .. }) = text.parse() {
            let ours = |r: &Reference| r.name() == name.name();
            let found = self.by_digits(text, &digest.hex(), names, ours)?;
            let meant = |root| names.iter().find(|(r, d)| ours(r) && d.digest == root).map(|(r, _)| r.clone());
            return Ok(match found {
                Meant::Root(root, _) => Meant::Root(root, meant(root)),
                version => version,
            });
        }
        if let Ok(reference) = text.parse::<Reference>() {
            if let Some(descriptor) = names.get(&reference) {
                return Ok(Meant::Root(descriptor.digest, Some(reference)));
            }
            let version = match self.version(&reference)? {
                None if reference.tag() == CURRENT => self.current(text, &reference)?,
                version => version,
            };
            if let Some(version) = version {
                // One whose base was only in an engine may have come here since.
                let manifest = version.manifest.or(names.get(&version.reference).map(|d| d.digest));
                return Ok(match manifest {
                    Some(manifest) => Meant::Root(manifest, Some(version.reference)),
                    None => Meant::Version(Box::new(version)),
                });
            }
        }
        self.by_digits(text, text.strip_prefix("sha256:").unwrap_or(text), names, |_| true)
    }

    /// The promoted version of the one lineage that has this name.
    fn current(&self, text: &str, name: &Reference) -> Result<Option<VersionRecord>, StoreError> {
        let mut found = None;
        for lineage in self.lineages()?.into_iter().filter(|l| l.name() == name.name()) {
            let current = self.lineage_state(&lineage)?.current;
            if let Some(version) = self.versions(&lineage)?.into_iter().find(|v| Some(v.number) == current)
                && found.replace(version).is_some()
            {
                return Err(StoreError::Ambiguous(text.to_owned()));
            }
        }
        Ok(found)
    }

    /// The one image, or version without one, a digest of which begins with `digits`; of the names that `of` says yes to.
    fn by_digits(
        &self,
        text: &str,
        digits: &str,
        names: &Names,
        of: impl Fn(&Reference) -> bool,
    ) -> Result<Meant, StoreError> {
        let none = || StoreError::NoImage(text.to_owned());
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digits.len() < SHORTEST_PREFIX || !digits.bytes().all(hex) {
            return Err(none());
        }
        let fits = |digest: &Digest| digest.hex().starts_with(digits);
        // What is meant itself is found whether or not it can be read.
        let ours = names.iter().filter(|(name, _)| of(name)).map(|(_, d)| d.digest);
        let mut roots: BTreeSet<Digest> = ours.filter(fits).collect();
        for (_, descriptor, pack) in self.packs()?.filter(|(name, ..)| of(name)) {
            if digests(&pack).any(|d| fits(&d)) {
                roots.insert(descriptor.digest);
            }
        }
        let mut versions = Vec::new();
        for lineage in self.lineages()? {
            let only_here = |v: &VersionRecord| {
                v.manifest.is_none()
                    && !names.contains_key(&v.reference)
                    && of(&v.reference)
                    && fits(&v.config.digest)
            };
            versions.extend(self.versions(&lineage)?.into_iter().filter(only_here));
        }
        match (roots.len(), versions.len()) {
            (1, 0) => roots.pop_first().map(|root| Meant::Root(root, None)).ok_or_else(none),
            (0, 1) => versions.pop().map(|v| Meant::Version(Box::new(v))).ok_or_else(none),
            (0, 0) => Err(none()),
            _ => Err(StoreError::Ambiguous(text.to_owned())),
        }
    }
}

/// Of the images in a pack: their manifests and configurations.
fn digests(pack: &Pack) -> impl Iterator<Item = Digest> + '_ {
    pack.images().iter().flat_map(|image| [image.digest(), image.config().digest()])
}
