//! `hone rm`: names and versions go, and with them what nothing needs any more.

use std::collections::BTreeMap;

use clap::Args;
use hone_image::Reference;
use hone_store::versions::VersionRecord;
use hone_store::{Found, Store, StoreError, Swept};

use crate::failure::{Failure, chain};
use crate::output;

/// Arguments of `hone rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Images to remove: a name, a digest, or the first digits of that
    #[arg(value_name = "REF", required = true)]
    images: Vec<String>,
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
            output::report(&format!("removed {name}\n"))?;
        }
        let mut rows = Vec::new();
        if let Some(swept) = collect(store)? {
            rows.extend(freed(swept.blobs, swept.bytes, ["blob", "blobs"]));
            let what = ["download", "downloads"].map(|what| format!("{what} that nobody went on with for a week"));
            rows.extend(freed(swept.partials, swept.partial_bytes, what.each_ref().map(String::as_str)));
        }
        let what = ["unpacked layer", "unpacked layers"];
        rows.extend(unpacked(store).and_then(|swept| freed(swept.blobs, swept.bytes, what)));
        if rows.is_empty() { Ok(()) } else { output::report(&format!("freed {}\n", rows.join(", "))) }
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
pub fn unpacked(store: &Store) -> Option<Swept> {
    match store.sweep_unpacked() {
        Ok(Some(swept)) => return Some(swept),
        Ok(None) => {
            output::tell(
                "hone: a container is running: unpacked layers stay; the next `hone run` or `hone prune` removes them",
            );
        }
        Err(error) => output::tell(&format!("hone: unpacked layers stay: {}", chain(&error))),
    }
    None
}

/// What was freed, when anything was; what it is called when it is one, and when it is more.
fn freed(number: u64, bytes: u64, [one, more]: [&str; 2]) -> Option<String> {
    let what = if number == 1 { one } else { more };
    (number > 0).then(|| format!("{} in {number} {what}", output::size(bytes)))
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
    let repository = text.split_once('@').and_then(|(name, _)| name.parse::<Reference>().ok());
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
