//! The images behind containerd's names: which of an index counts, whether all of it is there, what it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::rc::Rc;

use hone_archive::{OciBlob, OciRoot, OciShipment};
use hone_contract::Digest;
use hone_image::oci::{Descriptor, ImageConfig, Index, Manifest, Platform, Sealed};
use hone_image::platform::best;
use hone_image::walk::{Documents, Follow, Node, Part, Refusal, Walk};
use hone_image::{Document, Image};

use super::client::{Blob, Client};
use crate::engine::Found;
use crate::error::Error;

/// Labels that begin so lead containerd's collector from a document to what it needs.
const REFERS: &str = "containerd.io/gc.ref.content";

/// An index's images, the best for `machine` first; of an index in an index, nobody knows what it is.
fn best_first(machine: &Platform, index: &Index) -> Vec<Descriptor> {
    let image = |d: &&Descriptor| d.is_manifest() && !d.is_attestation() && d.is_for_linux_or_nobody();
    let mut images: Vec<Descriptor> = index.manifests.iter().filter(image).cloned().collect();
    let first = best(machine, &images, |d| d.platform.clone()).map(|d| d.digest);
    images.sort_by_key(|d| Some(d.digest) != first);
    images
}

/// The content store of a namespace. An error that is none says that there is no image, whoever put its parts there.
struct Content<'a>(&'a Rc<Client>);

impl Documents for Content<'_> {
    type Error = Option<Error>;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Option<Error>> {
        Blob::document(self.0, descriptor.digest).map_err(Some)
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> Option<Error> {
        let known = descriptor.is_index() || descriptor.is_manifest();
        match why {
            // A manifest and a configuration that disagree are no image.
            Refusal::Document(_) if !known => None,
            Refusal::Absent { .. } | Refusal::Image(_) => None,
            why => Some(Error::Document { digest: descriptor.digest, source: why.into() }),
        }
    }
}

/// The image that this index or manifest is: of several, that for this machine.
pub(super) fn image(client: &Rc<Client>, machine: &Platform, digest: Digest) -> Result<Option<Image>, Error> {
    let Some(bytes) = Blob::document(client, digest)? else { return Ok(None) };
    let refused = |why: Refusal| Error::Document { digest, source: Box::new(why) };
    // Of what the root leads to, the walk asks that.
    let got = Digest::of(&bytes);
    if got != digest {
        return Err(refused(Refusal::Digest { got, want: digest }));
    }
    let root = Document::parse(None, bytes).map_err(|error| refused(error.into()))?;
    let mut follow = Follow::joined();
    if let Document::Index(index) = &root {
        follow = follow.only(best_first(machine, index.value()));
    }
    for node in Walk::from(&Content(client), root, follow).strict() {
        match node {
            Ok(Node { part: Part::Image(image), .. }) => return Ok(Some(*image)),
            Ok(_) | Err(None) => {}
            Err(Some(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// What a name leads to, as far as it is there whole: the model's artifact comes along, and images for other machines
/// that were never pulled do not.
pub(super) fn whole<'a>(client: &'a Rc<Client>, name: &str, root: Descriptor) -> Result<OciShipment<'a>, Error> {
    let operation = format!("save image {name}");
    let none = || client.refused(&operation, "it has no such image, or none that is whole");
    let (mut documents, mut blobs, mut seen, mut manifests) = (Vec::new(), BTreeMap::new(), BTreeSet::new(), 0);
    let follow = Follow::named().when(|descriptor| seen.insert(descriptor.digest));
    for node in Walk::of(&Content(client), root.clone(), follow).strict() {
        match node.map_err(|error| error.unwrap_or_else(none))?.part {
            Part::Index(index) => documents.push(index.bytes().to_vec()),
            Part::Manifest(manifest, _) => {
                let Some(parts) = parts(client, manifest.value())? else { continue };
                blobs.extend(parts.into_iter().map(|part| (part.digest, part)));
                documents.push(manifest.bytes().to_vec());
                manifests += 1;
            }
            _ => {}
        }
    }
    if manifests == 0 {
        return Err(none());
    }
    let root = OciRoot { reference: name.parse().ok(), descriptor: root };
    let blobs = blobs.into_values().map(|descriptor| blob(client, descriptor));
    OciShipment::new(vec![root], documents, blobs).map_err(|source| client.refused(&operation, &source.to_string()))
}

/// What a manifest names; `None` when not all of that is there.
fn parts(client: &Client, manifest: &Manifest) -> Result<Option<Vec<Descriptor>>, Error> {
    let parts: Vec<_> = [&manifest.config].into_iter().chain(&manifest.layers).cloned().collect();
    for part in &parts {
        if client.size(part.digest)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(parts))
}

fn blob(client: &Rc<Client>, descriptor: Descriptor) -> OciBlob<'_> {
    let digest = descriptor.digest;
    let open = move || -> io::Result<Box<dyn Read>> {
        let blob = Blob::open(client, digest).map_err(Error::into_io)?;
        Ok(Box::new(blob.ok_or_else(gone)?))
    };
    OciBlob { descriptor, open: Box::new(open) }
}

/// Of a layer that an image in containerd had a moment before.
pub(super) fn gone() -> io::Error {
    let why = "an image of containerd had this layer, and it is gone; load the image that it was part of again";
    io::Error::new(io::ErrorKind::NotFound, why)
}

/// The labels of a document that names these, as containerd's own client has them (core/images, ChildGCLabels): whoever
/// labels it later finds its own.
pub(super) fn labels(of: &Descriptor, children: &[Descriptor]) -> BTreeMap<String, String> {
    let key = |n: usize| match (of.is_index(), n) {
        (true, n) => format!("{REFERS}.m.{n}"),
        (false, 0) => format!("{REFERS}.config"),
        (false, n) => format!("{REFERS}.l.{}", n - 1),
    };
    children.iter().enumerate().map(|(n, child)| (key(n), child.digest.to_string())).collect()
}

/// An image as engines describe one.
pub(super) fn found(image: &Image) -> Result<Found, Error> {
    let config: &Sealed<ImageConfig> = image.config();
    let digest = config.digest();
    let value = config.value();
    Ok(Found {
        id: digest,
        architecture: value.architecture.clone(),
        os: value.os.clone(),
        config: serde_json::from_slice::<serde_json::Value>(config.bytes())
            .map_err(|source| Error::Answer { command: format!("containerd's {digest}"), source })?["config"]
            .take(),
        diff_ids: value.rootfs.diff_ids.clone(),
        size: image.layers().iter().map(|layer| layer.descriptor.size).fold(0, u64::saturating_add),
    })
}

#[cfg(test)]
mod tests {
    use hone_image::media;

    use super::*;

    #[test]
    fn the_collector_is_led_to_every_part() {
        let part = |text: &str| Descriptor::of("application/x", Digest::of(text.as_bytes()), 1);
        let (index, manifest) = (Descriptor::of(media::INDEX, Digest::of(b"i"), 1), part("m"));
        let keys = |of: &Descriptor| labels(of, &[part("a"), part("b"), part("c")]).into_keys().collect::<Vec<_>>();
        assert_eq!(keys(&index), ["m.0", "m.1", "m.2"].map(|end| format!("{REFERS}.{end}")));
        assert_eq!(keys(&manifest), ["config", "l.0", "l.1"].map(|end| format!("{REFERS}.{end}")));
        assert_eq!(labels(&manifest, &[part("a")])[&format!("{REFERS}.config")], part("a").digest.to_string());
    }

    #[test]
    fn the_best_manifest_for_the_machine_comes_first_and_other_systems_never() {
        let entry = |platform: Platform| Descriptor {
            platform: Some(platform.clone()),
            ..Descriptor::of(media::MANIFEST, Digest::of(platform.to_string().as_bytes()), 1)
        };
        let arm = |variant| Platform::linux("arm", Some(variant));
        let windows = Platform { os: "windows".into(), ..arm("v7") };
        let all = [Platform::linux("other", None), windows, Platform::nobody(), arm("v5"), arm("v7"), arm("v8")];
        let index = Index::new(all.map(entry).to_vec());
        let shown = |machine| {
            let found = best_first(&machine, &index).into_iter();
            found.map(|d| d.platform.map(|p| p.to_string()).unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(shown(arm("v7")), ["linux/arm/v7", "linux/other", "linux/arm/v5", "linux/arm/v8"]);
        assert_eq!(shown(arm("v6"))[0], "linux/arm/v5");
    }
}
