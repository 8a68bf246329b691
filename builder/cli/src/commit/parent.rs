//! The image that a run was made from: in the local store, or described by the engine that ran it.

use hone_engines::Found;
use hone_image::image::VersionOf;
use hone_image::oci::{ImageConfig, RootFs, RuntimeConfig, Sealed};
use hone_image::run::RunRecord;
use hone_image::{Artifact, Digest, Image, Layer, Pack, Reference, media, modelpack};
use hone_store::Store;

use super::StepError;
use crate::failure::{Failure, because};

/// Registry that podman puts before names that have none.
const PODMAN_LOCAL: &str = "localhost/";

/// What training began from.
#[derive(Debug)]
pub struct Parent {
    /// The lineage: the base's reference.
    pub lineage: Reference,
    /// Digest of the base's configuration.
    pub base: Digest,
    /// The configuration.
    pub config: ParentConfig,
    /// The image, when it is in the local store.
    pub image: Option<Image>,
    /// The model's artifact beside it.
    pub model: Option<Artifact>,
}

impl Parent {
    /// The documents of a version of it, as far as its own are here.
    pub fn pack(&self, config: &Sealed<ImageConfig>, version: &VersionOf, adapter: &Layer) -> Option<Pack> {
        let image = self.image.as_ref()?.with_adapter(config.clone(), version, adapter.clone());
        Some(match &self.model {
            Some(model) => {
                let model = modelpack::with_adapter(model, &image, adapter);
                Pack::new(vec![image], vec![model])
            }
            None => Pack::alone(image),
        })
    }
}

/// A configuration as far as it is known: an engine gives the content, and the digest of bytes it keeps.
#[derive(Debug)]
pub struct ParentConfig {
    /// Its digest.
    pub digest: Digest,
    /// Its content.
    pub value: ImageConfig,
}

/// Finds it.
pub fn find(store: &Store, run: &RunRecord) -> Result<Parent, StepError> {
    let (digest, named) = match &run.image {
        Some(image) => (image.config, Some(image.reference.as_str())),
        None => (by_job(store, run)?, None),
    };
    // A docker whose images are in containerd calls one by its manifest or index.
    let found = asked(store, run, digest)?;
    let digest = found.as_ref().map_or(digest, |found| found.id);
    let pack = store.pack_by_config(digest)?;
    let of_run = |image: &&Image| image.config().digest() == digest;
    let image = pack.as_ref().and_then(|p| p.images().iter().find(of_run)).cloned();
    let model = pack.as_ref().and_then(|p| p.model().cloned());
    let value = match (&image, store.config(digest), found) {
        (Some(image), ..) => image.config().value().clone(),
        (None, Ok(config), _) => config.value().clone(),
        (None, Err(_), Some(found)) => described(found)?,
        (None, Err(error), None) => return Err(Failure::from(error).into()),
    };
    let lineage = match value.config.label(media::LABEL_BASE_NAME) {
        Some(name) => {
            name.parse().map_err(|e| StepError::Refused(format!("label {}: {e}", media::LABEL_BASE_NAME)))?
        }
        None => lineage(store, run, pack.as_ref(), digest, named)?,
    };
    let labelled = value.config.label(media::LABEL_BASE_CONFIG).and_then(|text| text.parse().ok());
    Ok(Parent { lineage, base: labelled.unwrap_or(digest), config: ParentConfig { digest, value }, image, model })
}

/// Nobody said which image ran; the job, which names the base by content, tells.
fn by_job(store: &Store, run: &RunRecord) -> Result<Digest, StepError> {
    for (_, _, pack) in store.packs()? {
        for image in pack.images() {
            let version = hone_image::image::is_version(image.config().value());
            if !version && store.job_of(image)?.as_ref() == Some(&run.job) {
                return Ok(image.config().digest());
            }
        }
    }
    let reason =
        format!("the image that ran is not known, and no image named {} in the store has its job", run.job.name);
    Err(StepError::Refused(reason))
}

/// What the engine says of an image that the store does not know by its configuration's digest.
fn asked(store: &Store, run: &RunRecord, digest: Digest) -> Result<Option<Found>, StepError> {
    // A version of a base that only an engine has: its configuration was written here.
    if store.config(digest).is_ok() {
        return Ok(None);
    }
    let absent = || Failure::from(format!("image {digest}: it is neither in the local store nor in the engine"));
    let engine = hone_engines::of(&run.engine).ok_or_else(absent)?;
    let found = engine.inspect(&digest.to_string()).map_err(because(format!("look up image {digest}")))?;
    Ok(Some(found.ok_or_else(absent)?))
}

fn described(found: Found) -> Result<ImageConfig, StepError> {
    let reading = because(format!("read configuration of image {}", found.id));
    let config: RuntimeConfig = serde_json::from_value(found.config).map_err(reading)?;
    Ok(ImageConfig {
        created: None,
        architecture: found.architecture,
        variant: None,
        os: found.os,
        config,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: found.diff_ids },
        history: Vec::new(),
        rest: Default::default(),
    })
}

/// A base's own name: as the run has it, where that is a name of this image; else the store's; else the job's.
fn lineage(
    store: &Store,
    run: &RunRecord,
    pack: Option<&Pack>,
    config: Digest,
    named: Option<&str>,
) -> Result<Reference, StepError> {
    let typed = named.map(|name| name.strip_prefix(PODMAN_LOCAL).unwrap_or(name));
    // A person may have typed (the beginning of) an image id; that is no name.
    let typed = typed.filter(|name| !config.hex().starts_with(name.trim_start_matches("sha256:")));
    let typed: Option<Reference> = typed.and_then(|name| name.parse().ok());
    let known: Vec<Reference> = match pack {
        Some(pack) => {
            store.references()?.into_iter().filter(|(_, d)| d.digest == pack.digest()).map(|(r, _)| r).collect()
        }
        None => Vec::new(),
    };
    if let Some(name) = typed.filter(|name| known.is_empty() || known.contains(name)) {
        return Ok(name);
    }
    match known.into_iter().next() {
        Some(name) => Ok(name),
        None => {
            let name = format!("{}:base", run.job.name);
            name.parse().map_err(|e| StepError::Refused(format!("the job's name makes no image name: {e}")))
        }
    }
}
