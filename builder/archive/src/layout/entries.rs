//! What a layout holds: its images, and what is no image. Others write there, too: an entry that cannot be read takes no
//! other with it, and is said.

use std::collections::BTreeMap;
use std::path::Path;

use hone_contract::{Digest, Reference, quoted};
use hone_image::oci::Descriptor;
use hone_image::transport::called;
use hone_image::{Pack, document, media};
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
        for line in lines {
            let shown = line.shown();
            let descriptor = match &line.descriptor {
                Ok(descriptor) => descriptor,
                Err(why) => {
                    all.push(Entry::Unread(None, unread(shown, why)));
                    continue;
                }
            };
            if let Some(Entry::Image(names, _)) = images.get(&descriptor.digest).and_then(|n| all.get_mut(*n)) {
                names.extend(name_of(descriptor).filter(|name| !names.contains(name)));
                continue;
            }
            let entry = self.entry(descriptor, &shown).unwrap_or_else(|error| {
                Entry::Unread(Some(descriptor.digest), LayoutError::Entry { shown, source: Box::new(error) })
            });
            if let Entry::Image(..) = entry {
                images.insert(descriptor.digest, all.len());
            }
            all.push(entry);
        }
        all
    }

    fn entry(&self, descriptor: &Descriptor, shown: &str) -> Result<Entry, LayoutError> {
        let names = || name_of(descriptor).into_iter().collect();
        let other = |what: &str| {
            Ok(Entry::Other(descriptor.digest, format!("{shown}: {}, no image of containers", quoted(what))))
        };
        if descriptor.is_index() {
            let pack = self.store.pack_of(descriptor)?;
            return match pack.images() {
                [] => other("an index without images"),
                _ => Ok(Entry::Image(names(), Box::new(pack))),
            };
        }
        if !descriptor.is_manifest() {
            return other(&descriptor.media_type);
        }
        let manifest = self.store.manifest(descriptor)?;
        match &manifest.value().artifact_type {
            Some(kind) => other(kind),
            None if !manifest.value().is_image() => other(&manifest.value().config.media_type),
            None => Ok(Entry::Image(names(), Box::new(self.store.pack_of(descriptor)?))),
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
