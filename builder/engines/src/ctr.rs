//! What `ctr` prints: its tables, and the documents of its content store.

use std::collections::BTreeSet;

use hone_image::oci::{Descriptor, ImageConfig, Index, Platform, Sealed};
use hone_image::platform::best;
use hone_image::{Digest, Document, Image};

use crate::engine::Found;
use crate::error::Error;

/// Reads the digests in the table of `ctr images ls`, whose columns begin with name, media type, digest.
pub(crate) fn images(table: &[u8]) -> Result<Vec<Digest>, Error> {
    let text = String::from_utf8_lossy(table);
    let rows = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|columns| columns.len() >= 3).map(|columns| digest(columns[2], "ctr images ls")).collect()
}

/// Reads the lines of `ctr content ls --quiet`; digests of other algorithms are none of ours.
pub(crate) fn content(lines: &[u8]) -> BTreeSet<Digest> {
    String::from_utf8_lossy(lines).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

fn digest(text: &str, command: &str) -> Result<Digest, Error> {
    text.parse().map_err(|source| Error::Digest { command: command.to_owned(), source })
}

/// An index's images, the best for `machine` first; of an index in an index, nobody knows what it is.
pub(crate) fn best_first(machine: &Platform, index: &Index) -> Vec<Descriptor> {
    let image = |d: &&Descriptor| d.is_manifest() && !d.is_attestation() && d.is_for_linux_or_nobody();
    let mut images: Vec<Descriptor> = index.manifests.iter().filter(image).cloned().collect();
    let first = best(machine, &images, |d| d.platform.clone()).map(|d| d.digest);
    images.sort_by_key(|d| Some(d.digest) != first);
    images
}

/// Parses a document that `ctr content get` printed.
pub(crate) fn document(digest: Digest, said: Option<&str>, bytes: Vec<u8>) -> Result<Document, Error> {
    Document::parse(said, bytes).map_err(|source| Error::Document { digest, source })
}

/// An image as engines describe one.
pub(crate) fn found(image: &Image) -> Result<Found, Error> {
    let config: &Sealed<ImageConfig> = image.config();
    let digest = config.digest();
    let value = config.value();
    Ok(Found {
        id: digest,
        architecture: value.architecture.clone(),
        os: value.os.clone(),
        config: serde_json::from_slice::<serde_json::Value>(config.bytes())
            .map_err(|source| Error::Answer { command: format!("ctr content get {digest}"), source })?["config"]
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
    fn tables_are_read_and_empty_ones_too() {
        let digest = Digest::of(b"x");
        let table = format!(
            "REF TYPE DIGEST SIZE PLATFORMS LABELS \ndocker.io/library/a:b application/x {digest} 17.9 MiB linux/amd64 - \n"
        );
        assert_eq!(images(table.as_bytes()).unwrap(), [digest]);
        assert!(images(b"REF TYPE DIGEST SIZE PLATFORMS LABELS \n").unwrap().is_empty());
        assert_eq!(content(format!("{digest}\nsha512:00\n").as_bytes()), BTreeSet::from([digest]));
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
