//! Manifests, indexes, configurations, jobs and references, as another tool or a registry may write them.
#![no_main]

use hone_contract::job::{AdapterSpec, Job};
use hone_contract::{Digest, Reference};
use hone_image::foreign::parts;
use hone_image::image::VersionOf;
use hone_image::oci::{ImageConfig, Manifest, Sealed};
use hone_image::{Document, Image, Layer, LayerKind, document};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|bytes: &[u8]| {
    let sealed = Document::parse(None, bytes.to_vec());
    if let Ok(Document::Index(index)) = &sealed {
        assert_eq!(index.digest(), Digest::of(bytes));
        assert!(document::manifest(None, bytes.to_vec()).is_err(), "an index and a manifest");
        rewritten(bytes, serde_json::to_value(index.value()).expect("written"));
    }
    if let Ok(Document::Manifest(manifest)) = &sealed {
        assert!(document::index(None, bytes.to_vec()).is_err(), "a manifest and an index");
        rewritten(bytes, serde_json::to_value(manifest.value()).expect("written"));
        let _ = (manifest.value().is_image(), parts(manifest.value()));
    }
    if let Ok(job) = Job::parse(bytes) {
        assert_eq!(Job::parse(&job.to_bytes()).expect("a job that we wrote"), job);
    }
    let _ = serde_json::from_slice::<AdapterSpec>(bytes);
    if let Some(reference) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Reference>().ok()) {
        assert_eq!(reference.to_string().parse::<Reference>().expect("as written"), reference);
    }
    // A manifest, a byte of zeros, its configuration.
    let half = bytes.iter().position(|b| *b == 0);
    if let (Err(_), Some(at)) = (&sealed, half) {
        join(&bytes[..at], &bytes[at + 1..]);
    }
});

/// Nothing that somebody wrote is lost when a document is written again.
fn rewritten(bytes: &[u8], written: Value) {
    let read: Value = serde_json::from_slice(bytes).expect("JSON");
    let written = written.as_object().expect("an object");
    for (key, _) in read.as_object().expect("an object").iter().filter(|(_, v)| !v.is_null() && **v != json!({})) {
        assert!(written.contains_key(key), "{key} is lost");
    }
}

fn join(manifest: &[u8], config: &[u8]) {
    let (Ok(manifest), Ok(config)) = (
        serde_json::from_slice::<Manifest>(manifest),
        Sealed::<ImageConfig>::parse("configuration", config.to_vec()),
    ) else {
        return;
    };
    // The digest is one that no mutation finds.
    let descriptor = config.descriptor(&manifest.config.media_type);
    let manifest = Sealed::new(Manifest { config: descriptor, ..manifest });
    let Ok(image) = Image::join(manifest, config) else { return };
    let _ = image.size();
    let digest = Digest::of(b"");
    let version = VersionOf { lineage: "a:b".into(), base: digest, parent: digest, number: 1 };
    let adapter = Layer::tar(LayerKind::Adapter, digest, 1);
    let config = hone_image::image::version_config(image.config().value(), &version, &adapter);
    let child = image.with_adapter(config, &version, adapter);
    assert_eq!(child.layers().last().map(|layer| layer.kind), Some(LayerKind::Adapter));
    assert!(Image::join(child.manifest().clone(), child.config().clone()).is_ok(), "a version that is not read back");
}
