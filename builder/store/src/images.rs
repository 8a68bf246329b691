//! Images: put whole, read by name or digest.

use std::collections::BTreeSet;

use hone_contract::{Digest, Reference, chain, quoted};
use hone_image::oci::{Descriptor, ImageConfig, MAX_DOCUMENT_BYTES, Manifest, Plain, Sealed};
use hone_image::transport::called;
use hone_image::walk::{Documents, Follow, Refusal, Standing, Walk};
use hone_image::{Artifact, Image, Pack, document, media};

use crate::{Ingest, Store, StoreError, this_machine};

impl Ingest<'_> {
    /// Stores one image, without an index, under a name. Its layers must be there already.
    ///
    /// # Errors
    /// When a layer is not, the name is a version's, or the disk refuses; the name then stands for what it stood for
    /// before.
    pub fn put_image(&self, reference: &Reference, image: &Image) -> Result<(), StoreError> {
        self.put_pack(reference, &Pack::alone(image.clone()))
    }

    /// Stores a pack under a name. Its layers must be there already.
    ///
    /// # Errors
    /// When a layer is not, it holds no image, the name is a version's, or the disk refuses; the name then stands for what
    /// it stood for before.
    pub fn put_pack(&self, reference: &Reference, pack: &Pack) -> Result<(), StoreError> {
        if pack.images().is_empty() {
            return Err(self.store.empty(pack));
        }
        let descriptor = self.put_documents(pack)?;
        self.store.names()?.give(reference, descriptor)
    }

    /// Stores a statement about an image that is there: a manifest with `subject`, which has no name of its own.
    ///
    /// # Errors
    /// When a blob that it names is not there, or the disk refuses.
    pub fn put_referrer(&self, artifact: &Artifact) -> Result<(), StoreError> {
        self.all_present(&artifact.manifest.value().layers)?;
        self.put_all(&[artifact.config.bytes(), artifact.manifest.bytes()])?;
        self.store.names()?.add_unnamed(Descriptor { platform: None, ..artifact.descriptor() })
    }

    /// Stores a statement about an image, in the place of those of its kind about the same image.
    ///
    /// # Errors
    /// As [`Self::put_referrer`]; the others are then still there.
    pub fn replace_referrer(&self, artifact: &Artifact) -> Result<(), StoreError> {
        let manifest = artifact.manifest.value();
        let same = |other: &Artifact| other.manifest.value().artifact_type == manifest.artifact_type;
        let others = manifest.subject.as_ref().map(|subject| self.store.referrers(subject.digest)).transpose()?;
        let others = others.unwrap_or_default().into_iter().filter(same).map(|other| other.descriptor().digest);
        let others: Vec<Digest> = others.filter(|other| *other != artifact.descriptor().digest).collect();
        self.put_referrer(artifact)?;
        self.store.names()?.retain(|entry| !others.contains(&entry.digest))
    }

    /// Stores a pack's documents, without a name yet. Its layers must be there already.
    ///
    /// # Errors
    /// When a layer is not, or the disk refuses.
    pub fn put_documents(&self, pack: &Pack) -> Result<Descriptor, StoreError> {
        self.all_present(pack.layers())?;
        let documents: Vec<&[u8]> = pack.documents().into_iter().map(|(_, bytes)| bytes).collect();
        self.put_all(&documents)?;
        Ok(pack.descriptor())
    }

    fn all_present<'d>(&self, layers: impl IntoIterator<Item = &'d Descriptor>) -> Result<(), StoreError> {
        layers.into_iter().try_for_each(|d| self.present(d.digest, d.size))
    }
}

impl Store {
    /// The image of this name.
    ///
    /// # Errors
    /// When the store cannot be read; an absent name is `None`.
    pub fn image(&self, reference: &Reference) -> Result<Option<Image>, StoreError> {
        match self.references()?.get(reference) {
            Some(descriptor) => self.image_of(&self.pack_of(descriptor)?).map(Some),
            None => Ok(None),
        }
    }

    /// The image of this digest: a manifest's own, or the one that an index has for this machine's processor, else its
    /// first.
    ///
    /// # Errors
    /// When it is not there, or its documents do not fit each other.
    pub fn image_by_digest(&self, digest: Digest) -> Result<Image, StoreError> {
        self.image_of(&self.pack(digest)?)
    }

    /// What a digest stands for: an index with those of its manifests that are here, or one image.
    ///
    /// # Errors
    /// When it is not there, or its documents do not fit each other.
    pub fn pack(&self, digest: Digest) -> Result<Pack, StoreError> {
        self.pack_as(digest, "")
    }

    /// What an entry of an index stands for: [`Store::pack`], of what the entry says that it is.
    ///
    /// # Errors
    /// As [`Store::pack`]; when it is something else.
    pub fn pack_of(&self, root: &Descriptor) -> Result<Pack, StoreError> {
        self.pack_as(root.digest, &root.media_type)
    }

    fn pack_as(&self, digest: Digest, said: &str) -> Result<Pack, StoreError> {
        let root = Descriptor::of(said, digest, 0);
        // One of another size than its entry says is not what the entry means.
        let follow = Follow::joined().when(|manifest| self.has(manifest.digest, manifest.size));
        match Walk::of(self, root, follow).stands_for()? {
            Standing::Pack(pack) => Ok(pack),
            Standing::Artifact(_) => {
                let why = "it is an artifact, no image of containers".to_owned();
                Err(StoreError::Record { path: self.blob_path(digest), why })
            }
        }
    }

    /// The manifest that a descriptor describes.
    ///
    /// # Errors
    /// When it is not there, or is none.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Sealed<Manifest>, StoreError> {
        let bytes = self.read_blob(descriptor.digest, MAX_DOCUMENT_BYTES)?;
        let parsed = document::manifest(Some(&descriptor.media_type), bytes);
        parsed.map_err(|source| StoreError::Parse { path: self.blob_path(descriptor.digest), source })
    }

    /// The image of a pack for this machine, else its first; when it has none, what it is and who names it.
    pub(crate) fn image_of(&self, pack: &Pack) -> Result<Image, StoreError> {
        pack.image_for(&this_machine()).cloned().ok_or_else(|| self.empty(pack))
    }

    /// What a pack without an image is, and who names it.
    fn empty(&self, pack: &Pack) -> StoreError {
        let digest = pack.digest();
        let absent = pack.missing().into_iter().filter_map(|d| d.platform.as_ref()).filter(|p| !p.is_nobody());
        let absent: Vec<String> = absent.take(SHOWN_TAGS).map(ToString::to_string).collect();
        let mut has = match absent.as_slice() {
            [] => "it is an index without an image".to_owned(),
            some => format!("of its index only images that are not here are left ({})", some.join(", ")),
        };
        let names = self.references().unwrap_or_default().into_iter().filter(|(_, d)| d.digest == digest);
        let names: Vec<String> = names.map(|(name, _)| name.to_string()).take(SHOWN_TAGS).collect();
        if !names.is_empty() {
            has = format!("{has}; `hone rm {}` takes the name away", names.join(" "));
        }
        StoreError::Empty { digest, root: self.root.clone(), has }
    }

    /// Statements about the manifest or index `subject`, as they were made here or pulled.
    ///
    /// # Errors
    /// When the index cannot be read, or what one of them is made of. One that cannot be read is passed over: what it is
    /// about is not known then.
    pub fn referrers(&self, subject: Digest) -> Result<Vec<Artifact>, StoreError> {
        let statements = self.statements_about(subject)?.into_iter();
        statements
            .map(|(_, manifest)| {
                let config = self.plain(manifest.value().config.digest)?;
                Ok(Artifact { manifest, config })
            })
            .collect()
    }

    /// The entries of `index.json` that are statements about `subject`.
    pub(crate) fn statements_about(
        &self,
        subject: Digest,
    ) -> Result<Vec<(Descriptor, Sealed<Manifest>)>, StoreError> {
        let mut found = Vec::new();
        for descriptor in self.descriptors()?.into_iter().filter(|d| d.artifact_type.is_some()) {
            match self.manifest(&descriptor) {
                Ok(manifest) if manifest.value().subject.as_ref().is_some_and(|s| s.digest == subject) => {
                    found.push((descriptor, manifest));
                }
                Ok(_) => {}
                Err(error) => self.notice(format!("statement {}", descriptor.digest), chain(&error)),
            }
        }
        Ok(found)
    }

    /// The image of a layout that holds one, whatever it is called; of several platforms, the one for this machine.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only_image(&self) -> Result<Image, StoreError> {
        self.image_of(&self.pack_of(&self.only(None)?)?)
    }

    /// What a layout holds under `tag`, or at all when it holds one thing.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn only(&self, tag: Option<&str>) -> Result<Descriptor, StoreError> {
        if !self.root.join("oci-layout").is_file() {
            let why = "it is no OCI layout: there is no file oci-layout in it".to_owned();
            return Err(StoreError::Record { path: self.root.clone(), why });
        }
        let entries = self.descriptors()?;
        let all: Vec<&Descriptor> = entries.iter().filter(|d| d.is_manifest() || d.is_index()).collect();
        let mut found = match tag {
            Some(tag) => called(&all, tag, |d| name_of(d)),
            None => all.iter().collect(),
        };
        alone(&mut found);
        match found.as_slice() {
            [only] => Ok((**only).clone()),
            others => {
                let why = match tag {
                    Some(tag) => format!("want one image with the tag {tag}, got {}; {}", others.len(), tags(&all)),
                    None => format!("want one image, got {}; say which by its tag; {}", others.len(), tags(&all)),
                };
                Err(StoreError::Record { path: self.root.join("index.json"), why })
            }
        }
    }

    /// An image configuration.
    ///
    /// # Errors
    /// When it is not there or is none.
    pub fn config(&self, digest: Digest) -> Result<Sealed<ImageConfig>, StoreError> {
        self.plain(digest)
    }

    fn plain<T: Plain>(&self, digest: Digest) -> Result<Sealed<T>, StoreError> {
        let parsed = Sealed::parse("config", self.read_blob(digest, MAX_DOCUMENT_BYTES)?);
        parsed.map_err(|source| StoreError::Parse { path: self.blob_path(digest), source })
    }

    /// The named pack that one of its images with this configuration is in.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn pack_by_config(&self, config: Digest) -> Result<Option<Pack>, StoreError> {
        let has = |pack: &Pack| pack.images().iter().any(|image| image.config().digest() == config);
        Ok(self.packs()?.map(|(_, _, pack)| pack).find(has))
    }

    /// Everything that has a name and can be read, by name. What cannot is passed over ([`Store::problems`]): one
    /// damaged image hides no other.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn packs(&self) -> Result<impl Iterator<Item = (Reference, Descriptor, Pack)> + use<'_>, StoreError> {
        Ok(self.references()?.into_iter().filter_map(|(name, descriptor)| match self.pack_of(&descriptor) {
            Ok(pack) => Some((name, descriptor, pack)),
            Err(error) => {
                self.notice(format!("image {name}"), chain(&error));
                None
            }
        }))
    }
}

impl Documents for Store {
    type Error = StoreError;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, StoreError> {
        match self.read_blob(descriptor.digest, MAX_DOCUMENT_BYTES) {
            Err(StoreError::NoBlob(_)) => Ok(None),
            read => read.map(Some),
        }
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> StoreError {
        let (digest, path) = (descriptor.digest, self.blob_path(descriptor.digest));
        match why {
            Refusal::Document(source) => StoreError::Parse { path, source },
            Refusal::Digest { got, want } => {
                StoreError::Corrupt { digest, got: got.to_string(), want: want.to_string() }
            }
            Refusal::Image(error) => error.into(),
            Refusal::Absent { .. } => StoreError::NoBlob(digest),
            Refusal::Wide { .. } | Refusal::Large => StoreError::Record { path, why: why.to_string() },
        }
    }
}

/// Characters of a tag in a message.
const LONGEST_TAG: usize = 100;

/// What a layout calls it.
fn name_of(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(media::REF_NAME).map(String::as_str)
}

/// Of several entries those that are meant: without what goes along with an image of the same layout, its model under a
/// name of its own (docs/store.md) and statements about it.
fn alone(found: &mut Vec<&&Descriptor>) {
    let images = found.iter().filter(|d| d.artifact_type.is_none()).filter_map(|d| name_of(d));
    let images: BTreeSet<&str> = images.collect();
    let goes_along = |d: &&&Descriptor| match name_of(d) {
        _ if d.artifact_type.is_none() => false,
        Some(name) => name.strip_suffix("-modelpack").is_some_and(|image| images.contains(image)),
        None => true,
    };
    if !found.iter().all(goes_along) {
        found.retain(|d| !goes_along(d));
    }
}

/// Most tags that a message lists.
const SHOWN_TAGS: usize = 8;

/// Which tags there are, for a message.
fn tags(all: &[&Descriptor]) -> String {
    let names = all.iter().filter_map(|d| name_of(d));
    let names: Vec<String> = names.map(|name| quoted(name).at_most(LONGEST_TAG).to_string()).collect();
    let shown = names[..names.len().min(SHOWN_TAGS)].join(", ");
    match names.len() {
        0 => "its images have no tags".to_owned(),
        n if n > SHOWN_TAGS => format!("it has {shown} and {} more", n - SHOWN_TAGS),
        _ => format!("it has {shown}"),
    }
}
