//! Mending an image: what is damaged is fetched again from where it was pulled, and else taken away, so that whoever
//! builds or pulls it next writes it anew.

use std::collections::BTreeSet;

use hone_contract::progress::Progress;
use hone_contract::{Digest, Reference, chain};
use hone_image::{Pack, media};
use hone_registry::{Client, Repository};
use hone_store::{Damage, Ingest, Store, StoreError};

use crate::{RemoteError, blob};

/// An index names manifests, and those name blobs: what a damaged document names is known once it was fetched.
const ROUNDS: usize = 3;

/// What was wrong with an image, and what became of it.
#[derive(Debug, Default)]
pub struct Mended {
    /// What was fetched again, and from where.
    pub fetched: Vec<(Digest, Reference)>,
    /// What could not be mended; nothing, when the image is whole.
    pub left: Option<Unmended>,
}

/// What is still damaged.
#[derive(Debug)]
pub struct Unmended {
    /// All of it, and why.
    pub damaged: Vec<Damage>,
    /// What is to be had from nowhere.
    pub lost: Vec<Digest>,
    /// Which of that was removed, so that the next build or pull writes it anew; `None` when the store is in use, and nothing
    /// could be.
    pub removed: Option<Vec<Digest>>,
    /// Kept, since it may be had another time.
    pub kept: Vec<Digest>,
}

/// Mends what `image` stands for, as far as that is possible; what is wrong beyond damaged blobs is not its business.
///
/// # Errors
/// When the store cannot be read or written.
pub fn repair(store: &Store, image: &str, client: &Client, progress: &dyn Progress) -> Result<Mended, StoreError> {
    let root = store.find(image)?;
    let mut damaged = look(store, root)?;
    let (mut later, mut fetched) = (BTreeSet::new(), Vec::new());
    for _ in 0..ROUNDS {
        let round = Round { store, root, client, progress };
        if damaged.is_empty() || !round.fetch(&damaged, &mut fetched, &mut later)? {
            break;
        }
        damaged = look(store, root)?;
    }
    let left = if damaged.is_empty() { None } else { Some(conclude(store, damaged, &later)?) };
    Ok(Mended { fetched, left })
}

fn look(store: &Store, root: Digest) -> Result<Vec<Damage>, StoreError> {
    let _held = store.reading()?;
    store.damaged(root)
}

struct Round<'a> {
    store: &'a Store,
    root: Digest,
    client: &'a Client,
    progress: &'a dyn Progress,
}

impl Round<'_> {
    /// Fetches what is damaged from wherever it may have come; whether anything could be had. What may be had another time
    /// is added to `later`.
    fn fetch(
        &self,
        damaged: &[Damage],
        fetched: &mut Vec<(Digest, Reference)>,
        later: &mut BTreeSet<Digest>,
    ) -> Result<bool, StoreError> {
        let (store, before) = (self.store, fetched.len());
        let ingest = store.ingest()?;
        for damage in damaged.iter().filter(|damage| !damage.is_refused()) {
            let digest = damage.descriptor.digest;
            for origin in origins(store, self.root, digest)? {
                let repository = self.client.repository(&origin).map_err(RemoteError::from);
                match repository.and_then(|from| again(&ingest, &from, damage, self.progress)) {
                    Ok(()) => {
                        fetched.push((digest, origin));
                        break;
                    }
                    Err(error) => {
                        if !error.is_final() {
                            later.insert(digest);
                        }
                        store.notice(format!("fetch {digest} from {origin}"), chain(&error));
                    }
                }
            }
        }
        Ok(fetched.len() > before)
    }
}

/// Where a blob may have come from: the place that the image was pulled from, and those of images that share the blob.
fn origins(store: &Store, root: Digest, digest: Digest) -> Result<Vec<Reference>, StoreError> {
    let own = store.origin(root)?;
    let shares = |pack: &Pack| {
        let documents = pack.documents().into_iter().map(|(d, _)| d.digest);
        pack.layers().into_iter().map(|d| d.digest).chain(documents).any(|d| d == digest)
    };
    let others = store.packs()?.filter(|(_, _, pack)| shares(pack));
    let others = others.filter_map(|(_, descriptor, _)| descriptor.annotations.get(media::PULLED_FROM).cloned());
    let mut found: Vec<Reference> = Vec::new();
    for origin in own.into_iter().chain(others).filter_map(|origin| origin.parse().ok()) {
        if !found.contains(&origin) {
            found.push(origin);
        }
    }
    Ok(found)
}

fn again(
    ingest: &Ingest<'_>,
    repository: &Repository,
    damage: &Damage,
    progress: &dyn Progress,
) -> Result<(), RemoteError> {
    let Damage { descriptor, document, .. } = damage;
    if *document {
        ingest.put(&repository.manifest(&descriptor.digest.to_string())?.bytes)?;
    } else {
        blob(ingest, repository, descriptor, progress)?;
    }
    Ok(())
}

/// Takes away what is to be had from nowhere.
fn conclude(store: &Store, damaged: Vec<Damage>, later: &BTreeSet<Digest>) -> Result<Unmended, StoreError> {
    let digests = damaged.iter().filter(|damage| !damage.is_refused()).map(|damage| damage.descriptor.digest);
    let (kept, lost): (Vec<Digest>, Vec<Digest>) = digests.partition(|digest| later.contains(digest));
    let removed = if lost.is_empty() { Some(Vec::new()) } else { store.discard(&lost)? };
    Ok(Unmended { damaged, lost, removed, kept })
}
