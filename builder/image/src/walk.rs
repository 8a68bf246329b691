//! The one way from an index to its manifests, their configurations and layers, for every reader.
//!
//! An index or a manifest is the root; an index's manifests follow, in its order, each with what it names directly after
//! it. The rules, wherever the documents lie ([`Documents`]):
//! - nothing is deeper: an index in an index is legal and nobody's, and is told, not entered ([`Part::Other`]);
//! - an index names at most [`MAX_MANIFESTS`] manifests, and all that is read for one root has at most [`MAX_BYTES`]; who is
//!   named twice is read, and counted, twice, unless the caller says otherwise ([`Follow::when`]);
//! - every document has the digest that it was named by, and is what its descriptor says ([`Document`]);
//! - a manifest that an index names may be elsewhere ([`Part::Absent`]): nobody fetches those for other machines. The root
//!   and a configuration may not;
//! - a manifest is an image when it says so, and its index and its configuration do not say otherwise; what else there is,
//!   models and statements, are artifacts;
//! - a document that cannot be read hides no other: the walk goes on after an error.
//!
//! What is followed is a value ([`Follow`]). Nothing here reads: the caller's [`Documents`] do.

use crate::document::Document;
use crate::image::{Image, ImageError};
use crate::oci::{Descriptor, DocumentError, ImageConfig, Index, Manifest, Sealed};
use crate::pack::{Artifact, Pack};
use hone_contract::digest::Digest;

/// Manifests of one index; ours have a handful, multi-platform images a dozen.
pub const MAX_MANIFESTS: usize = 256;
/// Bytes of the documents below one root, together; ours have some hundred kilobytes.
pub const MAX_BYTES: usize = 32 << 20;

/// Where documents lie.
pub trait Documents {
    /// Why one cannot be had.
    type Error;

    /// The bytes of an index, a manifest or a configuration, at most [`crate::oci::MAX_DOCUMENT_BYTES`]; `None` when it is
    /// not there.
    ///
    /// # Errors
    /// When nobody can tell, or it is not what its descriptor says.
    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Self::Error>;

    /// What to say of a document that is refused.
    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> Self::Error;
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is none, or two.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It has other bytes than its name says.
    #[error("got {got}, want {want}")]
    Digest {
        /// As it is.
        got: Digest,
        /// As it is named.
        want: Digest,
    },
    /// A manifest and its configuration do not belong together.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It has to be there.
    #[error("it is not there")]
    Absent {
        /// What names it; nothing names the root.
        of: Option<Digest>,
    },
    /// An index of too many.
    #[error("its index names {got} manifests, want at most {MAX_MANIFESTS}")]
    Wide {
        /// How many.
        got: usize,
    },
    /// Too much to be read for one root.
    #[error("its manifests and configurations have more than {MAX_BYTES} bytes together")]
    Large,
}

/// What a walk goes to.
pub struct Follow<'w> {
    join: bool,
    only: Option<Vec<Descriptor>>,
    when: Box<dyn FnMut(&Descriptor) -> bool + 'w>,
}

impl<'w> Follow<'w> {
    /// Every manifest; its configuration and its layers as it names them, unread.
    pub fn named() -> Self {
        Self { join: false, only: None, when: Box::new(|_| true) }
    }

    /// Every manifest, together with its configuration.
    pub fn joined() -> Self {
        Self { join: true, ..Self::named() }
    }

    /// Of the root, if it is an index, these manifests in this order.
    #[must_use]
    pub fn only(self, manifests: Vec<Descriptor>) -> Self {
        Self { only: Some(manifests), ..self }
    }

    /// Of an index's manifests those that this says yes to when their turn comes.
    #[must_use]
    pub fn when(self, wanted: impl FnMut(&Descriptor) -> bool + 'w) -> Self {
        Self { when: Box::new(wanted), ..self }
    }
}

/// What a manifest is of, by its own words and its index's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image of containers.
    Image,
    /// A model, a statement about an image.
    Artifact,
}

impl Kind {
    /// The kind of a manifest that this descriptor describes.
    pub fn of(descriptor: &Descriptor, manifest: &Manifest) -> Self {
        if manifest.is_image() && !descriptor.is_attestation() { Self::Image } else { Self::Artifact }
    }
}

/// Something that a walk comes to.
#[derive(Debug)]
pub struct Node {
    /// As it is named.
    pub descriptor: Descriptor,
    /// What names it; nothing names the root.
    pub of: Option<Digest>,
    /// What it is.
    pub part: Part,
}

/// What a walk comes to.
#[derive(Debug)]
pub enum Part {
    /// The root, an index.
    Index(Box<Sealed<Index>>),
    /// A manifest ([`Follow::named`]).
    Manifest(Box<Sealed<Manifest>>, Kind),
    /// An image with its configuration ([`Follow::joined`]).
    Image(Box<Image>),
    /// An artifact with its configuration ([`Follow::joined`]).
    Artifact(Box<Artifact>),
    /// A configuration, unread ([`Follow::named`]).
    Config,
    /// A layer, unread ([`Follow::named`]).
    Layer,
    /// A manifest that is elsewhere.
    Absent,
    /// What an index names and is no manifest: another index, say.
    Other,
}

/// What could not be read, and why.
#[derive(Debug)]
pub struct Unread<E> {
    /// As it is named.
    pub descriptor: Descriptor,
    /// Why.
    pub error: E,
}

/// A walk, depth first; see the module.
pub struct Walk<'w, D: Documents + ?Sized> {
    source: &'w D,
    follow: Follow<'w>,
    root: Descriptor,
    /// The next one last.
    next: Vec<Step>,
    /// Bytes that may still be read.
    left: usize,
}

enum Step {
    /// A document that is to be read.
    Named(Descriptor, Option<Digest>),
    /// The root, which the caller has read.
    Read(Box<Document>),
    /// What needs no reading.
    Part(Node),
}

impl<'w, D: Documents + ?Sized> Walk<'w, D> {
    /// From a descriptor of an index or a manifest. One without a media type may be either.
    pub fn of(source: &'w D, root: Descriptor, follow: Follow<'w>) -> Self {
        let next = vec![Step::Named(root.clone(), None)];
        Self { source, follow, root, next, left: MAX_BYTES }
    }

    /// From a document that was read.
    pub fn from(source: &'w D, root: Document, follow: Follow<'w>) -> Self {
        let (descriptor, left) = (root.descriptor(), MAX_BYTES.saturating_sub(root.bytes().len()));
        Self { source, follow, root: descriptor, next: vec![Step::Read(Box::new(root))], left }
    }

    /// The same, for those who stop at the first error.
    pub fn strict(self) -> impl Iterator<Item = Result<Node, D::Error>> {
        self.map(|found| found.map_err(|unread| unread.error))
    }

    /// What the root stands for: an index with those of its manifests that are here, one image, or one artifact.
    ///
    /// # Errors
    /// The first of the walk, which is to be one that joins.
    pub fn stands_for(self) -> Result<Standing, D::Error> {
        let (mut index, mut images, mut artifacts) = (None, Vec::new(), Vec::new());
        for node in self.strict() {
            match node?.part {
                Part::Index(found) => index = Some(*found),
                Part::Image(image) => images.push(*image),
                Part::Artifact(artifact) => artifacts.push(*artifact),
                Part::Manifest(..) | Part::Config | Part::Layer | Part::Absent | Part::Other => {}
            }
        }
        Ok(match (index, images.pop(), artifacts.pop()) {
            (None, Some(image), _) => Standing::Pack(Pack::alone(image)),
            (None, None, Some(artifact)) => Standing::Artifact(Box::new(artifact)),
            (Some(index), image, artifact) => {
                images.extend(image);
                artifacts.extend(artifact);
                Standing::Pack(Pack::join(index, images, artifacts))
            }
            // A walk that joins fails when its root is none of them.
            (None, None, None) => Standing::Pack(Pack::new(Vec::new(), Vec::new())),
        })
    }

    fn read(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, D::Error> {
        let Some(bytes) = self.source.document(descriptor)? else { return Ok(None) };
        let left = self.left.checked_sub(bytes.len());
        self.left = left.ok_or_else(|| self.source.refused(&self.root, Refusal::Large))?;
        match Digest::of(&bytes) {
            got if got == descriptor.digest => Ok(Some(bytes)),
            got => Err(self.source.refused(descriptor, Refusal::Digest { got, want: descriptor.digest })),
        }
    }

    fn named(&mut self, descriptor: &Descriptor, of: Option<Digest>) -> Result<Part, D::Error> {
        let Some(bytes) = self.read(descriptor)? else {
            return match of {
                Some(_) => Ok(Part::Absent),
                None => Err(self.source.refused(descriptor, Refusal::Absent { of })),
            };
        };
        let document = Document::of(descriptor, bytes);
        let document = document.map_err(|error| self.source.refused(descriptor, error.into()))?;
        self.enter(descriptor, document)
    }

    fn enter(&mut self, descriptor: &Descriptor, document: Document) -> Result<Part, D::Error> {
        let manifest = match document {
            Document::Index(index) => return self.index(descriptor, index),
            Document::Manifest(manifest) => manifest,
        };
        let kind = Kind::of(descriptor, manifest.value());
        if self.follow.join {
            return self.joined(descriptor, kind, manifest);
        }
        let Manifest { config, layers, .. } = manifest.value();
        let part = |part: Part, descriptor: &Descriptor| {
            Step::Part(Node { descriptor: descriptor.clone(), of: Some(manifest.digest()), part })
        };
        self.next.extend(layers.iter().rev().map(|layer| part(Part::Layer, layer)));
        self.next.push(part(Part::Config, config));
        Ok(Part::Manifest(Box::new(manifest), kind))
    }

    fn index(&mut self, descriptor: &Descriptor, index: Sealed<Index>) -> Result<Part, D::Error> {
        let got = index.value().manifests.len();
        if got > MAX_MANIFESTS {
            return Err(self.source.refused(descriptor, Refusal::Wide { got }));
        }
        let children = self.follow.only.take().unwrap_or_else(|| index.value().manifests.clone());
        let step = |child: Descriptor| match child.is_manifest() {
            true => Step::Named(child, Some(index.digest())),
            false => Step::Part(Node { descriptor: child, of: Some(index.digest()), part: Part::Other }),
        };
        self.next.extend(children.into_iter().rev().map(step));
        Ok(Part::Index(Box::new(index)))
    }

    fn joined(&mut self, of: &Descriptor, kind: Kind, manifest: Sealed<Manifest>) -> Result<Part, D::Error> {
        let source = self.source;
        let descriptor = manifest.value().config.clone();
        let absent = Refusal::Absent { of: Some(manifest.digest()) };
        let bytes = self.read(&descriptor)?.ok_or_else(|| source.refused(&descriptor, absent))?;
        if kind == Kind::Image {
            match Sealed::<ImageConfig>::parse("config", bytes.clone()) {
                Ok(config) => {
                    let image = Image::join(manifest, config).map_err(|error| source.refused(of, error.into()))?;
                    return Ok(Part::Image(Box::new(image)));
                }
                // It is one to other programs: that is why it is none here.
                Err(error @ DocumentError::Ambiguous { .. }) => return Err(source.refused(&descriptor, error.into())),
                // One that borrows the media type, as signatures do.
                Err(_) => {}
            }
        }
        let config = Sealed::parse("config", bytes).map_err(|error| source.refused(&descriptor, error.into()))?;
        Ok(Part::Artifact(Box::new(Artifact { manifest, config })))
    }
}

impl<D: Documents + ?Sized> Iterator for Walk<'_, D> {
    type Item = Result<Node, Unread<D::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (descriptor, of, part) = match self.next.pop()? {
                Step::Part(node) => return Some(Ok(node)),
                Step::Read(document) => {
                    let descriptor = self.root.clone();
                    let part = self.enter(&descriptor, *document);
                    (descriptor, None, part)
                }
                Step::Named(descriptor, of) if of.is_none() || (self.follow.when)(&descriptor) => {
                    let part = self.named(&descriptor, of);
                    (descriptor, of, part)
                }
                Step::Named(..) => continue,
            };
            return Some(match part {
                Ok(part) => Ok(Node { descriptor, of, part }),
                Err(error) => Err(Unread { descriptor, error }),
            });
        }
    }
}

/// What a name stands for, or an entry of an index.
#[derive(Debug)]
pub enum Standing {
    /// Images.
    Pack(Pack),
    /// No image.
    Artifact(Box<Artifact>),
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
