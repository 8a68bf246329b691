//! An image that `hone build` made when contract 1 was new, as it was recorded: whatever is changed here, such images stay
//! what they are.

use hone_contract::job::Job;
use hone_image::oci::{ImageConfig, Sealed};
use hone_image::{Image, LayerKind, media};

#[test]
fn a_recorded_image_is_read_with_its_job() {
    let manifest = include_bytes!("../../../tests/fixtures/contract/v1/manifest.json");
    let config = include_bytes!("../../../tests/fixtures/contract/v1/config.json");
    let job = include_bytes!("../../../tests/fixtures/contract/v1/job.json");
    let manifest = hone_image::document::manifest(None, manifest.to_vec()).expect("a manifest");
    let config = Sealed::<ImageConfig>::parse("image configuration", config.to_vec()).expect("a configuration");
    let image = Image::join(manifest, config).expect("they belong together");
    let kinds: Vec<_> = image.layers().iter().map(|layer| layer.kind).collect();
    assert_eq!(kinds, [LayerKind::Trainer, LayerKind::Weight, LayerKind::Model, LayerKind::Job]);
    let started = &image.config().value().config;
    assert_eq!(
        (started.label(media::LABEL_CONTRACT), started.label(media::LABEL_NAME)),
        (Some("1"), Some("recorded"))
    );
    let job = Job::parse(job).expect("a job");
    assert_eq!(job.name, "recorded");
    assert!(job.trains(&started.command_line()));
    let weight = image.layer(LayerKind::Weight).expect("a weight");
    let base = job.base.expect("a base");
    let file = base.files.iter().find(|file| file.path == "model.safetensors").expect("its file");
    assert_eq!(weight.descriptor.annotations.get(media::FILE_DIGEST), Some(&file.digest.to_string()));
}
