//! What every test of a store begins with: a place, a name, an image.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;

use hone_contract::Reference;
use hone_image::image::{BaseImage, Image};
use hone_image::oci::RuntimeConfig;
use hone_image::{Layer, LayerKind};
use hone_store::{Ingest, Store};

/// A store where nothing is yet, in a directory that goes with its handle.
pub fn site() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = Store::at(dir.path().join("root"));
    (dir, store)
}

pub fn name(text: &str) -> Reference {
    text.parse().expect("reference")
}

/// An image for this machine, of one layer with these bytes, under a name.
pub fn image_of(ingest: &Ingest<'_>, reference: &str, layer: &[u8]) -> Image {
    let layer = Layer::tar(LayerKind::Other, ingest.put(layer).expect("layer"), layer.len() as u64);
    let image = Image::base(BaseImage {
        name: "m".to_owned(),
        architecture: hone_store::this_processor().to_owned(),
        variant: None,
        config: RuntimeConfig::default(),
        layers: vec![layer],
        annotations: BTreeMap::new(),
    });
    ingest.put_image(&name(reference), &image).expect("put");
    image
}
