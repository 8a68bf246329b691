//! Where a model comes from, and what an image's manifest says of that: the same for whoever packs it.

use std::collections::BTreeMap;

use hone_contract::Digest;
use hone_contract::job::Base;
use hone_image::hub::Model;
use hone_image::media;
use hone_image::modelpack::ModelFacts;
use hone_plan::{BasePlan, ModelSource, Origin};

/// Where a model comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Its name there.
    pub name: Option<String>,
    /// Digest of its manifest there.
    pub digest: Option<Digest>,
    /// Source, revision, licence.
    pub origin: Origin,
}

impl Provenance {
    /// What the Honefile says of it.
    pub fn planned(plan: &BasePlan) -> Self {
        let name = match &plan.model {
            ModelSource::Url { url, .. } => Some(url.clone()),
            ModelSource::Registry { written, .. } => Some(written.clone()),
            // What a hub's name stands for is known when the hub was asked; a path is nobody's business.
            ModelSource::Hub { .. } | ModelSource::Path(_) | ModelSource::Layout(_) => None,
        };
        Self { name, digest: None, origin: plan.origin.clone() }
    }

    /// What the annotations of a manifest say of what it holds.
    pub fn annotated(annotations: &BTreeMap<String, String>) -> Self {
        let said = |name: &str| annotations.get(name).cloned();
        let origin =
            Origin { source: said(media::SOURCE), revision: said(media::REVISION), licenses: said(media::LICENSES) };
        // What is no digest says nothing.
        let digest = said(media::BASE_DIGEST).and_then(|digest| digest.parse().ok());
        Self { name: said(media::BASE_NAME), digest, origin }
    }

    /// This, and where it is silent what `other` says.
    pub fn or(self, other: Self) -> Self {
        let (ours, theirs) = (self.origin, other.origin);
        Self {
            name: self.name.or(other.name),
            digest: self.digest.or(other.digest),
            origin: Origin {
                source: ours.source.or(theirs.source),
                revision: ours.revision.or(theirs.revision),
                licenses: ours.licenses.or(theirs.licenses),
            },
        }
    }

    /// What the model's files say of it, and over that what is known of where they come from.
    pub fn over(&self, mut facts: ModelFacts) -> ModelFacts {
        facts.source = self.origin.source.clone().or(facts.source);
        facts.revision = self.origin.revision.clone().or(facts.revision);
        if let Some(licenses) = &self.origin.licenses {
            facts.licenses = vec![licenses.clone()];
        }
        facts
    }

    /// A hub's model, at the commit that it is at.
    pub fn of_hub(endpoint: &str, model: &Model) -> Self {
        let origin = Origin {
            source: Some(format!("{}/{}", endpoint.trim_end_matches('/'), model.id)),
            revision: Some(model.commit.clone()),
            licenses: model.licence.clone(),
        };
        Self { name: Some(format!("hf://{}@{}", model.id, model.commit)), digest: None, origin }
    }

    /// As annotations; the reverse of [`Self::annotated`].
    pub fn words(&self) -> BTreeMap<String, String> {
        let said = [
            (media::BASE_NAME, self.name.clone()),
            (media::BASE_DIGEST, self.digest.map(|digest| digest.to_string())),
            (media::SOURCE, self.origin.source.clone()),
            (media::REVISION, self.origin.revision.clone()),
            (media::LICENSES, self.origin.licenses.clone()),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Annotations of an image's manifest (image-spec, annotations.md). `facts` are those of [`Self::over`].
    pub fn annotations(&self, base: &Base, facts: &ModelFacts) -> BTreeMap<String, String> {
        let origin = Origin {
            source: facts.source.clone(),
            revision: facts.revision.clone(),
            licenses: (!facts.licenses.is_empty()).then(|| facts.licenses.join(" AND ")),
        };
        let mut all = Self { origin, ..self.clone() }.words();
        let size: u64 = base.files.iter().map(|file| file.size).sum();
        all.insert(media::BASE_IDENTITY.to_owned(), base.identity.to_string());
        all.insert(media::BASE_SIZE.to_owned(), size.to_string());
        all
    }
}
