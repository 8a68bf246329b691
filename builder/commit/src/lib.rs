//! `staged -> sealed -> committed -> published` (docs/contract.md, "Commit"): each step idempotent, each recorded
//! before the next begins.
//!
//! A run is *refused* when what it left can never become a version; that is recorded, and nothing is removed. Any
//! other failure (a full disk, an engine that is down) records nothing: the same command goes on from there.
//!
//! One file a concern: `verdict` how the run ended, `parent` what it was made from, `capture` its files out of the trainer's
//! hands, `lora` and `seal` the checks of what they hold, `naming` what the version is called.

mod capture;
mod error;
mod lora;
mod naming;
mod parent;
mod seal;
mod verdict;

use std::path::Path;

use hone_contract::Reference;
use hone_contract::run::{Outcome, RunRecord};
use hone_image::image::version_config;
use hone_image::{Image, Layer, LayerKind};
use hone_ship::{ship, ship_version};
use hone_store::staging::Staged;
use hone_store::versions::{Made, NewVersion, VersionRecord};
use hone_store::{Ingest, Store};

use naming::Naming;

pub use error::{CommitError, Pending, StepError};
pub use seal::seal;

/// What became of a run.
#[derive(Debug)]
pub enum Committed {
    /// It is this version, known to the engine that ran it.
    Version(Box<VersionRecord>),
    /// The Honefile wants no version of it.
    Unwanted(String),
}

/// Takes the run in the staging directory `path` as far as it can go. `note` is given what the user should know of it,
/// whatever becomes of it.
///
/// # Errors
/// See [`CommitError`].
pub fn commit(store: &Store, path: &Path, note: &mut dyn FnMut(&str)) -> Result<Committed, CommitError> {
    let Some(seen) = Staged::read(path)? else {
        return already(store, path);
    };
    if seen.run.is_none() {
        return Err(CommitError::NoRun(path.to_owned()));
    }
    // A keeper and a person may commit at the same time: one after the other, and the second finds it done.
    let lock = seen.lock();
    let Some(mut staged) = Staged::read(path)? else {
        return already(store, path);
    };
    let _alone = lock?;
    match staged.run.clone() {
        Some(run) => take(store, &mut staged, &run, note),
        None => already(store, path),
    }
}

fn take(
    store: &Store,
    staged: &mut Staged,
    run: &RunRecord,
    note: &mut dyn FnMut(&str),
) -> Result<Committed, CommitError> {
    let id = staged.id.clone();
    // First of all: what is not followed may be why it comes to nothing.
    if let Some(unknown) = run.job.note() {
        note(&unknown);
    }
    // The image that ran, and the layers that an engine is sent, stay until all is done.
    let _held = store.reading()?;
    match advance(store, staged, run, note) {
        Ok(record) => {
            staged.set_outcome(published(&record))?;
            staged.remove()?;
            Ok(Committed::Version(Box::new(record)))
        }
        Err(StepError::Pending(source)) => Err(CommitError::Pending { id, source: Box::new(source) }),
        Err(StepError::Refused(reason)) => {
            if let Err(source) = staged.set_outcome(Outcome::Refused { reason: reason.clone() }) {
                return Err(CommitError::Unrecorded { id, reason, source: Box::new(source) });
            }
            match run.job.adapter.commit {
                true => Err(CommitError::Refused { id, reason }),
                false => Ok(Committed::Unwanted(reason)),
            }
        }
    }
}

/// A directory that is gone may be one whose version was published.
fn already(store: &Store, path: &Path) -> Result<Committed, CommitError> {
    let id = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(version) = store.version_of_run(&id)? {
        return Ok(Committed::Version(Box::new(version)));
    }
    Err(CommitError::NotFound(path.to_owned()))
}

/// The version that the run became, published.
fn advance(
    store: &Store,
    staged: &mut Staged,
    run: &RunRecord,
    note: &mut dyn FnMut(&str),
) -> Result<VersionRecord, StepError> {
    if let Some(Outcome::Committed { reference, .. } | Outcome::Published { reference, .. }) = &staged.outcome
        && let Some(record) = recorded(store, reference)?
    {
        return publish(store, run, record);
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
    if !notes.is_empty() {
        note(&notes.join("; "));
    }
    publish(store, run, record)
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
    let layer = seal(ingest, staged, &run.job)?;
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
    match sent {
        Ok(_) => Ok(record),
        Err(error) => {
            let (version, source) = (record.reference, Box::new(error));
            Err(Pending::Unpublished { version, source }.into())
        }
    }
}

fn published(record: &VersionRecord) -> Outcome {
    Outcome::Published {
        reference: record.reference.to_string(),
        version: record.number,
        config: record.config.digest,
    }
}
