//! What a version is called: its job says so, and the job came with the image.
//!
//! Of a stranger's image, loaded as `team:try`, the job may say `base-v{n}`, which is what the versions of `team:base` are
//! called. A name that belongs to the versions of another base here is not given: the version has the usual one, which is
//! made of its own base's tag.

use hone_contract::job::{AdapterSpec, USUAL_TAG};
use hone_contract::{Digest, Reference, chain, quoted};
use hone_image::Image;
use hone_store::versions::VersionRecord;
use hone_store::{Store, StoreError};

use crate::error::StepError;

/// How the versions of one lineage are called.
#[derive(Debug)]
pub struct Naming {
    lineage: Reference,
    template: AdapterSpec,
    /// The other lineages of the repository, and what their jobs say.
    others: Vec<(Reference, AdapterSpec)>,
}

impl Naming {
    /// Of the lineage of the base with this configuration, by what its job says and what else is here.
    pub fn of(store: &Store, lineage: &Reference, base: Digest, adapter: &AdapterSpec) -> Result<Self, StepError> {
        let others = match adapter.tag == USUAL_TAG {
            true => Vec::new(),
            false => others(store, lineage, base)?,
        };
        Ok(Self { lineage: lineage.clone(), template: AdapterSpec::tagged(&adapter.tag), others })
    }

    /// The name of version `number`.
    pub fn name(&self, number: u64) -> Result<Reference, StepError> {
        let of = |template: &AdapterSpec| {
            let name = template.version_name(&self.lineage, number);
            name.map_err(|e| StepError::Refused(format!("adapter.tag makes no tag: {e}")))
        };
        let said = of(&self.template)?;
        if self.owner(&said).is_some() { of(&AdapterSpec::tagged(USUAL_TAG)) } else { Ok(said) }
    }

    /// What to tell the user of a version that is called otherwise than its job says.
    pub fn note(&self, version: &VersionRecord) -> Option<String> {
        let said = self.template.version_name(&self.lineage, version.number).ok()?;
        let owner = self.owner(&said).filter(|_| version.reference != said)?;
        Some(format!(
            "adapter.tag {} makes {said}, a name for versions of {owner}, which is here, too: the version is called {}",
            quoted(&self.template.tag),
            version.reference
        ))
    }

    /// The other lineage whose version has this name, or will have.
    fn owner(&self, name: &Reference) -> Option<&Reference> {
        let usual = AdapterSpec::tagged(USUAL_TAG);
        if usual.names(&self.lineage, name) {
            return None;
        }
        let theirs =
            |(other, template): &&(Reference, AdapterSpec)| usual.names(other, name) || template.names(other, name);
        self.others.iter().find(theirs).map(|(other, _)| other)
    }
}

/// The bases of the same repository that are here, and the lineages that have versions here.
fn others(store: &Store, lineage: &Reference, base: Digest) -> Result<Vec<(Reference, AdapterSpec)>, StepError> {
    let beside = |name: &Reference| name != lineage && name.name() == lineage.name();
    let recorded = store.lineages()?.into_iter().filter(beside);
    let mut others: Vec<_> = recorded.map(|name| (name, AdapterSpec::tagged(USUAL_TAG))).collect();
    for (name, _, pack) in store.packs()?.filter(|(name, ..)| beside(name)) {
        for image in pack.images() {
            // The same base by another name is no other.
            if image.config().digest() == base {
                continue;
            }
            // One of a later Hone, or that is damaged, stands in the way of no other's version.
            let tag = template(store, &name, image).unwrap_or_else(|error| {
                let what = "its job is not understood, so its versions are taken to have the usual names";
                store.notice(format!("image {name}"), format!("{what}: {}", chain(&error)));
                Some(USUAL_TAG.to_owned())
            });
            others.extend(tag.map(|tag| (name.clone(), AdapterSpec::tagged(&tag))));
        }
    }
    Ok(others)
}

/// What the versions of the image called `name` are called; `None` when nobody trains it on.
fn template(store: &Store, name: &Reference, image: &Image) -> Result<Option<String>, StoreError> {
    // A version has the names of its own lineage.
    if store.membership(name, image)?.is_some() {
        return Ok(None);
    }
    Ok(store.job_of(image)?.map(|job| job.adapter.tag))
}
