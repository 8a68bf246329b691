//! `staged -> sealed -> committed -> published` (docs/contract.md, "Commit"): each step idempotent, each recorded
//! before the next begins.
//!
//! A run is *refused* when what it left can never become a version; that is recorded, and nothing is removed. Any
//! other failure (a full disk, an engine that is down) records nothing: the same command goes on from there.

mod capture;
mod lora;
mod naming;
mod parent;
mod seal;
mod verdict;

use std::path::Path;

use hone_image::image::version_config;
use hone_image::run::{Outcome, RunRecord};
use hone_image::{Image, Layer, LayerKind, Reference};
use hone_store::staging::Staged;
use hone_store::versions::{Made, NewVersion, VersionRecord};
use hone_store::{Ingest, Store, StoreError};

use crate::failure::{Failure, because};
use crate::ship::{ship, ship_version};
use naming::Naming;

/// What became of a run.
#[derive(Debug)]
pub enum Committed {
    /// It is this version, known to the engine that ran it; and what the user should know of how it came to be that.
    Version(Box<VersionRecord>, Option<String>),
    /// The Honefile wants no version of it.
    Unwanted(String),
}

/// Why a step did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It never will: one sentence for the user.
    #[error("{0}")]
    Refused(String),
    /// It may, later.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("run {id}: nothing was committed: {reason}")]
struct Refused {
    id: String,
    reason: String,
}

/// Takes the run in the staging directory `path` as far as it can go.
pub fn commit(store: &Store, path: &Path) -> Result<Committed, Failure> {
    let Some(seen) = Staged::read(path)? else {
        return already(store, path);
    };
    if seen.run.is_none() {
        return Err(format!("{}: no run.json in it, so it is not a run's staging directory", path.display()).into());
    }
    // A keeper and a person may commit at the same time: one after the other, and the second finds it done.
    let lock = seen.lock();
    let Some(mut staged) = Staged::read(path)? else {
        return already(store, path);
    };
    let _alone = lock?;
    match staged.run.clone() {
        Some(run) => take(store, &mut staged, &run),
        None => already(store, path),
    }
}

fn take(store: &Store, staged: &mut Staged, run: &RunRecord) -> Result<Committed, Failure> {
    let id = staged.id.clone();
    // The image that ran, and the layers that an engine is sent, stay until all is done.
    let _held = store.reading()?;
    match advance(store, staged, run) {
        Ok((record, note)) => {
            staged.set_outcome(published(&record))?;
            staged.remove()?;
            Ok(Committed::Version(Box::new(record), note))
        }
        Err(StepError::Failed(failure)) => Err(because(format!("commit run {id}"))(failure)),
        Err(StepError::Refused(reason)) => {
            let recording =
                because(format!("run {id}: nothing was committed: {reason}; and this could not be recorded"));
            staged.set_outcome(Outcome::Refused { reason: reason.clone() }).map_err(recording)?;
            match run.job.adapter.commit {
                true => Err(Refused { id, reason }.into()),
                false => Ok(Committed::Unwanted(reason)),
            }
        }
    }
}

/// A directory that is gone may be one whose version was published.
fn already(store: &Store, path: &Path) -> Result<Committed, Failure> {
    let id = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(version) = store.version_of_run(&id)? {
        return Ok(Committed::Version(Box::new(version), None));
    }
    Err(format!("staging {}: not found; `hone staging ls` lists what is there", path.display()).into())
}

/// The version that the run became, published, and a note.
type Advanced = (VersionRecord, Option<String>);

fn advance(store: &Store, staged: &mut Staged, run: &RunRecord) -> Result<Advanced, StepError> {
    if let Some(Outcome::Committed { reference, .. } | Outcome::Published { reference, .. }) = &staged.outcome
        && let Some(record) = recorded(store, reference)?
    {
        return Ok((publish(store, run, record)?, None));
    }
    let finished_ms = verdict::check(staged, run)?;
    let parent = parent::find(store, run, staged)?;
    let ingest = store.ingest()?;
    let adapter = sealed(store, &ingest, staged, run)?;
    let new = NewVersion {
        lineage: parent.lineage.clone(),
        base: parent.base,
        parent: parent.ran,
        after: parent.after,
        adapter: adapter.clone(),
        run: staged.id.clone(),
        finished_ms,
    };
    let naming = Naming::of(store, &parent.lineage, parent.base, &run.job.adapter)?;
    let record: VersionRecord = ingest.add_version(&new, |version| -> Result<Made, StepError> {
        let reference = naming.name(version.number)?;
        let config = version_config(&parent.below, version, &adapter);
        let pack = parent.pack(&config, version, &adapter);
        Ok(Made { reference, config, pack })
    })?;
    staged.set_outcome(Outcome::Committed {
        reference: record.reference.to_string(),
        version: record.number,
        config: record.config.digest,
    })?;
    let notes: Vec<String> = [parent.note.clone(), naming.note(&record)].into_iter().flatten().collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok((publish(store, run, record)?, note))
}

fn recorded(store: &Store, reference: &str) -> Result<Option<VersionRecord>, StepError> {
    match reference.parse::<Reference>() {
        Ok(reference) => Ok(store.version(&reference)?),
        Err(_) => Ok(None),
    }
}

/// The adapter layer: the one that an earlier call sealed, if its blob is still there and whole; else sealed now.
fn sealed(store: &Store, ingest: &Ingest<'_>, staged: &mut Staged, run: &RunRecord) -> Result<Layer, StepError> {
    if let Some(Outcome::Sealed { layer }) = &staged.outcome
        && let Ok(meta) = std::fs::metadata(store.blob_path(*layer))
        && ingest.has_intact(*layer, meta.len())?
    {
        return Ok(Layer::tar(LayerKind::Adapter, *layer, meta.len()));
    }
    let layer = seal::seal(ingest, staged, &run.job)?;
    staged.set_outcome(Outcome::Sealed { layer: layer.diff_id })?;
    Ok(layer)
}

/// The engine that ran the container learns of the version; it is sent what it lacks.
fn publish(store: &Store, run: &RunRecord, record: VersionRecord) -> Result<VersionRecord, StepError> {
    let Some(engine) = hone_engines::of(&run.engine) else {
        return Ok(record);
    };
    let sent = match record.manifest {
        Some(manifest) => {
            let image: Image = store.image_by_digest(manifest)?;
            ship(engine.as_ref(), store, &record.reference, &image)
        }
        None => {
            let config = store.config(record.config.digest)?;
            let adapter = Layer::tar(LayerKind::Adapter, record.layer.digest, record.layer.size);
            ship_version(engine.as_ref(), store, &record.reference, &config, &adapter)
        }
    };
    let name = record.reference.to_string();
    sent.map_err(because(format!("{name} is in the local store; run `hone commit` again to publish it")))?;
    Ok(record)
}

fn published(record: &VersionRecord) -> Outcome {
    Outcome::Published {
        reference: record.reference.to_string(),
        version: record.number,
        config: record.config.digest,
    }
}
