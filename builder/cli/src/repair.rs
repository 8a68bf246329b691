//! Mending an image: what is damaged is fetched again from where it was pulled, and else taken away, so that whoever
//! builds or pulls it next writes it anew.

use hone_image::{Digest, Pack, Reference, media};
use hone_registry::{Client, Repository};
use hone_store::{Damage, Ingest, Store};

use crate::download;
use crate::failure::{Failure, chain};
use crate::output;
use crate::progress::{Mode, Progress};

/// An index names manifests, and those name blobs: what a damaged document names is known once it was fetched.
const ROUNDS: usize = 3;

/// Mends what `image` stands for, as far as that is possible; what is wrong beyond damaged blobs is not its business.
pub fn repair(store: &Store, image: &str, client: &Client) -> Result<(), Failure> {
    let root = store.find(image)?;
    let mut damaged = look(store, root)?;
    for _ in 0..ROUNDS {
        if damaged.is_empty() || !fetch(store, root, &damaged, client)? {
            break;
        }
        damaged = look(store, root)?;
    }
    discard(store, image, &damaged)
}

fn look(store: &Store, root: Digest) -> Result<Vec<Damage>, Failure> {
    let _held = store.reading()?;
    Ok(store.damaged(root)?)
}

/// Fetches what is damaged from wherever it may have come; whether anything could be had.
fn fetch(store: &Store, root: Digest, damaged: &[Damage], client: &Client) -> Result<bool, Failure> {
    let ingest = store.ingest()?;
    let mut any = false;
    for damage in damaged {
        let digest = damage.descriptor.digest;
        for origin in origins(store, root, digest)? {
            match again(&ingest, &client.repository(&origin), damage) {
                Ok(()) => {
                    output::print(&format!("fetched {digest} again from {origin}\n"))?;
                    any = true;
                    break;
                }
                Err(error) => store.notice(format!("fetch {digest} from {origin}"), chain(&*error)),
            }
        }
    }
    Ok(any)
}

/// Where a blob may have come from: the place that the image was pulled from, and those of images that share the blob.
fn origins(store: &Store, root: Digest, digest: Digest) -> Result<Vec<Reference>, Failure> {
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

fn again(ingest: &Ingest<'_>, repository: &Repository, damage: &Damage) -> Result<(), Failure> {
    let Damage { descriptor, document, .. } = damage;
    if *document {
        ingest.put(&repository.manifest(&descriptor.digest.to_string())?.bytes)?;
    } else {
        download::blob(ingest, repository, descriptor, Progress::new(Mode::Auto, false))?;
    }
    Ok(())
}

/// Takes away what could not be had again.
fn discard(store: &Store, image: &str, damaged: &[Damage]) -> Result<(), Failure> {
    if damaged.is_empty() {
        return Ok(());
    }
    for damage in damaged {
        output::print(&format!("{}\n", chain(&damage.why)))?;
    }
    let digests: Vec<Digest> = damaged.iter().map(|damage| damage.descriptor.digest).collect();
    let Some(removed) = store.discard(&digests)? else {
        return Err("the store is in use, and nothing damaged was removed; run this again when that is done".into());
    };
    for digest in removed {
        output::print(&format!("removed {digest}, which was damaged\n"))?;
    }
    Err(format!(
        "{image}: {} blobs are to be had from nowhere; build or pull it again, which writes them anew",
        digests.len()
    )
    .into())
}
