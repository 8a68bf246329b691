//! `hone inspect docker://NAME`: an image of a registry, by its documents; no layer is fetched.

use std::collections::BTreeMap;
use std::io::Read;

use hone_contract::{Digest, Pinned, Reference};
use hone_image::oci::{Descriptor, MAX_DOCUMENT_BYTES, Sealed};
use hone_image::{Document, Image, document};
use hone_registry::Repository;
use hone_remote::image_of;
use hone_store::{Verified, this_machine};

use super::{Inspect, View, common, layer_view};
use crate::failure::Failure;
use crate::output;

impl Inspect {
    /// Shows an image of a registry by its documents; no layer is fetched.
    pub(super) fn remote(&self, wanted: &Pinned) -> Result<(), Failure> {
        if self.sbom {
            return Err(
                "its bill of materials is read when the image is here: `hone pull`, then `hone inspect --sbom`"
                    .into(),
            );
        }
        let repository = self.net.client().repository(&wanted.reference)?;
        let root = repository.manifest(&wanted.target())?;
        if self.raw {
            return output::print(&String::from_utf8_lossy(&root.bytes));
        }
        let (manifest, platforms) = match Document::parse(Some(&root.media_type), root.bytes)? {
            Document::Manifest(manifest) => (manifest, Vec::new()),
            Document::Index(index) => {
                let all = index.value().manifests.iter().filter_map(|d| d.platform.as_ref());
                let all = all.filter(|p| !p.is_nobody()).map(ToString::to_string).collect();
                let machine = self.platform.clone().unwrap_or_else(this_machine);
                let one = image_of(index.value(), &machine)?;
                let fetched = repository.manifest(&one.digest.to_string())?;
                (document::manifest(Some(&one.media_type), fetched.bytes)?, all)
            }
        };
        let config = small_blob(&repository, &manifest.value().config)?;
        if self.config {
            return output::print(&String::from_utf8_lossy(&config));
        }
        let image = Image::join(manifest, Sealed::parse("config", config)?)?;
        self.show(of_registry(&image, wanted.reference.clone(), root.digest, platforms))
    }
}

/// What the documents alone tell.
fn of_registry(image: &Image, name: Reference, root: Digest, platforms: Vec<String>) -> View {
    let total = image.size().max(1) as f64;
    let layers = image.layers().iter().map(|layer| layer_view(layer, total, &BTreeMap::new()));
    let mut view = common(image.config().value(), image.config().digest(), layers.collect());
    view.references = vec![name];
    view.digest = Some(root);
    view.manifest = Some(image.digest());
    view.platforms = if platforms.is_empty() { vec![image.platform().to_string()] } else { platforms };
    view.size = image.size();
    view.annotations = image.manifest().value().annotations.clone();
    view
}

/// A small blob of a registry, verified.
fn small_blob(repository: &Repository, blob: &Descriptor) -> Result<Vec<u8>, Failure> {
    if blob.size > MAX_DOCUMENT_BYTES {
        return Err(format!("config {}: {} bytes, want at most {MAX_DOCUMENT_BYTES}", blob.digest, blob.size).into());
    }
    let mut bytes = Vec::new();
    Verified::new(repository.blob(blob, 0)?, blob.digest, Some(blob.size)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
