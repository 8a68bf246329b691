//! What `ctr` prints: its tables, and the documents of its content store.

use std::collections::BTreeSet;

use hone_image::oci::{Descriptor, ImageConfig, Index, Sealed};
use hone_image::{Digest, Image};

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

/// An index's manifests, those for this machine first; of an index in an index, nobody knows what it is.
pub(crate) fn for_this_machine_first(index: Index) -> Vec<Descriptor> {
    let ours = |d: &Descriptor| d.platform.as_ref().is_some_and(|p| p.architecture == architecture());
    let manifests = index.manifests.into_iter().filter(Descriptor::is_manifest);
    let (first, rest): (Vec<_>, Vec<_>) = manifests.partition(ours);
    first.into_iter().chain(rest).collect()
}

/// GOARCH of this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Parses a document that `ctr content get` printed.
pub(crate) fn document<T: serde::de::DeserializeOwned>(digest: Digest, bytes: &[u8]) -> Result<T, Error> {
    let command = format!("ctr content get {digest}");
    serde_json::from_slice(bytes).map_err(|source| Error::Answer { command, source })
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
        config: document::<serde_json::Value>(digest, config.bytes())?["config"].take(),
        diff_ids: value.rootfs.diff_ids.clone(),
    })
}

#[cfg(test)]
mod tests {
    use hone_image::media;
    use hone_image::oci::Platform;

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
    fn this_machine_s_manifest_comes_first() {
        let entry = |architecture: &str| Descriptor {
            platform: Some(Platform { architecture: architecture.into(), os: "linux".into(), variant: None }),
            ..Descriptor::of(media::MANIFEST, Digest::of(architecture.as_bytes()), 1)
        };
        let index = Index::new(vec![entry("other"), entry(architecture())]);
        assert_eq!(for_this_machine_first(index)[0].digest, Digest::of(architecture().as_bytes()));
    }
}
