//! What a layout holds: its images, and what is no image.

use std::collections::BTreeMap;
use std::path::Path;

use hone_contract::quoted;
use hone_engines::name_of;
use hone_image::oci::{Descriptor, MAX_DOCUMENT_BYTES};
use hone_image::{Digest, Document, Pack, Reference, document, media};
use hone_store::Store;

use super::{INDEX, is_marked, small_file};
use crate::failure::{Failure, because};

/// Most names that a message lists.
const SHOWN: usize = 8;

/// A layout that is read.
pub struct Reading {
    store: Store,
    entries: Vec<Descriptor>,
}

/// A line of its index, or several that stand for one thing.
pub enum Entry {
    /// An image, or an index with one, under all its names.
    Image(Vec<Reference>, Box<Pack>),
    /// Something else, and what.
    Other(Digest, String),
}

impl Reading {
    /// Reads the names of the layout at `dir`.
    pub fn at(dir: &Path) -> Result<Self, Failure> {
        let reading = format!("read {}", dir.display());
        if !is_marked(dir).map_err(because(reading.as_str()))? {
            return Err(format!("{}: it is no OCI layout: there is no file oci-layout in it", dir.display()).into());
        }
        let index = dir.join(INDEX);
        let bytes = small_file(&index).map_err(because(format!("read {}", index.display())))?;
        let entries = match bytes {
            Some(bytes) => {
                document::index(Some(media::INDEX), bytes).map_err(because(reading))?.value().manifests.clone()
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
    pub fn chosen(&self, tag: Option<&str>) -> Result<Vec<Entry>, Failure> {
        let Some(tag) = tag else { return self.all(self.entries.iter()) };
        let whole = |d: &&Descriptor| ref_name(d) == Some(tag);
        let end = |d: &&Descriptor| ref_name(d).and_then(|name| name.rsplit_once(':')).is_some_and(|(_, t)| t == tag);
        let mut found: Vec<&Descriptor> = self.entries.iter().filter(whole).collect();
        if found.is_empty() {
            found = self.entries.iter().filter(end).collect();
        }
        match self.all(found.iter().copied())? {
            one if one.len() == 1 => Ok(one),
            others => {
                Err(format!("want one image with the tag {tag}, got {}; {}", others.len(), self.names()).into())
            }
        }
    }

    /// What its index calls exactly so.
    pub fn named(&self, name: &str) -> Option<&Descriptor> {
        self.entries.iter().find(|d| ref_name(d) == Some(name))
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Which names there are, for a message.
    pub fn names(&self) -> String {
        listed(
            self.entries.iter().filter_map(ref_name).map(|name| quoted(name).to_string()),
            "its images have no names",
        )
    }

    fn all<'d>(&self, entries: impl Iterator<Item = &'d Descriptor>) -> Result<Vec<Entry>, Failure> {
        let mut all = Vec::new();
        let mut images: BTreeMap<Digest, usize> = BTreeMap::new();
        for descriptor in entries {
            if let Some(Entry::Image(names, _)) = images.get(&descriptor.digest).and_then(|n| all.get_mut(*n)) {
                names.extend(name_of(descriptor).filter(|name| !names.contains(name)));
                continue;
            }
            let shown = ref_name(descriptor).map_or(descriptor.digest.to_string(), |name| quoted(name).to_string());
            let entry = self.entry(descriptor, &shown).map_err(because(shown.clone()))?;
            if let Entry::Image(..) = entry {
                images.insert(descriptor.digest, all.len());
            }
            all.push(entry);
        }
        Ok(all)
    }

    fn entry(&self, descriptor: &Descriptor, shown: &str) -> Result<Entry, Failure> {
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
        let bytes = self.store.read_blob(descriptor.digest, MAX_DOCUMENT_BYTES)?;
        let Document::Manifest(manifest) = Document::of(descriptor, bytes)? else {
            return other(&descriptor.media_type);
        };
        match &manifest.value().artifact_type {
            Some(kind) => other(kind),
            None if !manifest.value().is_image() => other(&manifest.value().config.media_type),
            None => Ok(Entry::Image(names(), Box::new(self.store.pack_of(descriptor)?))),
        }
    }
}

/// What a layout calls an entry.
fn ref_name(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(media::REF_NAME).map(String::as_str)
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
