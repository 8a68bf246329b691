//! Mending an image: what is damaged is fetched again from where it was pulled, and else taken away, so that whoever
//! builds or pulls it next writes it anew.

use std::collections::BTreeSet;
use std::error::Error;

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
    let mut later = BTreeSet::new();
    for _ in 0..ROUNDS {
        if damaged.is_empty() || !fetch(store, root, &damaged, client, &mut later)? {
            break;
        }
        damaged = look(store, root)?;
    }
    if damaged.is_empty() { Ok(()) } else { Err(conclude(store, image, &damaged, &later)?) }
}

fn look(store: &Store, root: Digest) -> Result<Vec<Damage>, Failure> {
    let _held = store.reading()?;
    Ok(store.damaged(root)?)
}

/// Fetches what is damaged from wherever it may have come; whether anything could be had. What may be had another time is
/// added to `later`.
fn fetch(
    store: &Store,
    root: Digest,
    damaged: &[Damage],
    client: &Client,
    later: &mut BTreeSet<Digest>,
) -> Result<bool, Failure> {
    let ingest = store.ingest()?;
    let mut any = false;
    for damage in damaged.iter().filter(|damage| !damage.is_refused()) {
        let digest = damage.descriptor.digest;
        for origin in origins(store, root, digest)? {
            match again(&ingest, &client.repository(&origin)?, damage) {
                Ok(()) => {
                    output::print(&format!("fetched {digest} again from {origin}\n"))?;
                    any = true;
                    break;
                }
                Err(error) => {
                    if !is_final(&*error) {
                        later.insert(digest);
                    }
                    store.notice(format!("fetch {digest} from {origin}"), chain(&*error));
                }
            }
        }
    }
    Ok(any)
}

/// Whether a server said, or showed, that it has not got what was asked for. Whatever else went wrong, a network that is
/// down, a login that is lacking, a disk that is full, may be otherwise the next time.
fn is_final(error: &(dyn Error + 'static)) -> bool {
    if error.is::<download::Other>() {
        return true;
    }
    match error.downcast_ref() {
        Some(hone_registry::Error::Digest { .. } | hone_registry::Error::Fewer { .. }) => true,
        Some(answer) => matches!(answer.status(), Some(404 | 410)),
        None => false,
    }
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

/// Says what is wrong with what is left, and takes away what is to be had from nowhere; what is to be done about it all.
fn conclude(store: &Store, image: &str, damaged: &[Damage], later: &BTreeSet<Digest>) -> Result<Failure, Failure> {
    for damage in damaged {
        output::print(&format!("{}\n", chain(&damage.why)))?;
    }
    let (refused, damaged): (Vec<_>, Vec<_>) = damaged.iter().partition(|damage| damage.is_refused());
    let digests = damaged.into_iter().map(|damage| damage.descriptor.digest);
    let (kept, lost): (Vec<Digest>, Vec<Digest>) = digests.partition(|digest| later.contains(digest));
    if !lost.is_empty() {
        let Some(removed) = store.discard(&lost)? else {
            let why = "the store is in use, and nothing damaged was removed; run this again when that is done";
            return Err(why.into());
        };
        for digest in removed {
            output::print(&format!("removed {digest}, which was damaged\n"))?;
        }
    }
    let of = |n: usize, what: &str| if n == 1 { format!("1 {what} is") } else { format!("{n} {what}s are") };
    let mut said = Vec::new();
    if !lost.is_empty() {
        let lost = of(lost.len(), "blob");
        said.push(format!("{lost} to be had from nowhere; build or pull it again, which writes them anew"));
    }
    if !kept.is_empty() {
        let kept = of(kept.len(), "damaged blob");
        said.push(format!(
            "{kept} kept, since there was no telling whether it can be had again; run this again later"
        ));
    }
    if !refused.is_empty() {
        let refused = of(refused.len(), "document");
        said.push(format!(
            "{refused} whole and refused for what it says, which nothing mends; have its maker write it anew"
        ));
    }
    Ok(format!("{image}: {}", said.join("; ")).into())
}
