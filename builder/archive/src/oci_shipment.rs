//! Images on their way out by manifest: names, documents, and blobs that are sent exactly as they are stored.
//!
//! One name may stand for an index whose manifests share layers; manifests that are no images (models, documents
//! about an image) are manifests as any other.

use std::collections::{BTreeMap, BTreeSet};

use hone_contract::{Digest, Reference};
use hone_image::oci::{Descriptor, Manifest, Sealed};
use hone_image::walk::{Documents, Follow, Kind, Node, Part, Refusal, Walk};
use hone_image::{Pack, media};

use crate::shipment::Open;

/// Where containerd, and podman, look for the whole name of an image.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// A blob, opened only when it is sent.
pub struct OciBlob<'a> {
    /// Digest and size of its bytes, as its manifest has them.
    pub descriptor: Descriptor,
    /// Opens the bytes, as stored.
    pub open: Open<'a>,
}

/// An index or a manifest, by itself or under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciRoot {
    /// The name it gets; what has none goes into archives, not into engines.
    pub reference: Option<Reference>,
    /// The document.
    pub descriptor: Descriptor,
}

/// Names, and everything that they lead to.
pub struct OciShipment<'a> {
    roots: Vec<(OciRoot, Vec<Digest>)>,
    documents: BTreeMap<Digest, Document>,
    blobs: BTreeMap<Digest, OciBlob<'a>>,
}

/// A shipment that does not hold what it names.
#[derive(Debug, thiserror::Error)]
pub enum ShipmentError {
    /// Something named was not given.
    #[error("ship {digest}: {of} names it, and it was not given")]
    Missing {
        /// What is missing.
        digest: Digest,
        /// A name or a digest.
        of: String,
    },
    /// A blob is not as long as a manifest says.
    #[error("ship {digest}: got {got} bytes, want {want}")]
    Size {
        /// Which.
        digest: Digest,
        /// As given.
        got: u64,
        /// As the manifest says.
        want: u64,
    },
    /// An index or manifest that is none.
    #[error("ship {digest}")]
    Document {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<Refusal>,
    },
}

struct Document {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    /// What it names.
    children: Vec<Descriptor>,
    image: Option<Sealed<Manifest>>,
}

/// The name of an entry: containerd's annotation holds all of it; `ref.name` may be a name or only a tag.
pub fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |key| descriptor.annotations.get(key).and_then(|text: &String| text.parse().ok());
    let tag_only = descriptor.annotations.get(media::REF_NAME).is_some_and(|text| !text.contains([':', '/']));
    annotation(IMAGE_NAME).or_else(|| annotation(media::REF_NAME).filter(|_| !tag_only))
}

impl<'a> OciShipment<'a> {
    /// Checks that `documents` and `blobs` hold all that `roots` lead to, but for manifests that an index names and
    /// nobody has. What no root leads to stays behind.
    ///
    /// # Errors
    /// When something is missing, is no document, or has another size than its manifest says.
    pub fn new(
        roots: Vec<OciRoot>,
        documents: impl IntoIterator<Item = Vec<u8>>,
        blobs: impl IntoIterator<Item = OciBlob<'a>>,
    ) -> Result<Self, ShipmentError> {
        let given: BTreeMap<Digest, Vec<u8>> = documents.into_iter().map(|b| (Digest::of(&b), b)).collect();
        let blobs = blobs.into_iter().map(|blob| (blob.descriptor.digest, blob)).collect();
        let mut shipment = Self { roots: Vec::new(), documents: BTreeMap::new(), blobs };
        for root in roots {
            let reach = shipment.walk(&root, &given)?;
            shipment.roots.push((root, reach));
        }
        Ok(shipment)
    }

    /// A pack under one name; a pack from which manifests are missing goes without them.
    ///
    /// # Errors
    /// When two manifests of the pack give one layer two sizes.
    pub fn pack(
        reference: &Reference,
        pack: &'a Pack,
        open: impl Fn(&'a Descriptor) -> Open<'a>,
    ) -> Result<Self, ShipmentError> {
        let root = OciRoot { reference: Some(reference.clone()), descriptor: pack.descriptor() };
        let documents = pack.documents().into_iter().map(|(_, bytes)| bytes.to_vec());
        let blob = |layer: &'a Descriptor| OciBlob { descriptor: layer.clone(), open: open(layer) };
        Self::new(vec![root], documents, pack.layers().into_iter().map(blob))
    }

    /// Everything that `root` leads to, each once: documents from above, then what they name.
    fn walk(&mut self, root: &OciRoot, given: &BTreeMap<Digest, Vec<u8>>) -> Result<Vec<Digest>, ShipmentError> {
        let (mut documents, mut parts, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for node in Walk::of(&Given(given), root.descriptor.clone(), Follow::named()).strict() {
            let Node { descriptor, of, part } = node?;
            let Descriptor { digest, size: want, .. } = descriptor;
            let (to, document) = match part {
                // An index may name manifests for other machines, which nobody has pulled.
                Part::Absent | Part::Other => continue,
                Part::Config | Part::Layer => {
                    let got = match (given.get(&digest), self.blobs.get(&digest)) {
                        (Some(bytes), _) => bytes.len() as u64,
                        (None, Some(blob)) => blob.descriptor.size,
                        (None, None) => return Err(ShipmentError::Missing { digest, of: named_by(of) }),
                    };
                    if got != want {
                        return Err(ShipmentError::Size { digest, got, want });
                    }
                    (&mut parts, given.get(&digest).map(|bytes| Document::part(descriptor, bytes)))
                }
                read => (&mut documents, Document::read(descriptor, read)),
            };
            if seen.insert(digest) {
                to.push(digest);
                self.documents.extend(document.map(|document| (digest, document)));
            }
        }
        Ok([documents, parts].concat())
    }

    /// The roots that go where names are needed, or all.
    pub fn roots(&self, named: bool) -> impl Iterator<Item = &OciRoot> {
        self.roots.iter().map(|(root, _)| root).filter(move |root| !named || root.reference.is_some())
    }

    /// What those roots lead to, each once: documents, then blobs.
    pub fn contents(&self, named: bool) -> (Vec<(Digest, &[u8])>, Vec<&OciBlob<'a>>) {
        let roots = self.roots.iter().filter(|(root, _)| !named || root.reference.is_some());
        let (mut documents, mut blobs, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for digest in roots.flat_map(|(_, reach)| reach).filter(|digest| seen.insert(**digest)) {
            match self.documents.get(digest) {
                Some(document) => documents.push((*digest, document.bytes.as_slice())),
                None => blobs.extend(self.blobs.get(digest)),
            }
        }
        (documents, blobs)
    }

    /// How a document is described, and what it names.
    pub fn document(&self, digest: Digest) -> Option<(&Descriptor, &[Descriptor])> {
        self.documents.get(&digest).map(|document| (&document.descriptor, document.children.as_slice()))
    }

    /// The manifest of the one image that all named roots are or hold; `None` when there are more, or none.
    pub fn only_image(&self) -> Option<&Manifest> {
        let named = self.roots.iter().filter(|(root, _)| root.reference.is_some());
        let images: BTreeMap<_, _> = named
            .flat_map(|(_, reach)| reach)
            .filter_map(|digest| Some((digest, self.documents.get(digest)?.image.as_ref()?)))
            .collect();
        match images.len() {
            1 => images.into_values().next().map(Sealed::value),
            _ => None,
        }
    }

    /// The first name, for messages.
    pub fn name(&self) -> String {
        let mut roots = self.roots.iter().map(|(root, _)| root);
        let first = roots.find_map(|root| root.reference.as_ref());
        first.map_or_else(|| "without a name".to_owned(), ToString::to_string)
    }
}

impl Document {
    /// A configuration or a layer that was given as a document.
    fn part(descriptor: Descriptor, bytes: &[u8]) -> Self {
        Self { descriptor, bytes: bytes.to_vec(), children: Vec::new(), image: None }
    }

    /// An index or a manifest; `None` when it is neither.
    fn read(descriptor: Descriptor, part: Part) -> Option<Self> {
        match part {
            Part::Index(index) => {
                let children = index.value().manifests.clone();
                Some(Self { descriptor, bytes: index.bytes().to_vec(), children, image: None })
            }
            Part::Manifest(manifest, kind) => {
                let Manifest { config, layers, .. } = manifest.value();
                let children = [std::slice::from_ref(config), layers].concat();
                let bytes = manifest.bytes().to_vec();
                Some(Self { descriptor, bytes, children, image: (kind == Kind::Image).then_some(*manifest) })
            }
            _ => None,
        }
    }
}

/// Who names it, in words.
pub(crate) fn named_by(of: Option<Digest>) -> String {
    of.map_or_else(|| "index.json".to_owned(), |digest| digest.to_string())
}

/// The documents that a shipment was given.
struct Given<'a>(&'a BTreeMap<Digest, Vec<u8>>);

impl Documents for Given<'_> {
    type Error = ShipmentError;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, ShipmentError> {
        let Some(bytes) = self.0.get(&descriptor.digest) else { return Ok(None) };
        match bytes.len() as u64 {
            got if got == descriptor.size => Ok(Some(bytes.clone())),
            got => Err(ShipmentError::Size { digest: descriptor.digest, got, want: descriptor.size }),
        }
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> ShipmentError {
        match why {
            Refusal::Absent { of } => ShipmentError::Missing { digest: descriptor.digest, of: named_by(of) },
            why => ShipmentError::Document { digest: descriptor.digest, source: why.into() },
        }
    }
}
