//! `index.json`: which names there are, and which manifest each stands for.

use std::collections::BTreeMap;

use hone_image::oci::{Descriptor, Index};
use hone_image::{Reference, document, media};

use crate::files::{self, Lock};
use crate::{Store, StoreError};

/// The index under the names lock: what is changed through it was read under the same lock.
pub(crate) struct Names<'a> {
    store: &'a Store,
    index: Index,
    _lock: Lock,
}

impl Store {
    /// Every name, sorted, with a descriptor of its manifest.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn references(&self) -> Result<BTreeMap<Reference, Descriptor>, StoreError> {
        let index = self.index()?;
        Ok(index.manifests.into_iter().filter_map(|d| Some((name_of(&d)?, d))).collect())
    }

    pub(crate) fn index(&self) -> Result<Index, StoreError> {
        let path = self.root.join("index.json");
        match files::read(&path)? {
            None => Ok(Index::new(Vec::new())),
            Some(bytes) => match document::index(Some(media::INDEX), bytes) {
                Ok(index) => Ok(index.value().clone()),
                Err(source) => Err(StoreError::Parse { path, source }),
            },
        }
    }

    pub(crate) fn names(&self) -> Result<Names<'_>, StoreError> {
        let lock = self.lock()?;
        Ok(Names { store: self, index: self.index()?, _lock: lock })
    }
}

impl Names<'_> {
    pub(crate) fn get(&self, reference: &Reference) -> Option<&Descriptor> {
        self.index.manifests.iter().find(|d| name_of(d).as_ref() == Some(reference))
    }

    /// Points `reference` at a manifest; what it stood for before loses the name.
    pub(crate) fn set(&mut self, reference: &Reference, mut manifest: Descriptor) -> Result<(), StoreError> {
        manifest.annotations.insert(media::REF_NAME.to_owned(), reference.to_string());
        if self.get(reference) == Some(&manifest) {
            return Ok(());
        }
        self.index.manifests.retain(|d| name_of(d).as_ref() != Some(reference));
        self.index.manifests.push(manifest);
        self.index.manifests.sort_by_key(|d| d.annotations.get(media::REF_NAME).cloned());
        self.write()
    }

    /// Adds an entry without a name, once.
    pub(crate) fn add_unnamed(&mut self, manifest: Descriptor) -> Result<(), StoreError> {
        if self.index.manifests.contains(&manifest) {
            return Ok(());
        }
        self.index.manifests.push(manifest);
        self.write()
    }

    /// Keeps the entries that `keep` says yes to.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Descriptor) -> bool) -> Result<(), StoreError> {
        let before = self.index.manifests.len();
        self.index.manifests.retain(keep);
        if self.index.manifests.len() == before { Ok(()) } else { self.write() }
    }

    pub(crate) fn entries(&self) -> &[Descriptor] {
        &self.index.manifests
    }

    /// Removes a name; `false` when there was none.
    pub(crate) fn unset(&mut self, reference: &Reference) -> Result<bool, StoreError> {
        let before = self.index.manifests.len();
        self.index.manifests.retain(|d| name_of(d).as_ref() != Some(reference));
        if self.index.manifests.len() == before {
            return Ok(false);
        }
        self.write().map(|()| true)
    }

    fn write(&self) -> Result<(), StoreError> {
        files::replace_json(&self.store.root.join("index.json"), &self.index, &self.store.tmp())
    }
}

fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    descriptor.annotations.get(media::REF_NAME)?.parse().ok()
}
