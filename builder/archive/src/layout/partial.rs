//! An OCI image layout with only the blobs that an engine lacks, for `podman pull oci:DIR`.
//!
//! Layers are named by their diff ids, so that the engine finds those it has by digest and does not open their
//! files (containers/image, TryReusingBlob; tried with podman 4.3).

use std::fs::{self, File};
use std::io;
use std::path::Path;

use hone_contract::Digest;
use serde_json::{Value, json};

use super::{INDEX, MARK, MARKED};
use crate::shipment::{Delivery, Shipment, WriteError};

/// Writes the layout of `shipment` into `dir`, an empty directory, without the blobs of its `skip` lowest layers.
///
/// # Errors
/// When a layer cannot be read, or the disk refuses.
pub fn write_partial(shipment: &Shipment<'_>, skip: usize, dir: &Path) -> Result<Delivery, WriteError> {
    let failed = |object: String| shipment.failed(object);
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed(blobs.display().to_string()))?;
    let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
    let mut layers = Vec::new();
    for (n, layer) in shipment.layers.iter().enumerate() {
        let object = format!("layer {}", layer.diff_id);
        let size = match n < skip {
            // The engine goes by the digest, and knows the size; reading the layer to tell it would cost what is saved.
            true => layer.size.unwrap_or(0),
            false => {
                let copy = || io::copy(&mut (layer.open)()?, &mut File::create(blobs.join(layer.diff_id.hex()))?);
                let size = copy().map_err(failed(object))?;
                sent = Delivery { sent_layers: sent.sent_layers + 1, sent_bytes: sent.sent_bytes + size };
                size
            }
        };
        layers.push(descriptor("application/vnd.oci.image.layer.v1.tar", &layer.diff_id, size));
    }
    finish(shipment, &layers, dir).map_err(failed(dir.display().to_string()))?;
    Ok(sent)
}

fn finish(shipment: &Shipment<'_>, layers: &[Value], dir: &Path) -> io::Result<()> {
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).map(|()| digest)
    };
    let config = blob(&shipment.config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config, shipment.config.len() as u64),
        "layers": layers,
    });
    let manifest = manifest.to_string();
    let digest = blob(manifest.as_bytes())?;
    let entry = descriptor("application/vnd.oci.image.manifest.v1+json", &digest, manifest.len() as u64);
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(dir.join(INDEX), index.to_string())?;
    fs::write(dir.join(MARK), MARKED)
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipment::ShipLayer;

    #[test]
    fn every_layer_is_described_and_only_the_missing_ones_are_there() {
        let layer = |bytes: &'static [u8]| ShipLayer {
            diff_id: Digest::of(bytes),
            size: Some(bytes.len() as u64),
            open: Box::new(move || Ok(Box::new(bytes))),
        };
        let shipment = Shipment {
            reference: "a:b".into(),
            config: b"{}".to_vec(),
            layers: vec![layer(b"base"), layer(b"new!!")],
        };
        let dir = tempfile::tempdir().unwrap();
        let sent = write_partial(&shipment, 1, dir.path()).unwrap();
        assert_eq!(sent, Delivery { sent_layers: 1, sent_bytes: 5 });
        let blob = |d: Digest| dir.path().join("blobs/sha256").join(d.hex());
        assert!(!blob(Digest::of(b"base")).exists());
        assert_eq!(fs::read(blob(Digest::of(b"new!!"))).unwrap(), b"new!!");
        let index: Value = serde_json::from_slice(&fs::read(dir.path().join("index.json")).unwrap()).unwrap();
        let digest: Digest = index["manifests"][0]["digest"].as_str().unwrap().parse().unwrap();
        let manifest: Value = serde_json::from_slice(&fs::read(blob(digest)).unwrap()).unwrap();
        let sizes: Vec<_> =
            manifest["layers"].as_array().unwrap().iter().map(|l| l["size"].as_u64().unwrap()).collect();
        assert_eq!(sizes, [4, 5]);
    }
}
