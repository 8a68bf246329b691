//! The image that a run was made from: in the local store, or described by the engine that ran it.
//!
//! Where its version goes is never the image's word. A version that this store made is known by its record; one that
//! another made is believed when its base, here or in the engine, bears it out ([`hone_image::claim`]); every other image
//! is a base of its own, with all its layers, and its lineage is the name that the caller ran it by.

use hone_contract::run::{Engine, RunRecord};
use hone_contract::{Digest, Pinned, Reference, chain};
use hone_engines::Found;
use hone_image::claim::{self, Claim};
use hone_image::image::{VersionOf, without_adapter};
use hone_image::oci::{ImageConfig, RootFs, RuntimeConfig, Sealed};
use hone_image::{Artifact, Image, Layer, Pack, modelpack};
use hone_store::staging::Staged;
use hone_store::versions::VersionRecord;
use hone_store::{Store, StoreError};

use crate::error::{Pending, StepError};

/// Registry that podman puts before names that have none.
const PODMAN_LOCAL: &str = "localhost/";
/// What a digest begins with; no name of an image does for Hone, though a repository could be called so.
const ALGORITHM: &str = "sha256:";
/// Digits of a digest that stand in a tag, where an image was called by its digest.
const SHORT: usize = 12;

/// What training began from.
#[derive(Debug)]
pub struct Parent {
    /// The lineage: the base's reference.
    pub lineage: Reference,
    /// Digest of the base's configuration.
    pub base: Digest,
    /// Digest of the configuration of the image that ran.
    pub ran: Digest,
    /// The configuration that the adapter goes on top of.
    pub below: ImageConfig,
    /// The version's number is above this.
    pub after: u64,
    /// The documents that those of the version are made from, when they are in the local store.
    pub documents: Option<Documents>,
    /// What the user should know of it.
    pub note: Option<String>,
}

/// An image of the local store.
#[derive(Debug)]
pub struct Documents {
    image: Image,
    /// The model's artifact beside it.
    model: Option<Artifact>,
}

impl Documents {
    fn of(pack: &Pack, config: Digest) -> Option<Self> {
        let image = pack.images().iter().find(|image| image.config().digest() == config)?.clone();
        Some(Self { image, model: pack.model().cloned() })
    }
}

impl Parent {
    /// The documents of a version of it, as far as its own are here.
    pub fn pack(&self, config: &Sealed<ImageConfig>, version: &VersionOf, adapter: &Layer) -> Option<Pack> {
        let Documents { image, model } = self.documents.as_ref()?;
        let image = image.with_adapter(config.clone(), version, adapter.clone());
        Some(match model {
            Some(model) => {
                let model = modelpack::with_adapter(model, &image, adapter);
                Pack::new(vec![image], vec![model])
            }
            None => Pack::alone(image),
        })
    }
}

/// The image that ran, as far as it is known.
struct Ran<'a> {
    store: &'a Store,
    run: &'a RunRecord,
    config: Digest,
    /// What the run record says that it is: with docker's images in containerd that is a manifest or an index.
    asked: Digest,
    /// What the caller's word for it stands for in the store, if that has it.
    meant: Option<Digest>,
    value: ImageConfig,
    documents: Option<Documents>,
}

/// Finds it.
pub fn find(store: &Store, run: &RunRecord, staged: &Staged) -> Result<Parent, StepError> {
    let (digest, named) = match &run.image {
        Some(image) => (image.config, Some(image.reference.clone())),
        None => who_ran(store, run, staged)?,
    };
    // A docker whose images are in containerd calls one by its manifest or index.
    let found = asked(store, run, digest)?;
    let config = found.as_ref().map_or(digest, |found| found.id);
    if let Some(version) = store.version_of_config(config)? {
        return recorded(store, version);
    }
    // Another name's documents may have the same configuration and say something else beside it, such as a licence: they
    // do only where those that the caller named are not here.
    let (meant, documents) = match meant(store, named.as_deref(), config)? {
        Some((root, documents)) => (Some(root), Some(documents)),
        None => (None, store.pack_by_config(config)?.and_then(|pack| Documents::of(&pack, config))),
    };
    let value = match (&documents, found) {
        (Some(documents), _) => documents.image.config().value().clone(),
        (None, Some(found)) => described(found)?,
        (None, None) => store.config(config)?.value().clone(),
    };
    let ran = Ran { store, run, config, asked: digest, meant, value, documents };
    let name = ran.name(named.as_deref())?;
    match ran.foreign(&name)? {
        Some(parent) => Ok(parent),
        None => Ok(ran.own(name)),
    }
}

/// What the caller's word for the image stands for here, if that is still the image.
fn meant(store: &Store, named: Option<&str>, config: Digest) -> Result<Option<(Digest, Documents)>, StepError> {
    let root = match named.map(|name| store.find(local(name))).transpose() {
        Ok(root) => root,
        Err(StoreError::NoImage(_) | StoreError::Ambiguous(_) | StoreError::Elsewhere(_)) => None,
        Err(error) => return Err(error.into()),
    };
    // One that cannot be read is no better than one that is not here.
    let named = root.and_then(|root| Some((root, store.pack(root).ok()?)));
    Ok(named.and_then(|(root, pack)| Some((root, Documents::of(&pack, config)?))))
}

/// The name that the user gave, of podman's.
fn local(name: &str) -> &str {
    name.strip_prefix(PODMAN_LOCAL).unwrap_or(name)
}

/// A version that this store made.
fn recorded(store: &Store, version: VersionRecord) -> Result<Parent, StepError> {
    let config = version.config.digest;
    let pack = version.manifest.map(|manifest| store.pack(manifest)).transpose()?;
    Ok(Parent {
        lineage: version.lineage,
        base: version.base,
        ran: config,
        below: without_adapter(store.config(config)?.value()),
        after: 0,
        documents: pack.and_then(|pack| Documents::of(&pack, config)),
        note: None,
    })
}

impl Ran<'_> {
    /// What the caller called it; a person may also have typed an image id or a digest.
    fn name(&self, named: Option<&str>) -> Result<Reference, StepError> {
        let names = self.store.references()?;
        if let Some(typed) = named.map(local)
            && let Some(name) = called(typed)
            && !typed.starts_with(ALGORITHM)
            && ((self.meant.is_some() && names.get(&name).map(|d| d.digest) == self.meant)
                || !self.is_digest(typed)?)
        {
            return Ok(name);
        }
        let meant = names.into_iter().find(|(_, descriptor)| Some(descriptor.digest) == self.meant);
        let of_config = || Ok::<_, StepError>(self.store.names_of_config(self.config)?.into_iter().next());
        match meant.map_or_else(of_config, |(name, _)| Ok(Some(name)))? {
            Some(name) => Ok(name),
            None => Err(later(format!(
                "image {} has no name, and its version needs one; give it one here (`hone load {}:{} --tag NAME:TAG`)",
                self.config,
                kind(&self.run.engine),
                &self.config.hex()[..SHORT]
            ))),
        }
    }

    /// Whether the text is a digest of the image, or the beginning of one: of its configuration, of a manifest that holds
    /// it, or of the index that this is in.
    fn is_digest(&self, text: &str) -> Result<bool, StepError> {
        let begins = |digest: Digest| digest.hex().starts_with(text);
        let whole = format!("{ALGORITHM}{text}").parse::<Digest>().is_ok();
        if whole || begins(self.config) || begins(self.asked) {
            return Ok(true);
        }
        let holds = |image: &&Image| image.config().digest() == self.config;
        Ok(self.store.packs()?.any(|(_, _, pack)| {
            let mut images = pack.images().iter().filter(holds).peekable();
            images.peek().is_some() && (begins(pack.digest()) || images.any(|image| begins(image.digest())))
        }))
    }

    /// A version of elsewhere: its own labels say so, and its base bears it out.
    fn foreign(&self, name: &Reference) -> Result<Option<Parent>, StepError> {
        let adapter = &self.run.job.adapter;
        let top = self.documents.as_ref().and_then(|documents| documents.image.layers().last());
        if let Some(found) = self.store.foreign(name, adapter, &self.value, top)? {
            let base = found.image.config();
            return Ok(Some(Parent {
                lineage: found.lineage,
                base: base.digest(),
                ran: self.config,
                below: base.value().clone(),
                after: found.number,
                documents: Documents::of(&found.base, base.digest()),
                note: None,
            }));
        }
        let Some((claim, lineage)) =
            Claim::of(&self.value).and_then(|c| Some((c.clone(), c.lineage(name, adapter)?)))
        else {
            return Ok(None);
        };
        let Some(engine) = hone_engines::of(&self.run.engine) else { return Ok(None) };
        let asking = asking(format!("{} for {lineage}", kind(&self.run.engine)));
        let Some(base) = engine.inspect(&lineage.to_string()).map_err(asking)? else { return Ok(None) };
        // Its topmost layer is in the engine only, and not looked at.
        let (base, below) = (base.id, described(base)?);
        if !claim.holds(&self.value, base, &below) {
            return Ok(None);
        }
        Ok(Some(Parent {
            lineage,
            base,
            ran: self.config,
            below,
            after: claim.number(),
            documents: None,
            note: None,
        }))
    }

    /// A base of its own.
    fn own(self, name: Reference) -> Parent {
        let note = claim::disbelieved(&name, &self.value);
        Parent {
            lineage: name,
            base: self.config,
            ran: self.config,
            below: self.value,
            after: 0,
            documents: self.documents,
            note,
        }
    }
}

/// `NAME:TAG`, or `NAME@sha256:...`, whose tag is then made of the digest.
fn called(text: &str) -> Option<Reference> {
    let Pinned { reference, digest, tagged } = text.parse().ok()?;
    match digest {
        Some(digest) if !tagged => reference.with_tag(&format!("sha256-{}", &digest.hex()[..SHORT])).ok(),
        _ => Some(reference),
    }
}

/// The image that ran, when the run record does not say: the engine is asked again, and without an engine the job, which
/// names base and trainer by content, must be that of one image here.
fn who_ran(store: &Store, run: &RunRecord, staged: &Staged) -> Result<(Digest, Option<String>), StepError> {
    let Some(engine) = hone_engines::of(&run.engine) else {
        return by_job(store, run);
    };
    let kind = kind(&run.engine);
    // The keeper asks without the container's lock. While it lives the engine may hold that lock, and wait for it.
    if staged.is_alive()? {
        return Err(later(format!("{kind} did not say which image ran")));
    }
    let asking = asking(format!("{kind} which image ran; its container must still be there"));
    let image = engine.image_of(&run.id).map_err(asking)?;
    Ok((image.config, Some(image.reference)))
}

fn by_job(store: &Store, run: &RunRecord) -> Result<(Digest, Option<String>), StepError> {
    let mut found: Vec<(Digest, Reference)> = Vec::new();
    for (name, _, pack) in store.packs()? {
        for image in pack.images() {
            let config = image.config().digest();
            if store.version_of_config(config)?.is_some() {
                continue;
            }
            match store.job_of(image) {
                Ok(job) if job.as_ref() == Some(&run.job) => found.push((config, name.clone())),
                Ok(_) => {}
                // Another's, such as one of a later Hone, stands in no run's way.
                Err(error) => {
                    let why =
                        format!("its job is not understood, so it is not the image that ran: {}", chain(&error));
                    store.notice(format!("image {name}"), why);
                }
            }
        }
    }
    match found.as_slice() {
        [(config, name)] => Ok((*config, Some(name.to_string()))),
        [] => Err(StepError::Refused(format!(
            "the image that ran is not known, and no image in the store has the job of {}",
            run.job.name
        ))),
        several => {
            let names: Vec<String> = several.iter().map(|(_, name)| name.to_string()).collect();
            Err(StepError::Refused(format!(
                "the image that ran is not known, and more than one has its job: {}",
                names.join(", ")
            )))
        }
    }
}

/// What the engine says of an image that the store does not know by its configuration's digest.
fn asked(store: &Store, run: &RunRecord, digest: Digest) -> Result<Option<Found>, StepError> {
    // A version of a base that only an engine has: its configuration was written here.
    if store.config(digest).is_ok() {
        return Ok(None);
    }
    let absent = || later(format!("image {digest} is neither in the local store nor in the engine"));
    let engine = hone_engines::of(&run.engine).ok_or_else(absent)?;
    let asking = asking(format!("{} for image {digest}", kind(&run.engine)));
    let found = engine.inspect(&digest.to_string()).map_err(asking)?;
    Ok(Some(found.ok_or_else(absent)?))
}

fn described(found: Found) -> Result<ImageConfig, StepError> {
    let misread = |source| Pending::Described { image: found.id, source };
    let config: RuntimeConfig = serde_json::from_value(found.config).map_err(misread)?;
    Ok(ImageConfig {
        created: None,
        architecture: found.architecture,
        variant: None,
        os: found.os,
        config,
        rootfs: RootFs::of(found.diff_ids),
        history: Vec::new(),
        rest: Default::default(),
    })
}

fn kind(engine: &Engine) -> &'static str {
    match engine {
        Engine::Docker { .. } => "docker",
        Engine::Podman { .. } => "podman",
        Engine::Embedded | Engine::None => "the store",
    }
}

/// Everything is kept, and the same command goes on.
fn later(why: String) -> StepError {
    Pending::Image(why).into()
}

/// Says what an engine was asked for in vain.
fn asking(what: String) -> impl FnOnce(hone_engines::Error) -> Pending {
    move |source| Pending::Ask { what, source: Box::new(source) }
}
