//! `index.json`: which names there are, and which manifest each stands for.
//!
//! Other tools write here, too. What they wrote is kept as it is, whatever it is: an entry is changed only where its name
//! is, and one that cannot be read is passed over, said, and left in its place.

use std::collections::BTreeMap;

use hone_contract::{Reference, quoted};
use hone_image::oci::{self, Descriptor};
use hone_image::{document, media};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::files::{self, Lock};
use crate::{Store, StoreError};

/// The file, with all that is in it.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    #[serde(deserialize_with = "oci::empty_when_null")]
    manifests: Vec<Entry>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// One entry, as it was written and as far as it is understood.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub(crate) struct Entry {
    written: Value,
    descriptor: Option<Descriptor>,
}

impl From<Value> for Entry {
    fn from(written: Value) -> Self {
        let descriptor = Descriptor::deserialize(&written).ok();
        Self { written, descriptor }
    }
}

impl From<Entry> for Value {
    fn from(entry: Entry) -> Self {
        entry.written
    }
}

impl Entry {
    fn new(descriptor: Descriptor) -> Result<Self, serde_json::Error> {
        Ok(Self { written: serde_json::to_value(&descriptor)?, descriptor: Some(descriptor) })
    }

    /// What it describes, when that can be read.
    pub(crate) fn descriptor(&self) -> Option<&Descriptor> {
        self.descriptor.as_ref()
    }

    /// As it is written.
    pub(crate) fn written(&self) -> &Value {
        &self.written
    }

    /// What to call it in a message.
    pub(crate) fn called(&self) -> String {
        match self.written.pointer("/annotations").and_then(|all| all.get(media::REF_NAME)).and_then(Value::as_str) {
            Some(name) => format!("image {}", quoted(name)),
            None => format!("an entry of index.json ({})", quoted(&self.written.to_string()).at_most(100)),
        }
    }

    fn is(&self, reference: &Reference) -> bool {
        self.descriptor().and_then(name_of).as_ref() == Some(reference)
    }
}

/// The index under the names lock: what is changed through it was read under the same lock.
pub(crate) struct Names<'a> {
    store: &'a Store,
    index: Document,
    _lock: Lock,
}

impl Store {
    /// Every name, sorted, with a descriptor of its manifest. What cannot be read is passed over ([`Store::problems`]).
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn references(&self) -> Result<BTreeMap<Reference, Descriptor>, StoreError> {
        Ok(self.descriptors()?.into_iter().filter_map(|d| Some((name_of(&d)?, d))).collect())
    }

    /// Every entry that can be read.
    pub(crate) fn descriptors(&self) -> Result<Vec<Descriptor>, StoreError> {
        let entries = self.index()?.manifests;
        for bad in entries.iter().filter(|entry| entry.descriptor.is_none()) {
            self.notice(bad.called(), "its entry in index.json is no descriptor of an image");
        }
        Ok(entries.into_iter().filter_map(|entry| entry.descriptor).collect())
    }

    fn index(&self) -> Result<Document, StoreError> {
        let path = self.root.join("index.json");
        let Some(bytes) = files::read(&path)? else {
            let rest = [("schemaVersion", Value::from(2)), ("mediaType", Value::from(media::INDEX))];
            let rest = rest.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            return Ok(Document { manifests: Vec::new(), rest });
        };
        document::shaped_as_index(&bytes).map_err(|source| StoreError::Parse { path: path.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|error| StoreError::Record { path, why: error.to_string() })
    }

    pub(crate) fn names(&self) -> Result<Names<'_>, StoreError> {
        let lock = self.lock()?;
        Ok(Names { store: self, index: self.index()?, _lock: lock })
    }
}

impl Names<'_> {
    pub(crate) fn get(&self, reference: &Reference) -> Option<&Descriptor> {
        self.index.manifests.iter().find(|entry| entry.is(reference))?.descriptor()
    }

    /// Points `reference` at what a person wants it to stand for. The name of a version stands for that version as long
    /// as there is one: what is promoted is what runs.
    pub(crate) fn give(&mut self, reference: &Reference, manifest: Descriptor) -> Result<(), StoreError> {
        if let Some(version) = self.store.version(reference)?
            && !self.store.is_version(&manifest, &version)
        {
            let why = format!(
                "it is the name of version {} of {}; give another tag, or remove that version first with `hone rm \
                 {reference}`",
                version.number, version.lineage
            );
            return Err(StoreError::Refused { op: "name an image", reference: reference.clone(), why });
        }
        self.set(reference, manifest)
    }

    /// Points `reference` at a manifest; what it stood for before loses the name.
    pub(crate) fn set(&mut self, reference: &Reference, mut manifest: Descriptor) -> Result<(), StoreError> {
        manifest.annotations.insert(media::REF_NAME.to_owned(), reference.to_string());
        if self.get(reference) == Some(&manifest) {
            return Ok(());
        }
        self.index.manifests.retain(|entry| !entry.is(reference));
        self.push(manifest)?;
        let name = |entry: &Entry| entry.descriptor()?.annotations.get(media::REF_NAME).cloned();
        self.index.manifests.sort_by_key(name);
        self.write()
    }

    /// Adds an entry without a name, once.
    pub(crate) fn add_unnamed(&mut self, manifest: Descriptor) -> Result<(), StoreError> {
        if self.index.manifests.iter().any(|entry| entry.descriptor() == Some(&manifest)) {
            return Ok(());
        }
        self.push(manifest)?;
        self.write()
    }

    fn push(&mut self, manifest: Descriptor) -> Result<(), StoreError> {
        let record = |e: serde_json::Error| StoreError::Record { path: self.path(), why: e.to_string() };
        let entry = Entry::new(manifest).map_err(record)?;
        self.index.manifests.push(entry);
        Ok(())
    }

    /// Keeps the entries that `keep` says yes to, and those that cannot be read.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Descriptor) -> bool) -> Result<(), StoreError> {
        let before = self.index.manifests.len();
        self.index.manifests.retain(|entry| entry.descriptor().is_none_or(&keep));
        if self.index.manifests.len() == before { Ok(()) } else { self.write() }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.index.manifests
    }

    /// Removes a name; `false` when there was none.
    pub(crate) fn unset(&mut self, reference: &Reference) -> Result<bool, StoreError> {
        let before = self.index.manifests.len();
        self.index.manifests.retain(|entry| !entry.is(reference));
        if self.index.manifests.len() == before {
            return Ok(false);
        }
        self.write().map(|()| true)
    }

    fn write(&self) -> Result<(), StoreError> {
        files::replace_json(&self.path(), &self.index, &self.store.tmp())
    }

    fn path(&self) -> std::path::PathBuf {
        self.store.root.join("index.json")
    }
}

fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    descriptor.annotations.get(media::REF_NAME)?.parse().ok()
}
