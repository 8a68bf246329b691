//! `hone rm`: names and versions go, and with them what nothing needs any more.

use std::collections::BTreeMap;

use clap::Args;
use hone_contract::{Pinned, Reference};
use hone_store::versions::VersionRecord;
use hone_store::{Found, Removed, Store, StoreError, Swept};
use serde::Serialize;

use crate::answer::Form;
use crate::failure::{Failure, chain};
use crate::output;

/// Arguments of `hone rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Images to remove: a name, a digest, or the first digits of that
    #[arg(value_name = "REF", required = true)]
    images: Vec<String>,
    #[command(flatten)]
    form: Form,
}

/// What went, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Answer {
    removed: Vec<Reference>,
    freed: Vec<Freed>,
}

/// What a REF takes away.
enum Target {
    Version(Box<VersionRecord>),
    Name(Reference),
}

impl Target {
    fn reference(&self) -> &Reference {
        match self {
            Self::Version(version) => &version.reference,
            Self::Name(name) => name,
        }
    }
}

impl Rm {
    /// Removes all of them, or none when one is not there; then what is left over.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let mut targets = BTreeMap::new();
        for text in &self.images {
            let target = target(store, text)?;
            targets.insert(target.reference().clone(), target);
        }
        for (name, target) in &targets {
            match target {
                Target::Version(version) => store.remove_version(version)?,
                Target::Name(name) => store.untag(name).map(drop)?,
            }
            if !self.form.is_json() {
                output::report(&format!("removed {name}\n"))?;
            }
        }
        let mut answer = Answer { removed: targets.into_keys().collect(), freed: Vec::new() };
        if let Some(swept) = collect(store)? {
            answer.freed.push(Freed::of(Kind::Blobs, swept.blobs));
            answer.freed.push(Freed::of(Kind::Downloads, swept.partials));
        }
        answer.freed.extend(unpacked(store).map(|removed| Freed::of(Kind::UnpackedLayers, removed)));
        self.form.report(&answer, |answer| {
            let rows: Vec<String> = answer.freed.iter().filter_map(Freed::sentence).collect();
            if rows.is_empty() { String::new() } else { format!("freed {}\n", rows.join(", ")) }
        })
    }
}

/// What nothing needed any more.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Blobs that nothing names.
    Blobs,
    /// Downloads that did not end.
    Downloads,
    /// Layers that `hone run` unpacked.
    UnpackedLayers,
}

/// How much of a kind went.
#[derive(Debug, Serialize)]
pub struct Freed {
    /// The kind.
    pub what: Kind,
    /// How many.
    pub number: u64,
    /// Bytes.
    pub size: u64,
}

impl Freed {
    /// So many of this kind.
    pub fn of(what: Kind, Removed { count, bytes }: Removed) -> Self {
        Self { what, number: count, size: bytes }
    }

    /// What is said of it, when there was any.
    fn sentence(&self) -> Option<String> {
        let what = match (self.what, self.number) {
            (_, 0) => return None,
            (Kind::Blobs, 1) => "blob",
            (Kind::Blobs, _) => "blobs",
            (Kind::Downloads, 1) => "download that nobody went on with for a week",
            (Kind::Downloads, _) => "downloads that nobody went on with for a week",
            (Kind::UnpackedLayers, 1) => "unpacked layer",
            (Kind::UnpackedLayers, _) => "unpacked layers",
        };
        Some(format!("{} in {} {what}", output::size(self.size), self.number))
    }
}

/// Sweeps the blobs that nothing names; says why, where they stay.
pub fn collect(store: &Store) -> Result<Option<Swept>, Failure> {
    let swept = store.collect()?;
    if swept.is_none() {
        let why = "the store is being read or written: blobs stay; `hone prune` removes them when that is done";
        output::tell(&format!("hone: {why}"));
    }
    Ok(swept)
}

/// Sweeps the layers that `hone run` unpacked; says why, where they stay.
pub fn unpacked(store: &Store) -> Option<Removed> {
    match store.sweep_unpacked() {
        Ok(Some(removed)) => return Some(removed),
        Ok(None) => {
            output::tell(
                "hone: a container is running: unpacked layers stay; the next `hone run` or `hone prune` removes them",
            );
        }
        Err(error) => output::tell(&format!("hone: unpacked layers stay: {}", chain(&error))),
    }
    None
}

/// What `text` means. A name goes even when its image cannot be read; a digest stands for the one name that the image has.
fn target(store: &Store, text: &str) -> Result<Target, Failure> {
    if let Ok(name) = text.parse::<Reference>() {
        if let Some(version) = store.version(&name)? {
            return Ok(Target::Version(Box::new(version)));
        }
        if store.references()?.contains_key(&name) {
            return Ok(Target::Name(name));
        }
    }
    let resolved = match store.look_up(text)? {
        Found::Version(version) => return Ok(Target::Version(version)),
        Found::Image(resolved) => resolved,
    };
    // It may have got the name since the names were looked at above: what is written in full is what is meant.
    let written = text.parse::<Reference>().ok().filter(|name| resolved.references.contains(name));
    let repository = text.parse::<Pinned>().ok().filter(|name| name.digest.is_some()).map(|name| name.reference);
    let meant = |r: &&Reference| match &written {
        Some(name) => *r == name,
        None => repository.as_ref().is_none_or(|name| name.name() == r.name()),
    };
    let names: Vec<&Reference> = resolved.references.iter().filter(meant).collect();
    match names.as_slice() {
        [only] => Ok(match store.version(only)? {
            Some(version) => Target::Version(Box::new(version)),
            None => Target::Name((*only).clone()),
        }),
        [] => Err(StoreError::NoImage(text.to_owned()).into()),
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(format!("remove {text}: it has more than one name: {}; say which of them goes", several.join(", "))
                .into())
        }
    }
}
