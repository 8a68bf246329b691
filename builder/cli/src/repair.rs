//! Mending an image: what is damaged is fetched again from where it was pulled, and else taken away, so that whoever
//! builds or pulls it next writes it anew.

use hone_image::{Digest, Reference};
use hone_registry::Client;
use hone_store::{Damage, Ingest, Store};

use crate::download;
use crate::failure::{Failure, because, chain};
use crate::output;
use crate::progress::{Mode, Progress};

/// An index names manifests, and those name blobs: what a damaged document names is known once it was fetched.
const ROUNDS: usize = 3;

/// Mends what `image` stands for, as far as that is possible; what is wrong beyond damaged blobs is not its business.
pub fn repair(store: &Store, image: &str, client: &Client) -> Result<(), Failure> {
    let root = store.find(image)?;
    let damaged = look(store, root)?;
    if damaged.is_empty() {
        return Ok(());
    }
    let left = match store.origin(root)?.and_then(|origin| origin.parse::<Reference>().ok()) {
        Some(origin) => match fetch(store, root, damaged, client, &origin) {
            Ok(left) => left,
            Err(error) => {
                store.notice(format!("fetch what is damaged from {origin}"), chain(&*error));
                look(store, root)?
            }
        },
        None => damaged,
    };
    discard(store, image, &left)
}

fn look(store: &Store, root: Digest) -> Result<Vec<Damage>, Failure> {
    let _held = store.reading()?;
    Ok(store.damaged(root)?)
}

/// Fetches what is damaged; what is damaged then.
fn fetch(
    store: &Store,
    root: Digest,
    mut damaged: Vec<Damage>,
    client: &Client,
    origin: &Reference,
) -> Result<Vec<Damage>, Failure> {
    let repository = client.repository(origin);
    let ingest = store.ingest()?;
    for _ in 0..ROUNDS {
        for damage in &damaged {
            let digest = damage.descriptor.digest;
            again(&ingest, &repository, damage).map_err(because(format!("fetch {digest}")))?;
            output::print(&format!("fetched {digest} again from {origin}\n"))?;
        }
        damaged = store.damaged(root)?;
        if damaged.is_empty() {
            break;
        }
    }
    Ok(damaged)
}

fn again(ingest: &Ingest<'_>, repository: &hone_registry::Repository, damage: &Damage) -> Result<(), Failure> {
    match damage.document {
        true => ingest.put(&repository.manifest(&damage.descriptor.digest.to_string())?.bytes).map(drop)?,
        false => {
            let progress = Progress::new(Mode::Auto, false);
            download::blob(ingest, repository, &damage.descriptor, progress).map(drop)?;
        }
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
