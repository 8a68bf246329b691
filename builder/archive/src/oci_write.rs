//! An OCI archive, written as a stream: `oci-layout`, `index.json`, documents, then the other blobs.
//!
//! When it holds one image there is docker's `manifest.json`, too, as `docker save` (since 25) and `ctr images
//! export` write it: dockers without containerd's image store look for nothing else.

use std::collections::BTreeSet;
use std::io::{self, Write};

use hone_contract::{Digest, Reference};
use hone_image::media;
use hone_image::oci::{Index, Manifest, Sealed};
use hone_image::tar::TarWriter;

use crate::docker::bytes;
use crate::layout::{INDEX, MARK, MARKED};
use crate::oci_shipment::{IMAGE_NAME, OciRoot, OciShipment};
use crate::shipment::{Delivery, WriteError, cause};

/// Writes `shipment` as an OCI archive; the same bytes for the same shipment.
///
/// # Errors
/// When a blob cannot be read or has another length than its descriptor says, or `to` takes no more.
pub fn write_oci_archive(shipment: &OciShipment<'_>, to: &mut dyn Write) -> Result<Delivery, WriteError> {
    write(shipment, false, &BTreeSet::new(), to)
}

/// Writes the archive without the blobs `held`, which the reader has; `named` leaves out what has no name.
///
/// # Errors
/// As [`write_oci_archive`].
pub fn write(
    shipment: &OciShipment<'_>,
    named: bool,
    held: &BTreeSet<Digest>,
    to: &mut dyn Write,
) -> Result<Delivery, WriteError> {
    let failed = |object: String| {
        let reference = shipment.name();
        move |source| WriteError { reference, object, source }
    };
    let (documents, blobs) = shipment.contents(named);
    let mut out = TarWriter::archive(to);
    head(&mut out, shipment, named).map_err(failed("index".into()))?;
    for (digest, document) in documents {
        bytes(&mut out, &path(&digest), document).map_err(failed(digest.to_string()))?;
    }
    let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
    for blob in blobs.into_iter().filter(|blob| !held.contains(&blob.descriptor.digest)) {
        let d = &blob.descriptor;
        let copy = |out: &mut TarWriter<&mut dyn Write>| {
            out.file(&path(&d.digest), false, d.size, &mut (blob.open)()?).map_err(cause)
        };
        copy(&mut out).map_err(failed(format!("blob {}", d.digest)))?;
        sent = Delivery { sent_layers: sent.sent_layers + 1, sent_bytes: sent.sent_bytes + d.size };
    }
    out.finish().map_err(failed("end".into()))?;
    Ok(sent)
}

fn head(out: &mut TarWriter<&mut dyn Write>, shipment: &OciShipment<'_>, named: bool) -> io::Result<()> {
    bytes(out, MARK, MARKED.as_bytes())?;
    let entries = shipment.roots(named).map(entry).collect();
    bytes(out, INDEX, Sealed::new(Index::new(entries)).bytes())?;
    let names: Vec<_> = shipment.roots(true).filter_map(|root| root.reference.as_ref()).collect();
    match shipment.only_image() {
        Some(image) => bytes(out, "manifest.json", docker_manifest(image, &names).as_bytes()),
        None => Ok(()),
    }
}

/// A root as `index.json` has it: its own annotations, and both of the names by which it is looked for.
fn entry(root: &OciRoot) -> hone_image::oci::Descriptor {
    let mut descriptor = root.descriptor.clone();
    if let Some(reference) = &root.reference {
        descriptor.annotations.insert(IMAGE_NAME.to_owned(), reference.canonical());
        descriptor.annotations.insert(media::REF_NAME.to_owned(), reference.to_string());
    }
    descriptor
}

fn docker_manifest(image: &Manifest, names: &[&Reference]) -> String {
    let layers: Vec<_> = image.layers.iter().map(|layer| path(&layer.digest)).collect();
    serde_json::json!([{ "Config": path(&image.config.digest), "RepoTags": names, "Layers": layers }]).to_string()
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
