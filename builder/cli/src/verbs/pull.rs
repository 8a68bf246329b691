//! `hone pull`: an image of a registry into the store, resumable and verified.

use std::collections::BTreeSet;
use std::io::{self, Read};

use clap::Args;
use hone_contract::{Digest, Pinned, Reference, progress, quoted};
use hone_image::image::MAX_LAYERS;
use hone_image::oci::{Descriptor, ImageConfig, Index, MAX_DOCUMENT_BYTES, Manifest, Platform, Sealed};
use hone_image::platform::best;
use hone_image::walk::{Follow, Kind, Part, Walk};
use hone_image::{Artifact, Document, Image, document, media};
use hone_registry::Repository;
use hone_remote::blob;
use hone_sbom::{CYCLONEDX_JSON, SPDX_JSON};
use hone_store::{Budget, Ingest, Store, Verified, this_machine};

use crate::answer::Form;
use crate::failure::{Failure, because, chain};
use crate::net::NetArgs;
use crate::output;
use crate::platforms::{Platforms, platform};
use crate::progress::ProgressArgs;

/// What a bill of materials is called.
const BILLS: [&str; 2] = [SPDX_JSON, CYCLONEDX_JSON];
/// Digits of a digest in the tag that is made of it: as many as nobody finds a second content for. All 64 would be the tag
/// under which some registries keep the statements about that digest (distribution-spec, "Referrers tag schema").
const TAG_DIGITS: usize = 32;
/// Bills of one image that are fetched.
const MAX_BILLS: usize = 16;
/// Platforms that a message lists.
const MAX_SHOWN: usize = 16;

/// Arguments of `hone pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// REGISTRY/NAME:TAG or NAME@sha256:...
    #[arg(value_name = "NAME")]
    name: Pinned,
    /// The name it gets here [default: the same, or a tag made of the digest]
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
    /// Fetch the image for this platform, e.g. linux/arm64 or linux/arm/v7 [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// Fetch every image for Linux and what builders say of them, not only the image for one platform
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    form: Form,
}

impl Pull {
    /// Pulls; the name here changes last.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let pulling = because(format!("pull {}", self.name.reference));
        let client = self.net.client();
        let progress = self.progress.show();
        let platforms = match (&self.platform, self.all_platforms) {
            (Some(platform), _) => Platforms::Only(platform.clone()),
            (None, true) => Platforms::All,
            (None, false) => Platforms::Here,
        };
        let pulled = (|| -> Result<(String, Digest), Failure> {
            let repository = client.repository(&self.name.reference)?;
            let ingest = store.ingest()?;
            let pull = Pulling { repository: &repository, ingest: &ingest, progress: &progress, platforms };
            let root = pull.fetch(&self.name)?;
            pull.bills(root.digest)?;
            let mut named = root;
            named.annotations.insert(media::PULLED_FROM.to_owned(), self.name.reference.to_string());
            match self.name_here(store, named.digest)? {
                Some(name) => {
                    store.tag(&named, &name)?;
                    Ok((name.to_string(), named.digest))
                }
                None => Ok((self.name.reference.name(), named.digest)),
            }
        })();
        let (name, digest) = pulled.map_err(pulling)?;
        if self.progress.quiet {
            output::report(&format!("{digest}\n"))
        } else {
            let answer = serde_json::json!({"reference": name, "digest": digest});
            self.form.report(&answer, |_| format!("{name} {digest}\n"))
        }
    }
}

impl Pull {
    /// The name that stands for what was pulled; `None` when the name has it already. A digest moves no name, as in docker:
    /// what was asked for by its digest gets a tag that is made of it, because what has no name is collected.
    fn name_here(&self, store: &Store, root: Digest) -> Result<Option<Reference>, Failure> {
        let (name, Some(digest)) = (&self.name.reference, self.name.digest) else {
            return Ok(Some(self.tag.clone().unwrap_or_else(|| self.name.reference.clone())));
        };
        if let Some(tag) = &self.tag {
            return Ok(Some(tag.clone()));
        }
        let has = store.references()?.iter().any(|(r, d)| r.name() == name.name() && d.digest == root);
        let hex = digest.hex();
        Ok(if has { None } else { Some(name.with_tag(&format!("sha256-{}", &hex[..TAG_DIGITS.min(hex.len())]))?) })
    }
}

/// An image on its way into the store.
pub struct Pulling<'a> {
    /// Where it is.
    pub repository: &'a Repository,
    /// The store.
    pub ingest: &'a Ingest<'a>,
    /// Shows steps.
    pub progress: &'a dyn progress::Progress,
    /// Which images of an index.
    pub platforms: Platforms,
}

impl Pulling<'_> {
    /// Fetches and verifies it; what it stands for, without a name yet.
    pub fn fetch(&self, wanted: &Pinned) -> Result<Descriptor, Failure> {
        let root = self.repository.manifest(&wanted.target())?;
        let root = Document::parse(Some(&root.media_type), root.bytes)?;
        let (descriptor, bytes) = (root.descriptor(), root.bytes().to_vec());
        for manifest in self.manifests(root)? {
            self.manifest(manifest)?;
        }
        self.ingest.put(&bytes)?;
        self.diff_ids(descriptor.digest)?;
        Ok(descriptor)
    }

    /// Whose image it is to be.
    fn machine(&self) -> Platform {
        match &self.platforms {
            Platforms::Only(platform) => platform.clone(),
            Platforms::Here | Platforms::All => this_machine(),
        }
    }

    /// The manifests that are wanted, each once, all of them before the first blob: what holds no image, or more than the
    /// store reads, is told before anything large comes.
    fn manifests(&self, root: Document) -> Result<Vec<Sealed<Manifest>>, Failure> {
        let mut known = BTreeSet::new();
        let mut follow = Follow::named();
        if let Document::Index(index) = &root {
            let chosen = chosen(index.value(), &self.machine(), matches!(self.platforms, Platforms::All))?
                .into_iter()
                .cloned()
                .collect();
            follow = follow.only(chosen).when(|manifest| known.insert(manifest.digest));
        }
        let (mut manifests, mut image) = (Vec::new(), false);
        for node in Walk::from(self.repository, root, follow).strict() {
            if let Part::Manifest(manifest, kind) = node?.part {
                image |= kind == Kind::Image;
                manifests.push(*manifest);
            }
        }
        if let Some(first) = manifests.first().filter(|_| !image) {
            return Err(no_image(kind(first.value())).into());
        }
        manifests.iter().try_for_each(few_layers)?;
        Ok(manifests)
    }

    /// Fetches the bills of materials of what was fetched; other statements (signatures, say) are not read here.
    pub fn bills(&self, subject: Digest) -> Result<(), Failure> {
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
        let manifest = document::manifest(Some(&fetched.media_type), fetched.bytes)?;
        let value = manifest.value();
        if value.subject.as_ref().is_none_or(|s| s.digest != subject) {
            return Err(format!("it is not about {subject}").into());
        }
        if !fits(&value.layers) {
            return Err(format!("its documents have more than {MAX_DOCUMENT_BYTES} bytes").into());
        }
        self.manifest(manifest.clone())?;
        let config = self.ingest.store().read_blob(value.config.digest, MAX_DOCUMENT_BYTES)?;
        let config = Sealed::parse("config", config)?;
        Ok(self.ingest.put_referrer(&Artifact { manifest, config })?)
    }

    /// A manifest and the blobs it names.
    fn manifest(&self, manifest: Sealed<Manifest>) -> Result<(), Failure> {
        let Manifest { config, layers, .. } = manifest.value();
        few_layers(&manifest)?;
        if config.size > MAX_DOCUMENT_BYTES {
            return Err(format!(
                "config {}: {} bytes, want at most {MAX_DOCUMENT_BYTES}",
                config.digest, config.size
            )
            .into());
        }
        if !self.ingest.has_intact(config.digest, config.size)? {
            let mut bytes = Vec::new();
            let source = self.repository.blob(config, 0)?;
            let mut verified = Verified::new(source, config.digest, Some(config.size));
            verified.read_to_end(&mut bytes)?;
            self.ingest.put(&bytes)?;
        }
        if manifest.value().is_image() {
            // What cannot be an image is told before its layers are fetched.
            let config: Sealed<ImageConfig> = self.ingest.store().config(config.digest)?;
            let has = Image::join(manifest.clone(), config)?.platform();
            if let Platforms::Only(wanted) = &self.platforms
                && !wanted.runs(&has)
            {
                return Err(format!("no image for {wanted}; it is for {has}").into());
            }
        }
        for layer in layers {
            blob(self.ingest, self.repository, layer, self.progress)?;
        }
        self.ingest.put(manifest.bytes())?;
        Ok(())
    }

    /// Digests were earned on the way; a compressed layer's diff id is still the configuration's word.
    fn diff_ids(&self, root: Digest) -> Result<(), Failure> {
        let store = self.ingest.store();
        let pack = store.pack(root)?;
        if pack.images().is_empty() {
            return Err("it holds no image for this machine, whatever its index says".into());
        }
        let budget = Budget::of_pack(&pack);
        for layer in pack.image_layers().into_iter().filter(|l| l.diff_id != l.descriptor.digest) {
            let reading = because(format!("layer {}", layer.descriptor.digest));
            io::copy(&mut store.open_layer(layer, &budget)?, &mut io::sink()).map_err(reading)?;
        }
        Ok(())
    }
}

/// Refuses more layers than any image has: an artifact, which no container is made of, has no bound of its own.
fn few_layers(manifest: &Sealed<Manifest>) -> Result<(), Failure> {
    // A version has one more than its base may have.
    let (got, most) = (manifest.value().layers.len(), MAX_LAYERS + 1);
    match got > most {
        true => Err(format!("manifest {}: {got} layers, want at most {most}", manifest.digest()).into()),
        false => Ok(()),
    }
}

/// What kind of artifact a manifest is (image-spec, "Guidelines for Artifact Usage"). One that borrows an image's
/// configuration, as Ollama's models do, is what its layers are.
fn kind(manifest: &Manifest) -> &str {
    let borrows = [media::CONFIG, media::DOCKER_CONFIG].contains(&manifest.config.media_type.as_str());
    let layers = manifest.layers.first().filter(|_| borrows).map(|layer| &layer.media_type);
    manifest.artifact_type.as_ref().or(layers).unwrap_or(&manifest.config.media_type)
}

/// What to say of what holds no image.
fn no_image(kind: &str) -> String {
    let what = format!("it is no image but an artifact ({})", quoted(kind));
    match kind {
        media::MODEL_MANIFEST => format!(
            "{what}, a model by itself: pull the image's own tag, without -modelpack, or build on the model: base.model \
             oci://NAME in a Honefile"
        ),
        _ => format!("{what}: pull an image; of a model, a Honefile is built on it by base.model oci://NAME"),
    }
}

/// Whether documents are small together, whatever sizes a server claims.
fn fits(documents: &[Descriptor]) -> bool {
    let size = documents.iter().try_fold(0, |sum: u64, document| sum.checked_add(document.size));
    size.is_some_and(|size| size <= MAX_DOCUMENT_BYTES)
}

/// Of an index's manifests the best for this machine, and artifacts; of all platforms those that are Linux.
fn chosen<'i>(index: &'i Index, machine: &Platform, all: bool) -> Result<Vec<&'i Descriptor>, Failure> {
    let manifests: Vec<&Descriptor> = index.manifests.iter().filter(|d| d.is_manifest()).collect();
    let fits = best(machine, &manifests, |d| d.platform.clone()).map(|d| d.digest);
    let chosen = manifests.iter().copied().filter(|d| match d.platform.as_ref() {
        _ if all => d.is_for_linux_or_nobody(),
        _ if d.is_attestation() => false,
        Some(platform) if !platform.is_nobody() => Some(d.digest) == fits,
        _ => true,
    });
    let chosen: Vec<&Descriptor> = chosen.collect();
    let image = |d: &&Descriptor| d.artifact_type.is_none() && !d.is_attestation();
    if !chosen.iter().any(image) && !manifests.is_empty() {
        let platforms = manifests.iter().filter_map(|d| d.platform.as_ref()).filter(|p| !p.is_nobody());
        let has: Vec<String> = platforms.take(MAX_SHOWN).map(ToString::to_string).collect();
        if let Some(kind) = manifests.iter().find_map(|d| d.artifact_type.as_deref()).filter(|_| has.is_empty()) {
            return Err(no_image(kind).into());
        }
        let way = if all { "only images for Linux are fetched" } else { "--all-platforms takes what is for Linux" };
        return Err(format!("no image for {machine}; it has {}; {way}", has.join(", ")).into());
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Platform) -> Descriptor {
        let digest = Digest::of(platform.to_string().as_bytes());
        Descriptor { platform: Some(platform), ..Descriptor::of(media::MANIFEST, digest, 1) }
    }

    fn shown(index: &Index, machine: &Platform, all: bool) -> Vec<String> {
        let chosen = chosen(index, machine, all).expect("an image");
        chosen.into_iter().map(|d| d.platform.as_ref().map_or("?".to_owned(), Platform::to_string)).collect()
    }

    #[test]
    fn an_index_of_several_systems_gives_what_this_machine_runs() {
        let arm = |variant| Platform::linux("arm", Some(variant));
        let windows = Platform { os: "windows".to_owned(), ..Platform::linux("amd64", None) };
        let model = Descriptor {
            artifact_type: Some(media::MODEL_MANIFEST.to_owned()),
            ..entry(Platform { variant: Some("model".to_owned()), ..Platform::nobody() })
        };
        let amd64 = Platform::linux("amd64", None);
        let mut all = [windows, Platform::nobody(), arm("v5"), arm("v6"), arm("v7"), amd64].map(entry).to_vec();
        all.push(model);
        let index = Index::new(all);
        assert_eq!(
            shown(&index, &Platform::linux("amd64", Some("v3")), false),
            ["linux/amd64", "unknown/unknown/model"]
        );
        for (machine, want) in [("v7", "v7"), ("v6", "v6"), ("v5", "v5"), ("v8", "v7")] {
            assert_eq!(shown(&index, &arm(machine), false)[0], format!("linux/arm/{want}"));
        }
        let everything = shown(&index, &arm("v7"), true);
        assert_eq!(everything.len(), 6);
        assert!(!everything.iter().any(|p| p.starts_with("windows")), "{everything:?}");
        let said = chosen(&index, &Platform::linux("riscv64", None), false).expect_err("none").to_string();
        let has = "windows/amd64, linux/arm/v5, linux/arm/v6, linux/arm/v7, linux/amd64";
        assert_eq!(
            said,
            format!("no image for linux/riscv64; it has {has}; --all-platforms takes what is for Linux")
        );
    }

    #[test]
    fn what_says_no_platform_is_taken_and_what_is_for_windows_alone_is_not() {
        let machine = Platform::linux("amd64", None);
        let plain = Index::new(vec![Descriptor::of(media::MANIFEST, Digest::of(b"x"), 1)]);
        assert_eq!(chosen(&plain, &machine, false).expect("an image").len(), 1);
        let windows = Index::new(vec![entry(Platform { os: "windows".to_owned(), ..machine.clone() })]);
        assert!(chosen(&windows, &machine, false).is_err() && chosen(&windows, &machine, true).is_err());
    }

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
