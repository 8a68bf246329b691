//! An image from one repository to another: what goes, goes through here without being kept, and what is there is not sent.

use std::io::{self, Read};

use hone_contract::progress::Progress;
use hone_contract::{Digest, Pinned, Reference, chain};
use hone_image::oci::{Descriptor, Index, Manifest, Platform, Sealed};
use hone_image::platform::best;
use hone_image::walk::MAX_MANIFESTS;
use hone_image::{Document, document, media};
use hone_registry::{Fetched, Repository};

use crate::RemoteError;
use crate::push::{Sent, count, modelpack_tag};

/// Two repositories, of one registry or of two.
pub struct Between<'a> {
    /// Where the image is.
    pub from: &'a Repository,
    /// Where it is to be.
    pub to: &'a Repository,
    /// Is told of steps.
    pub progress: &'a dyn Progress,
}

impl Between<'_> {
    /// Copies what a name stands for, or the image for one platform, and names it last; its digest.
    ///
    /// # Errors
    /// When a registry refuses, or has something else than an image under that name.
    pub fn copy(&self, wanted: &Pinned, to: &Reference, platform: Option<&Platform>) -> Result<Digest, RemoteError> {
        let root = self.from.manifest(&wanted.target())?;
        let index = match Document::parse(Some(&root.media_type), root.bytes.clone())? {
            Document::Manifest(manifest) => {
                self.parts(&manifest)?;
                return self.name(to, &root, media::MANIFEST);
            }
            Document::Index(index) => index,
        };
        let named = &index.value().manifests;
        if named.len() > MAX_MANIFESTS {
            return Err(RemoteError::Manifests { got: named.len() });
        }
        if let Some(platform) = platform {
            let fetched = self.child(image_of(index.value(), platform)?)?;
            return self.name(to, &fetched, media::MANIFEST);
        }
        for child in named {
            let fetched = self.child(child)?;
            self.to.push_manifest(&fetched.digest.to_string(), &child.media_type, &fetched.bytes)?;
            let is_model = child.artifact_type.as_deref() == Some(media::MODEL_MANIFEST);
            if let (true, Some(model)) = (is_model, modelpack_tag(to)) {
                self.to.push_manifest(model.tag(), &child.media_type, &fetched.bytes)?;
            }
        }
        let digest = self.name(to, &root, media::INDEX)?;
        self.statements(digest)?;
        Ok(digest)
    }

    /// The type is what its server called it, or, of one that says nothing, what it is.
    fn name(&self, to: &Reference, root: &Fetched, kind: &str) -> Result<Digest, RemoteError> {
        let media_type = if root.media_type.is_empty() { kind } else { &root.media_type };
        Ok(self.to.push_manifest(to.tag(), media_type, &root.bytes)?)
    }

    /// A manifest that an index names, and its blobs.
    fn child(&self, child: &Descriptor) -> Result<Fetched, RemoteError> {
        if !child.is_manifest() {
            return Err(RemoteError::NoManifest(child.digest));
        }
        let fetched = self.from.manifest(&child.digest.to_string())?;
        self.parts(&document::manifest(Some(&child.media_type), fetched.bytes.clone())?)?;
        Ok(fetched)
    }

    fn parts(&self, manifest: &Sealed<Manifest>) -> Result<(), RemoteError> {
        let Manifest { config, layers, .. } = manifest.value();
        layers.iter().chain([config]).try_for_each(|blob| self.blob(blob))
    }

    fn blob(&self, blob: &Descriptor) -> Result<(), RemoteError> {
        let step = self.progress.step(&format!("copy {}", blob.digest.short()), Some(blob.size));
        let open = |at: u64| -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(self.from.blob(blob, at)?)) };
        let beside: &[&str] = if self.from.domain() == self.to.domain() { &[self.from.path()] } else { &[] };
        let pushed = self.to.push_blob(blob, &open, beside, &mut |n| step.seen(n))?;
        step.noted(blob.size, Some(blob.digest), count(pushed, &mut Sent::default()));
        Ok(())
    }

    /// What is said about it, its bill of materials above all. A registry that keeps no such list has none.
    fn statements(&self, subject: Digest) -> Result<(), RemoteError> {
        let listed = match self.from.referrers(subject) {
            Ok(listed) => listed,
            Err(error) => {
                self.progress.note(&format!("statements about it are not copied: {}", chain(&error)));
                return Ok(());
            }
        };
        for descriptor in listed.iter().filter(|d| d.is_manifest()).take(MAX_MANIFESTS) {
            let fetched = self.child(descriptor)?;
            self.to.push_manifest(&fetched.digest.to_string(), &descriptor.media_type, &fetched.bytes)?;
        }
        Ok(())
    }
}

/// The image of an index for a platform, or what the index has.
///
/// # Errors
/// When it has none.
pub fn image_of<'i>(index: &'i Index, platform: &Platform) -> Result<&'i Descriptor, RemoteError> {
    let named = &index.manifests;
    let one = best(platform, named, |d| d.platform.clone()).filter(|d| d.is_manifest());
    one.ok_or_else(|| {
        let has = named.iter().filter_map(|d| d.platform.as_ref()).filter(|p| !p.is_nobody());
        let has = has.map(ToString::to_string).collect::<Vec<_>>().join(", ");
        RemoteError::NoImage { platform: Box::new(platform.clone()), has }
    })
}
