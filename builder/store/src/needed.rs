//! Which blobs the names, the versions and the unfinished commits of a store need.
//!
//! What cannot be read stops nothing else. A document or record that is damaged is searched for digests, and every blob
//! that it mentions is kept, with what those mention: it may be mended, or read by another release. Where nobody can tell
//! what something needs, since the disk or the system refuses to give it, nothing may be removed at all.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;

use hone_contract::run::{OUTCOME_FILE, Outcome};
use hone_contract::{Digest, chain, quoted};
use hone_files::open_regular;
use hone_image::oci::{Descriptor, MAX_DOCUMENT_BYTES, Manifest, Sealed};
use hone_image::walk::{Follow, Node, Part, Unread, Walk};
use serde::de::DeserializeOwned;

use crate::index::Entry;
use crate::versions::VersionRecord;
use crate::{Store, StoreError, files};

/// What every digest in a document begins with.
const ALGORITHM: &[u8] = b"sha256:";
/// Hex digits of a digest.
const DIGITS: usize = 64;

/// Names of files in `blobs/`.
#[derive(Debug)]
pub(crate) struct Needed<'s> {
    store: &'s Store,
    blobs: HashSet<String>,
    /// What is mentioned by something that is damaged.
    mentioned: HashSet<String>,
    seen: HashSet<Digest>,
    unknown: bool,
    /// A document is not there: nobody can tell what it named.
    absent: bool,
}

impl Store {
    /// The first blob that something is made of and that is not there.
    pub(crate) fn absent(&self, root: &Descriptor) -> Result<Option<Digest>, StoreError> {
        if !self.has(root.digest, root.size) {
            return Ok(Some(root.digest));
        }
        if !is_document(root) {
            return Ok(None);
        }
        for node in Walk::of(self, root.clone(), Follow::named()).strict() {
            let Node { descriptor, part, .. } = node?;
            let needed = matches!(part, Part::Manifest(..) | Part::Config | Part::Layer);
            // How large the root is, its own entry says.
            if needed && descriptor.digest != root.digest && !self.has(descriptor.digest, descriptor.size) {
                return Ok(Some(descriptor.digest));
            }
        }
        Ok(None)
    }
}

pub(crate) fn is_document(descriptor: &Descriptor) -> bool {
    descriptor.is_manifest() || descriptor.is_index()
}

impl<'s> Needed<'s> {
    /// Looks at everything; and which entries without a name are about nothing any more.
    pub(crate) fn of(store: &'s Store, entries: &[Entry]) -> Result<(Self, HashSet<Digest>), StoreError> {
        let (blobs, mentioned, seen) = Default::default();
        let mut needed = Self { store, blobs, mentioned, seen, unknown: false, absent: false };
        for entry in entries {
            match entry.descriptor() {
                Some(descriptor) if is_named(descriptor) => needed.entry(&entry.called(), descriptor),
                Some(_) => {}
                None => {
                    needed.damaged(&entry.called(), "it is no descriptor of an image", &entry.written().to_string())
                }
            }
        }
        needed.versions()?;
        needed.staging()?;
        let nameless = entries.iter().filter_map(Entry::descriptor).filter(|d| !is_named(d));
        let orphans = needed.statements(nameless);
        Ok((needed, orphans))
    }

    pub(crate) fn contains(&self, hex: &str) -> bool {
        self.blobs.contains(hex) || self.mentioned.contains(hex)
    }

    /// How many of these are there only because something damaged mentions them.
    pub(crate) fn kept(&self, files: &[String]) -> u64 {
        files.iter().filter(|hex| !self.blobs.contains(*hex) && self.mentioned.contains(*hex)).count() as u64
    }

    /// Whether nobody can tell what is needed.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    fn entry(&mut self, what: &str, descriptor: &Descriptor) {
        self.blobs.insert(descriptor.digest.hex());
        if is_document(descriptor) {
            self.document(what, descriptor);
        }
    }

    /// A document, and all that it names.
    fn document(&mut self, what: &str, root: &Descriptor) {
        self.blobs.insert(root.digest.hex());
        let mut seen = std::mem::take(&mut self.seen);
        if seen.insert(root.digest) {
            let store = self.store;
            for found in Walk::of(store, root.clone(), Follow::named().when(|d| seen.insert(d.digest))) {
                match found {
                    // What is elsewhere, or is no manifest, is nothing that anybody reads here.
                    Ok(Node { part: Part::Absent | Part::Other, .. }) => {}
                    Ok(node) => drop(self.blobs.insert(node.descriptor.digest.hex())),
                    Err(Unread { descriptor, error }) => {
                        self.blobs.insert(descriptor.digest.hex());
                        self.unread(what, &error, &store.blob_path(descriptor.digest));
                    }
                }
            }
        }
        self.seen = seen;
    }

    /// Statements go with what they are about, and with the statement that they are about.
    fn statements<'d>(&mut self, nameless: impl Iterator<Item = &'d Descriptor>) -> HashSet<Digest> {
        let (mut waiting, mut orphans) = (Vec::new(), HashSet::new());
        for descriptor in nameless {
            let what = format!("statement {}", descriptor.digest);
            if !is_document(descriptor) {
                self.blobs.insert(descriptor.digest.hex());
                continue;
            }
            let subject = |manifest: Sealed<Manifest>| manifest.value().subject.as_ref().map(|s| s.digest);
            match self.store.manifest(descriptor).map(subject) {
                Ok(Some(subject)) => waiting.push((descriptor, subject)),
                Err(StoreError::NoBlob(_)) => drop(orphans.insert(descriptor.digest)),
                _ => self.document(&what, descriptor),
            }
        }
        loop {
            let (found, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, of)| self.contains(&of.hex()));
            waiting = left;
            if found.is_empty() && self.absent {
                // They may be about a manifest of the index that is not there.
                waiting.into_iter().for_each(|(d, _)| self.document(&format!("statement {}", d.digest), d));
                return orphans;
            }
            if found.is_empty() {
                orphans.extend(waiting.iter().map(|(descriptor, _)| descriptor.digest));
                return orphans;
            }
            for (descriptor, _) in found {
                self.document(&format!("statement {}", descriptor.digest), descriptor);
            }
        }
    }

    /// Every record in `lineages/`, whatever its directory is called.
    fn versions(&mut self) -> Result<(), StoreError> {
        let lineages = self.store.root.join("lineages");
        for lineage in files::names(&lineages)? {
            let dir = lineages.join(&lineage);
            for name in files::names(&dir)? {
                let number = name.strip_suffix(".json").filter(|n| n.parse::<u64>().is_ok());
                let Some(number) = number else { continue };
                let what = format!("version {number} of {}", quoted(&lineage.replace('+', "/")));
                if let Some(version) = self.record::<VersionRecord>(&what, &dir.join(&name)) {
                    self.blobs.extend([version.config.digest, version.layer.digest].map(|digest| digest.hex()));
                    // Whole, whether or not it has its name: a commit may have been killed before it gave that.
                    if let Some(manifest) = version.manifest {
                        self.document(&what, &Descriptor::of("", manifest, 0));
                    }
                }
            }
        }
        Ok(())
    }

    /// The layer of a run that was sealed and is not committed yet.
    fn staging(&mut self) -> Result<(), StoreError> {
        let dir = self.store.root.join("staging");
        for id in files::names(&dir)? {
            let what = format!("the commit of run {}", quoted(&id));
            if let Some(Outcome::Sealed { layer }) = self.record(&what, &dir.join(&id).join(OUTCOME_FILE)) {
                self.blobs.insert(layer.hex());
            }
        }
        Ok(())
    }

    fn record<T: DeserializeOwned>(&mut self, what: &str, path: &Path) -> Option<T> {
        match files::read_json(path) {
            Ok(record) => record,
            Err(error) => {
                self.unread(what, &error, path);
                None
            }
        }
    }

    /// What cannot be read is in the file `path`.
    fn unread(&mut self, what: &str, error: &StoreError, path: &Path) {
        let why = chain(error);
        match error {
            StoreError::NoBlob(_) => {
                self.absent = true;
                let then = "build or pull it again, or take its name away with `hone rm`";
                self.store.notice(what, format!("{why}; {then}"));
            }
            StoreError::Io { .. } | StoreError::Denied { .. } | StoreError::Full { .. } => {
                self.no_telling(what, &why)
            }
            _ => match beginning(path) {
                Ok(bytes) => self.damaged(what, &why, &String::from_utf8_lossy(&bytes)),
                Err(error) => self.no_telling(what, &error.to_string()),
            },
        }
    }

    fn no_telling(&mut self, what: &str, why: &str) {
        self.unknown = true;
        self.store.notice(what, format!("{why}; nobody can tell what it needs, so nothing was removed"));
    }

    /// Keeps what a damaged text mentions.
    fn damaged(&mut self, what: &str, why: &str, text: &str) {
        let (mut left, mut kept) = (mentions(text.as_bytes()), 0);
        while let Some(hex) = left.pop() {
            let path = self.store.blobs().join(&hex);
            if path.is_file() && self.mentioned.insert(hex) {
                kept += 1;
                // Only a document mentions others. What cannot be read here is kept all the same.
                let bytes = beginning(&path).unwrap_or_default();
                if bytes.first() == Some(&b'{') {
                    left.extend(mentions(&bytes));
                }
            }
        }
        self.store.notice(what, format!("{why}; {kept} blobs that it mentions are kept"));
    }
}

fn is_named(descriptor: &Descriptor) -> bool {
    descriptor.annotations.contains_key(hone_image::media::REF_NAME)
}

/// As much of a file as a document may have.
fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The digests in a text, as hex digits.
fn mentions(bytes: &[u8]) -> Vec<String> {
    let digits = |at: usize| bytes.get(at..at + DIGITS).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
    let found = bytes.windows(ALGORITHM.len()).enumerate().filter(|(_, window)| *window == ALGORITHM);
    let found = found.filter_map(|(at, _)| digits(at + ALGORITHM.len()));
    found.map(|digits| String::from_utf8_lossy(digits).to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_wherever_they_stand() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!("{{\"digest\":\"{a}\"\x00 broken {b}{a} sha256:short sha256:");
        assert_eq!(mentions(text.as_bytes()), [a.hex(), b.hex(), a.hex()]);
        assert!(mentions(b"sha256:").is_empty() && mentions(b"").is_empty());
    }
}
