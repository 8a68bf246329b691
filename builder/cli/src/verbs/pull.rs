//! `hone pull`: an image of a registry into the store, resumable and verified.

use std::io::{self, Read};

use clap::Args;
use hone_image::oci::{Descriptor, Index, MAX_DOCUMENT_BYTES, Manifest, Sealed};
use hone_image::sbom::{CYCLONEDX_JSON, SPDX_JSON};
use hone_image::{Artifact, Digest, Reference, media};
use hone_registry::{Pinned, Repository};
use hone_store::{Budget, Ingest, Store, Verified, this_processor};

use crate::download;
use crate::failure::{Failure, because, chain};
use crate::net::NetArgs;
use crate::output;
use crate::progress::{Mode, Progress};

/// What a bill of materials is called.
const BILLS: [&str; 2] = [SPDX_JSON, CYCLONEDX_JSON];
/// Bills of one image that are fetched.
const MAX_BILLS: usize = 16;

/// Arguments of `hone pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// REGISTRY/NAME:TAG or NAME@sha256:...
    #[arg(value_name = "NAME")]
    name: Pinned,
    /// The name it gets here [default: the same]
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
    /// Fetch the images for all processors, not only this machine's
    #[arg(long)]
    all_platforms: bool,
    #[command(flatten)]
    net: NetArgs,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
    /// Print the digest and nothing else
    #[arg(short, long)]
    quiet: bool,
}

impl Pull {
    /// Pulls; the name here changes last.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let pulling = because(format!("pull {}", self.name.reference));
        let repository = self.net.client().repository(&self.name.reference);
        let progress = Progress::new(self.progress, self.quiet);
        let name = self.tag.clone().unwrap_or_else(|| self.name.reference.clone());
        let pulled = (|| -> Result<Digest, Failure> {
            let ingest = store.ingest()?;
            let pull = Pulling { repository: &repository, ingest: &ingest, progress, all: self.all_platforms };
            let root = pull.fetch(&self.name)?;
            pull.bills(root.digest)?;
            store.tag(&root, &name)?;
            Ok(root.digest)
        })();
        let digest = pulled.map_err(pulling)?;
        if self.quiet {
            output::report(&format!("{digest}\n"))
        } else {
            output::report(&format!("{name} {digest}\n"))
        }
    }
}

/// An image on its way into the store.
pub struct Pulling<'a> {
    /// Where it is.
    pub repository: &'a Repository,
    /// The store.
    pub ingest: &'a Ingest<'a>,
    /// Shows steps.
    pub progress: Progress,
    /// The images for all processors, not only this machine's.
    pub all: bool,
}

impl Pulling<'_> {
    /// Fetches and verifies it; what it stands for, without a name yet.
    pub fn fetch(&self, wanted: &Pinned) -> Result<Descriptor, Failure> {
        let root = self.repository.manifest(&wanted.target())?;
        let (digest, size) = (root.digest, root.bytes.len() as u64);
        let bytes = root.bytes.clone();
        let media_type = match Sealed::<Index>::parse("index", root.bytes) {
            Ok(index) => {
                for child in self.chosen(index.value())? {
                    let fetched = self.repository.manifest(&child.digest.to_string())?;
                    self.manifest(fetched.bytes)?;
                }
                media::INDEX
            }
            Err(_) => {
                self.manifest(bytes.clone())?;
                media::MANIFEST
            }
        };
        self.ingest.put(&bytes)?;
        self.diff_ids(digest)?;
        Ok(Descriptor::of(media_type, digest, size))
    }

    /// Fetches the bills of materials of what was fetched; other statements (signatures, say) are not read here.
    fn bills(&self, subject: Digest) -> Result<(), Failure> {
        let reading = |digest: Digest| because(format!("bill of materials {digest}"));
        let listed = match self.repository.referrers(subject) {
            Ok(listed) => listed,
            // Registries answer in many ways that they keep no such list; the image is whole without.
            Err(error) => {
                self.progress.step("bill of materials", None).noted(0, None, &format!("none: {}", chain(&error)));
                return Ok(());
            }
        };
        let is_bill = |d: &&Descriptor| d.artifact_type.as_deref().is_some_and(|kind| BILLS.contains(&kind));
        for descriptor in listed.iter().filter(is_bill).take(MAX_BILLS) {
            self.bill(subject, descriptor.digest).map_err(reading(descriptor.digest))?;
        }
        Ok(())
    }

    fn bill(&self, subject: Digest, digest: Digest) -> Result<(), Failure> {
        let fetched = self.repository.manifest(&digest.to_string())?;
        let manifest: Sealed<Manifest> = Sealed::parse("manifest", fetched.bytes)?;
        let value = manifest.value();
        if value.subject.as_ref().is_none_or(|s| s.digest != subject) {
            return Err(format!("it is not about {subject}").into());
        }
        if !fits(&value.layers) {
            return Err(format!("its documents have more than {MAX_DOCUMENT_BYTES} bytes").into());
        }
        self.manifest(manifest.bytes().to_vec())?;
        let config = self.ingest.store().read_blob(value.config.digest, MAX_DOCUMENT_BYTES)?;
        let config = Sealed::parse("config", config)?;
        Ok(self.ingest.put_referrer(&Artifact { manifest, config })?)
    }

    /// Of an index's manifests those for this machine, and artifacts.
    fn chosen<'i>(&self, index: &'i Index) -> Result<Vec<&'i Descriptor>, Failure> {
        let here = |d: &&Descriptor| {
            let platform = d.platform.as_ref();
            self.all || d.artifact_type.is_some() || platform.is_none_or(|p| p.architecture == this_processor())
        };
        let manifests: Vec<&Descriptor> = index.manifests.iter().filter(|d| d.is_manifest()).collect();
        let chosen: Vec<&Descriptor> = manifests.iter().copied().filter(here).collect();
        if chosen.iter().all(|d| d.artifact_type.is_some()) && !manifests.is_empty() {
            let has: Vec<String> = manifests
                .iter()
                .filter_map(|d| d.platform.as_ref())
                .map(|p| format!("{}/{}", p.os, p.architecture))
                .collect();
            let why = format!(
                "no image for linux/{}; it has {}; --all-platforms takes them",
                this_processor(),
                has.join(", ")
            );
            return Err(why.into());
        }
        Ok(chosen)
    }

    /// A manifest and the blobs it names.
    fn manifest(&self, bytes: Vec<u8>) -> Result<(), Failure> {
        let manifest: Sealed<Manifest> = Sealed::parse("manifest", bytes)?;
        let Manifest { config, layers, .. } = manifest.value();
        if config.size > MAX_DOCUMENT_BYTES {
            return Err(format!(
                "config {}: {} bytes, want at most {MAX_DOCUMENT_BYTES}",
                config.digest, config.size
            )
            .into());
        }
        if !self.ingest.store().has(config.digest, config.size) {
            let mut bytes = Vec::new();
            let source = self.repository.blob(config, 0)?;
            let mut verified = Verified::new(source, config.digest, Some(config.size));
            verified.read_to_end(&mut bytes)?;
            self.ingest.put(&bytes)?;
        }
        for layer in layers {
            download::blob(self.ingest, self.repository, layer, self.progress)?;
        }
        self.ingest.put(manifest.bytes())?;
        Ok(())
    }

    /// Digests were earned on the way; a compressed layer's diff id is still the configuration's word.
    fn diff_ids(&self, root: Digest) -> Result<(), Failure> {
        let store = self.ingest.store();
        let pack = store.pack(root)?;
        let budget = Budget::of_pack(&pack);
        for layer in pack.image_layers().into_iter().filter(|l| l.diff_id != l.descriptor.digest) {
            let reading = because(format!("layer {}", layer.descriptor.digest));
            io::copy(&mut store.open_layer(layer, &budget)?, &mut io::sink()).map_err(reading)?;
        }
        Ok(())
    }
}

/// Whether documents are small together, whatever sizes a server claims.
fn fits(documents: &[Descriptor]) -> bool {
    let size = documents.iter().try_fold(0, |sum: u64, document| sum.checked_add(document.size));
    size.is_some_and(|size| size <= MAX_DOCUMENT_BYTES)
}

#[cfg(test)]
mod tests {
    use hone_image::media;

    use super::*;

    #[test]
    fn sizes_that_are_too_many_to_add_are_too_many() {
        let fits = |sizes: &[u64]| {
            let documents = sizes.iter().map(|size| Descriptor::of(media::EMPTY, Digest::of(b"x"), *size));
            super::fits(&documents.collect::<Vec<_>>())
        };
        assert!(fits(&[]) && fits(&[MAX_DOCUMENT_BYTES]) && fits(&[1, MAX_DOCUMENT_BYTES - 1]));
        assert!(!fits(&[MAX_DOCUMENT_BYTES, 1]));
        assert!(!fits(&[u64::MAX, 2]) && !fits(&[1 << 63, 1 << 63]) && !fits(&[u64::MAX, u64::MAX, 2]));
    }
}
