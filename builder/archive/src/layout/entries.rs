//! What a layout holds: its images, and what is no image. Others write there, too: an entry that cannot be read takes no
//! other with it, and is said.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hone_contract::{Digest, Reference, quoted};
use hone_image::document::{self, Document};
use hone_image::oci::Descriptor;
use hone_image::transport::called;
use hone_image::walk::{Documents, Follow, MAX_BYTES, Refusal, Standing, Walk};
use hone_image::{Pack, media};
use hone_store::Store;
use serde::Deserialize;
use serde_json::Value;

use super::{INDEX, LayoutError, is_marked, small_file};
use crate::oci_shipment::name_of;

/// Most names that a message lists.
const SHOWN: usize = 8;
/// Most characters of an entry that is shown in the place of a name.
const MAX_SHOWN: usize = 100;

/// A layout that is read.
pub struct Layout {
    store: Store,
    entries: Vec<Line>,
}

/// The index, as far as it is the same everywhere.
#[derive(Deserialize)]
struct Lines {
    manifests: Vec<Value>,
}

/// A line of its index, as it was written, and what it describes, or why that cannot be read.
struct Line {
    written: Value,
    descriptor: Result<Descriptor, String>,
}

impl From<Value> for Line {
    fn from(written: Value) -> Self {
        let descriptor = Descriptor::deserialize(&written).map_err(|error| error.to_string());
        Self { written, descriptor }
    }
}

impl Line {
    /// What the layout calls it.
    fn name(&self) -> Option<&str> {
        self.written.get("annotations")?.get(media::REF_NAME)?.as_str()
    }

    /// What to call it in a message.
    fn shown(&self) -> String {
        match (self.name(), &self.descriptor) {
            (Some(name), _) => quoted(name).to_string(),
            (None, Ok(descriptor)) => descriptor.digest.to_string(),
            (None, Err(_)) => quoted(&self.written.to_string()).at_most(MAX_SHOWN).to_string(),
        }
    }
}

/// A line of its index, or several that stand for one thing.
pub enum Entry {
    /// An image, or an index with one, under all its names.
    Image(Vec<Reference>, Box<Pack>),
    /// Something else, and what.
    Other(Digest, String),
    /// What cannot be read, and why.
    Unread(Option<Digest>, LayoutError),
}

/// What is no image, and is not read again for the next line that names it.
#[derive(Clone)]
enum Seen {
    Other(String),
    Unread(Arc<LayoutError>),
}

impl From<LayoutError> for Seen {
    fn from(error: LayoutError) -> Self {
        Self::Unread(Arc::new(error))
    }
}

/// The documents of a layout, of which so much is read for all lines together as elsewhere for one root.
struct Bounded<'s> {
    store: &'s Store,
    left: Cell<usize>,
}

impl Documents for Bounded<'_> {
    type Error = LayoutError;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, LayoutError> {
        let left = self.left.take();
        if left == 0 {
            return Err(LayoutError::Large);
        }
        let bytes = self.store.document(descriptor)?;
        self.left.set(left.saturating_sub(bytes.as_ref().map_or(0, Vec::len)));
        match self.left.get() {
            0 => Err(LayoutError::Large),
            _ => Ok(bytes),
        }
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> LayoutError {
        self.store.refused(descriptor, why).into()
    }
}

impl Layout {
    /// Reads the names of the layout at `dir`.
    ///
    /// # Errors
    /// When there is none, or its index is none.
    pub fn at(dir: &Path) -> Result<Self, LayoutError> {
        if !is_marked(dir).map_err(LayoutError::at("read", dir))? {
            return Err(LayoutError::Unmarked(dir.to_owned()));
        }
        let index = dir.join(INDEX);
        let entries = match small_file(&index).map_err(LayoutError::at("read", &index))? {
            Some(bytes) => {
                let path = dir.to_owned();
                document::shaped_as_index(&bytes)
                    .map_err(|source| LayoutError::Index { path: path.clone(), source })?;
                let lines: Lines =
                    serde_json::from_slice(&bytes).map_err(|source| LayoutError::List { path, source })?;
                lines.manifests.into_iter().map(Line::from).collect()
            }
            None => Vec::new(),
        };
        Ok(Self { store: Store::at(dir), entries })
    }

    /// Where its blobs are.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What has this name, or all.
    ///
    /// # Errors
    /// When not one has it.
    pub fn chosen(&self, tag: Option<&str>) -> Result<Vec<Entry>, LayoutError> {
        let Some(tag) = tag else { return Ok(self.all(self.entries.iter())) };
        match self.all(called(&self.entries, tag, Line::name).into_iter()) {
            one if one.len() == 1 => Ok(one),
            others => Err(LayoutError::Tag { tag: tag.to_owned(), got: others.len(), names: self.names() }),
        }
    }

    /// What its index calls exactly so.
    ///
    /// # Errors
    /// When the line cannot be read.
    pub fn named(&self, name: &str) -> Result<Option<&Descriptor>, LayoutError> {
        let Some(line) = self.entries.iter().find(|line| line.name() == Some(name)) else { return Ok(None) };
        match &line.descriptor {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(why) => Err(unread(line.shown(), why)),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Which names there are, for a message.
    pub fn names(&self) -> String {
        listed(
            self.entries.iter().filter_map(Line::name).map(|name| quoted(name).to_string()),
            "its images have no names",
        )
    }

    fn all<'d>(&self, lines: impl Iterator<Item = &'d Line>) -> Vec<Entry> {
        let mut all = Vec::new();
        let mut images: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut others: BTreeMap<(Digest, &str), Seen> = BTreeMap::new();
        let documents = Bounded { store: &self.store, left: Cell::new(MAX_BYTES) };
        for line in lines {
            let shown = line.shown();
            let descriptor = match &line.descriptor {
                Ok(descriptor) => descriptor,
                Err(why) => {
                    all.push(Entry::Unread(None, unread(shown, why)));
                    continue;
                }
            };
            let digest = descriptor.digest;
            if let Some(Entry::Image(names, _)) = images.get(&digest).and_then(|n| all.get_mut(*n)) {
                names.extend(name_of(descriptor).filter(|name| !names.contains(name)));
                continue;
            }
            // The same bytes may be described as something else.
            let key = (digest, descriptor.media_type.as_str());
            let seen = match others.get(&key).cloned().map_or_else(|| self.read(&documents, descriptor), Err) {
                Ok(pack) => {
                    images.insert(digest, all.len());
                    all.push(Entry::Image(name_of(descriptor).into_iter().collect(), pack));
                    continue;
                }
                Err(seen) => seen,
            };
            all.push(match seen.clone() {
                Seen::Other(what) => {
                    Entry::Other(digest, format!("{shown}: {}, no image of containers", quoted(&what)))
                }
                Seen::Unread(source) => Entry::Unread(Some(digest), LayoutError::Entry { shown, source }),
            });
            others.insert(key, seen);
        }
        all
    }

    /// The image that a line names, or what is in its place.
    fn read(&self, documents: &Bounded<'_>, descriptor: &Descriptor) -> Result<Box<Pack>, Seen> {
        if !descriptor.is_index() && !descriptor.is_manifest() {
            return Err(Seen::Other(descriptor.media_type.clone()));
        }
        let absent = || documents.refused(descriptor, Refusal::Absent { of: None });
        let bytes = documents.document(descriptor)?.ok_or_else(absent)?;
        let root = Document::of(descriptor, bytes);
        let root = root.map_err(|error| documents.refused(descriptor, error.into()))?;
        if let Document::Manifest(manifest) = &root {
            let manifest = manifest.value();
            let other = manifest.artifact_type.as_ref();
            if let Some(kind) = other.or((!manifest.is_image()).then_some(&manifest.config.media_type)) {
                return Err(Seen::Other(kind.clone()));
            }
        }
        // One of another size than its entry says is not what the entry means.
        let follow = Follow::joined().when(|manifest| self.store.has(manifest.digest, manifest.size));
        match Walk::from(documents, root, follow).stands_for()? {
            Standing::Pack(pack) if pack.images().is_empty() => {
                Err(Seen::Other("an index without images".to_owned()))
            }
            Standing::Pack(pack) => Ok(Box::new(pack)),
            Standing::Artifact(artifact) => Err(Seen::Other(artifact.manifest.value().config.media_type.clone())),
        }
    }
}

/// Says that an entry is none that can be read.
fn unread(shown: String, why: &str) -> LayoutError {
    LayoutError::Line { shown, why: why.to_owned() }
}

/// The first of several words, and how many more there are.
pub fn listed(words: impl Iterator<Item = String>, none: &str) -> String {
    let words: Vec<String> = words.collect();
    let shown = words[..words.len().min(SHOWN)].join(", ");
    match words.len() {
        0 => none.to_owned(),
        n if n > SHOWN => format!("it has {shown} and {} more", n - SHOWN),
        _ => format!("it has {shown}"),
    }
}
