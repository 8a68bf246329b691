//! Versions: one immutable record each, and one small state file a lineage.
//!
//! A lineage is the base's reference, and every version of it names that base's configuration. Numbers are given
//! out once: a removed version leaves its number behind.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hone_contract::{Digest, Reference, chain};
use hone_image::image::VersionOf;
use hone_image::oci::{Descriptor, ImageConfig, Sealed};
use hone_image::{Layer, Pack};
use serde::{Deserialize, Serialize};

use crate::index::Names;
use crate::{Ingest, Store, StoreError, files};

/// The form of the records this code writes.
const RECORD: u32 = 1;
/// Names that something else has are passed over; so many are not a person's.
const MOST_TAKEN: u64 = 10_000;

/// A version, as recorded when it was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// Form of this record.
    pub record: u32,
    /// The lineage: the base's reference.
    pub lineage: Reference,
    /// Number in the lineage, from 1.
    pub number: u64,
    /// The version's own reference.
    pub reference: Reference,
    /// Its configuration.
    pub config: Descriptor,
    /// What its name points at; absent when the base is only in an engine, where no manifest can be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<Digest>,
    /// Digest of the base's configuration.
    pub base: Digest,
    /// Digest of the configuration that training began from: the base's, or an earlier version's.
    pub parent: Digest,
    /// The adapter layer.
    pub layer: Descriptor,
    /// The run it came from.
    pub run: String,
    /// When that run ended, in milliseconds since 1970.
    pub finished_ms: u64,
}

/// What a lineage's versions stand at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineageState {
    /// The promoted version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current: Option<u64>,
    /// The one promoted before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<u64>,
    /// Versions that were rolled back from.
    #[serde(default)]
    pub rejected: BTreeSet<u64>,
}

/// Where one version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Committed, and not decided on.
    Candidate,
    /// Promoted.
    Current,
    /// Promoted before the current one.
    Previous,
    /// Rolled back from.
    Rejected,
}

/// A version that is about to be recorded.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// The lineage: the base's reference.
    pub lineage: Reference,
    /// Digest of the base's configuration.
    pub base: Digest,
    /// Digest of the configuration that training began from.
    pub parent: Digest,
    /// Its number is above this: that of a version made elsewhere that training began from, else 0.
    pub after: u64,
    /// The adapter layer, stored already.
    pub adapter: Layer,
    /// The run it came from.
    pub run: String,
    /// When that run ended, in milliseconds since 1970.
    pub finished_ms: u64,
}

/// What a version becomes once its number is known.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its reference.
    pub reference: Reference,
    /// Its configuration.
    pub config: Sealed<ImageConfig>,
    /// Its documents, when the base's are known.
    pub pack: Option<Pack>,
}

impl LineageState {
    /// Where version `number` stands.
    pub fn of(&self, number: u64) -> State {
        match number {
            n if self.current == Some(n) => State::Current,
            n if self.previous == Some(n) => State::Previous,
            n if self.rejected.contains(&n) => State::Rejected,
            _ => State::Candidate,
        }
    }

    fn promote(&mut self, number: u64) {
        if self.current != Some(number) {
            self.previous = self.current.replace(number);
            self.rejected.remove(&number);
        }
    }

    fn roll_back(&mut self) -> Option<u64> {
        let previous = self.previous.take()?;
        if let Some(left) = self.current.replace(previous) {
            self.rejected.insert(left);
        }
        Some(previous)
    }

    fn forget(&mut self, number: u64) {
        self.previous = self.previous.filter(|n| *n != number);
        self.rejected.remove(&number);
    }
}

impl Ingest<'_> {
    /// Records a version under the next free number. The same adapter of the same run and parent is the same
    /// version: it is recorded once, however often this is called.
    ///
    /// `make` says what the version is, given who it is; it must be pure.
    ///
    /// # Errors
    /// When the store refuses, or `make` does.
    pub fn add_version<E: From<StoreError>>(
        &self,
        new: &NewVersion,
        make: impl Fn(&VersionOf) -> Result<Made, E>,
    ) -> Result<VersionRecord, E> {
        let mut names = self.store.names()?;
        let known = self.store.versions(&new.lineage)?;
        let same = |v: &&VersionRecord| {
            (&v.run, v.parent, v.layer.digest) == (&new.run, new.parent, new.adapter.descriptor.digest)
        };
        let existing = known.iter().find(same);
        let first = match existing {
            Some(version) => version.number,
            None => self.store.last_number(&new.lineage)?.max(new.after).saturating_add(1),
        };
        for number in first..first.saturating_add(MOST_TAKEN) {
            let lineage = new.lineage.to_string();
            let made = make(&VersionOf { lineage, base: new.base, parent: new.parent, number })?;
            // A tag that a person gave to something else is theirs.
            if existing.is_some() || names.get(&made.reference).is_none() {
                return Ok(self.record(&mut names, new, number, made)?);
            }
        }
        let why = format!("the names of {MOST_TAKEN} versions after number {first} are taken by other images");
        Err(StoreError::Refused { op: "name a version of", reference: new.lineage.clone(), why }.into())
    }

    /// Durable first, then visible: blobs, record, name.
    fn record(
        &self,
        names: &mut Names<'_>,
        new: &NewVersion,
        number: u64,
        made: Made,
    ) -> Result<VersionRecord, StoreError> {
        let config = made.config.descriptor(hone_image::media::CONFIG);
        self.put(made.config.bytes())?;
        let manifest = made.pack.as_ref().map(|pack| self.put_documents(pack)).transpose()?;
        let record = VersionRecord {
            record: RECORD,
            lineage: new.lineage.clone(),
            number,
            reference: made.reference.clone(),
            config,
            manifest: manifest.as_ref().map(|m| m.digest),
            base: new.base,
            parent: new.parent,
            layer: new.adapter.descriptor.clone(),
            run: new.run.clone(),
            finished_ms: new.finished_ms,
        };
        let dir = self.store.lineage_dir(&new.lineage);
        files::make_dir(&dir, 0o700)?;
        let path = dir.join(format!("{number}.json"));
        match files::read_json::<VersionRecord>(&path)? {
            Some(there) => {
                // A crash came between record and name, or the version was committed before: finish it.
                if let Some(manifest) = manifest.filter(|m| Some(m.digest) == there.manifest) {
                    names.set(&there.reference, manifest)?;
                }
                Ok(there)
            }
            None => {
                files::replace_json(&path, &record, &self.store.tmp())?;
                if let Some(manifest) = manifest {
                    names.set(&record.reference, manifest)?;
                }
                Ok(record)
            }
        }
    }
}

impl Store {
    /// Every lineage that has, or had, versions.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn lineages(&self) -> Result<Vec<Reference>, StoreError> {
        let names = files::names(&self.root.join("lineages"))?;
        Ok(names.iter().filter_map(|name| name.replace('+', "/").parse().ok()).collect())
    }

    /// The versions of a lineage, oldest first; none when there is no such lineage. A record that cannot be read is passed
    /// over ([`Store::problems`]): the other versions are what they were.
    ///
    /// # Errors
    /// When the lineage cannot be read.
    pub fn versions(&self, lineage: &Reference) -> Result<Vec<VersionRecord>, StoreError> {
        let dir = self.lineage_dir(lineage);
        let mut versions = Vec::new();
        for (number, ending) in self.numbers(lineage)? {
            let path = dir.join(format!("{number}.json"));
            if ending != "json" {
                continue;
            }
            match files::read_json::<VersionRecord>(&path) {
                Ok(record) => versions.extend(record),
                Err(error) => self.notice(format!("version {number} of {lineage}"), chain(&error)),
            }
        }
        versions.sort_by_key(|v| v.number);
        Ok(versions)
    }

    /// The version of this reference, whether or not its image is here.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn version(&self, reference: &Reference) -> Result<Option<VersionRecord>, StoreError> {
        self.find_version(|v| v.reference == *reference)
    }

    /// Whether what is described is this version: as it was recorded, or as it came back from an engine or an archive,
    /// which write the same image with another manifest.
    pub(crate) fn is_version(&self, descriptor: &Descriptor, version: &VersionRecord) -> bool {
        let image = || self.pack_of(descriptor).and_then(|pack| self.image_of(&pack));
        version.manifest == Some(descriptor.digest)
            || image().is_ok_and(|image| image.config().digest() == version.config.digest)
    }

    /// The version whose image has this configuration.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn version_of_config(&self, config: Digest) -> Result<Option<VersionRecord>, StoreError> {
        self.find_version(|v| v.config.digest == config)
    }

    /// The latest version that a run became.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn version_of_run(&self, run: &str) -> Result<Option<VersionRecord>, StoreError> {
        self.find_version(|v| v.run == run)
    }

    /// The latest one of the first lineage that has one.
    fn find_version(&self, is: impl Fn(&VersionRecord) -> bool) -> Result<Option<VersionRecord>, StoreError> {
        for lineage in self.lineages()? {
            if let Some(version) = self.versions(&lineage)?.into_iter().rev().find(&is) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// What a lineage stands at.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn lineage_state(&self, lineage: &Reference) -> Result<LineageState, StoreError> {
        Ok(files::read_json(&self.lineage_dir(lineage).join("state.json"))?.unwrap_or_default())
    }

    /// Makes a version the current one: one file replaced.
    ///
    /// # Errors
    /// When it was removed meanwhile, or the store cannot be written.
    pub fn promote(&self, version: &VersionRecord) -> Result<LineageState, StoreError> {
        let VersionRecord { lineage, number, reference, .. } = version;
        self.change_state(lineage, |state| {
            // It may have been removed since it was looked up.
            if !self.is_recorded(lineage, *number)? {
                let why = "it is not there any more; `hone log` lists the versions of a base".to_owned();
                return Err(StoreError::Refused { op: "promote", reference: reference.clone(), why });
            }
            state.promote(*number);
            Ok(())
        })
    }

    /// Makes the previous version current again, and the current one rejected.
    ///
    /// # Errors
    /// When there is no previous version, or it is not there any more, or the store cannot be written.
    pub fn roll_back(&self, lineage: &Reference) -> Result<LineageState, StoreError> {
        self.change_state(lineage, |state| {
            let why = match state.roll_back() {
                Some(number) if self.is_recorded(lineage, number)? => return Ok(()),
                Some(number) => format!("version {number}, which was current before, is not there any more"),
                None => "there is no version before the current one".to_owned(),
            };
            Err(StoreError::Refused { op: "roll back", reference: lineage.clone(), why })
        })
    }

    /// Removes a version. Its number is not given out again.
    ///
    /// # Errors
    /// When it is the current one, or the store cannot be written.
    pub fn remove_version(&self, version: &VersionRecord) -> Result<(), StoreError> {
        let mut names = self.names()?;
        let mut state = self.lineage_state(&version.lineage)?;
        if state.current == Some(version.number) {
            let why = "it is the current version; roll back or promote another first".to_owned();
            return Err(StoreError::Refused { op: "remove", reference: version.reference.clone(), why });
        }
        names.unset(&version.reference)?;
        state.forget(version.number);
        let dir = self.lineage_dir(&version.lineage);
        files::replace_json(&dir.join("state.json"), &state, &self.tmp())?;
        let (from, to) =
            (dir.join(format!("{}.json", version.number)), dir.join(format!("{}.removed", version.number)));
        std::fs::rename(&from, to)
            .and_then(|()| files::sync_dir(&dir))
            .map_err(StoreError::at("remove version", &from))
    }

    fn change_state(
        &self,
        lineage: &Reference,
        change: impl FnOnce(&mut LineageState) -> Result<(), StoreError>,
    ) -> Result<LineageState, StoreError> {
        let _lock = self.lock()?;
        let mut state = self.lineage_state(lineage)?;
        change(&mut state)?;
        files::replace_json(&self.lineage_dir(lineage).join("state.json"), &state, &self.tmp())?;
        Ok(state)
    }

    fn is_recorded(&self, lineage: &Reference, number: u64) -> Result<bool, StoreError> {
        let path = self.lineage_dir(lineage).join(format!("{number}.json"));
        path.try_exists().map_err(StoreError::at("look for", &path))
    }

    fn last_number(&self, lineage: &Reference) -> Result<u64, StoreError> {
        Ok(self.numbers(lineage)?.into_iter().map(|(n, _)| n).max().unwrap_or(0))
    }

    fn numbers(&self, lineage: &Reference) -> Result<Vec<(u64, String)>, StoreError> {
        let names = files::names(&self.lineage_dir(lineage))?;
        let parsed = names.iter().filter_map(|name| {
            let (number, ending) = name.split_once('.')?;
            Some((number.parse().ok()?, ending.to_owned()))
        });
        Ok(parsed.collect())
    }

    /// `/` cannot be in a file name, `+` cannot be in a reference: the one stands for the other.
    fn lineage_dir(&self, lineage: &Reference) -> PathBuf {
        self.root.join("lineages").join(lineage.to_string().replace('/', "+"))
    }
}
