//! A bill of materials of an image, attached to it as a referrer.

use hone_contract::Reference;
use hone_contract::job::{Base, BaseFile, JOB_PATH, Job};
use hone_contract::progress::Silent;
use hone_image::oci::{Descriptor, Manifest, Sealed};
use hone_image::{Artifact, Image, LayerKind, Pack, media};
use hone_sbom::{CRATES_PATH, CYCLONEDX_JSON, File, ImageName, Inventory, Library, Model, SPDX_JSON, Trainer};
use hone_store::contents::{self, Content};
use hone_store::{Budget, Ingest, Store};
use serde_json::json;

use crate::error::{BuildError, at};

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// SPDX 2.3.
    Spdx,
    /// CycloneDX 1.6.
    CycloneDx,
}

/// A bill of materials as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// How it is written.
    pub format: Format,
    /// When it says that it was written: seconds since 1970.
    pub created: u64,
}

/// Writes the document of a pack, as a statement about what its name stands for.
pub(crate) fn attach(ingest: &Ingest<'_>, name: &Reference, pack: &Pack, bill: Bill) -> Result<Artifact, BuildError> {
    let writing = at(format!("bill of materials of {name}"));
    let write = || -> Result<Artifact, BuildError> {
        let image = pack.images().first().ok_or(BuildError::NoImage)?;
        let inventory = inventory(ingest.store(), name, pack, image)?;
        let created = hone_sbom::date(bill.created);
        let (bytes, kind) = match bill.format {
            Format::Spdx => (hone_sbom::spdx(&inventory, &created), SPDX_JSON),
            Format::CycloneDx => (hone_sbom::cyclonedx(&inventory, &created), CYCLONEDX_JSON),
        };
        let document = Descriptor::of(kind, ingest.put(&bytes)?, bytes.len() as u64);
        let config = Sealed::new(json!({}));
        let manifest = Manifest::artifact(kind, config.descriptor(media::EMPTY), vec![document]);
        let subject = Some(pack.descriptor());
        let artifact = Artifact { manifest: Sealed::new(Manifest { subject, ..manifest }), config };
        ingest.replace_referrer(&artifact)?;
        Ok(artifact)
    };
    write().map_err(writing)
}

fn inventory(store: &Store, name: &Reference, pack: &Pack, image: &Image) -> Result<Inventory, BuildError> {
    let (mut job, mut tokenizer, mut trainer) = (None, Vec::new(), Vec::new());
    let mut crates = Vec::new();
    let (job_path, crates_path) = (JOB_PATH.trim_start_matches('/'), CRATES_PATH.trim_start_matches('/'));
    let budget = Budget::of_pack(pack);
    // Images for other processors differ in their trainers.
    let others = pack.images().iter().skip(1).flat_map(Image::layers).filter(|l| l.kind == LayerKind::Trainer);
    for layer in image.layers().iter().chain(others) {
        // The weights were hashed when they were packed: the job has their digests.
        let files = match layer.kind {
            LayerKind::Trainer | LayerKind::Tokenizer | LayerKind::Job => {
                contents::read(store, layer, &budget, &[job_path, crates_path], &Silent)?
            }
            _ => continue,
        };
        let mut listed = files.files.iter().map(|(path, content)| (file(path, content), *content));
        match layer.kind {
            LayerKind::Trainer => trainer.extend(listed),
            LayerKind::Tokenizer => tokenizer.extend(listed.map(|(file, _)| file)),
            _ => job = files.kept.get(job_path).zip(listed.next_back()).map(|(b, (f, _))| (b.clone(), f)).or(job),
        }
        if let Some(bytes) = files.kept.get(crates_path) {
            crates.extend(hone_sbom::crates(bytes)?);
        }
    }
    let (bytes, job_file) = job.ok_or(BuildError::NoJob)?;
    let job = Job::parse(&bytes)?;
    Ok(Inventory {
        image: ImageName { name: name.to_string(), digest: pack.digest() },
        model: job.base.as_ref().map(|base| model(&job.name, base, image)),
        tokenizer,
        job: Some(job_file),
        trainer: job.trainer.map(|t| {
            let (libraries, programs): (Vec<_>, Vec<_>) = trainer
                .into_iter()
                .filter(|(f, c)| c.executable || is_library(&f.path))
                .partition(|(f, _)| is_library(&f.path));
            let programs = programs.into_iter().map(|(file, _)| file).collect();
            let libraries =
                libraries.into_iter().map(|(file, _)| Library { version: version(&file.path), file }).collect();
            Trainer { name: t.name, digest: t.digest, programs, libraries, crates }
        }),
    })
}

fn file(path: &str, content: &Content) -> File {
    File { path: format!("/{path}"), digest: content.digest, size: content.size }
}

fn model(name: &str, base: &Base, image: &Image) -> Model {
    let said = |name: &str| image.manifest().value().annotations.get(name).cloned();
    let path = |file: &BaseFile| format!("{}/{}", base.path, file.path);
    Model {
        name: name.to_owned(),
        identity: base.identity,
        format: base.format.clone(),
        license: said(media::LICENSES),
        source: said(media::SOURCE),
        revision: said(media::REVISION),
        files: base.files.iter().map(|f| File { path: path(f), digest: f.digest, size: f.size }).collect(),
    }
}

/// `libc.so.6`, `libonnxruntime.so`, `ld-linux-x86-64.so.2`.
fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".so") || name.contains(".so.")
}

/// What follows `.so.` in a library's name.
fn version(path: &str) -> Option<String> {
    path.rsplit_once(".so.").map(|(_, version)| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_their_names() {
        for (path, library, number) in [
            ("/lib/libc.so.6", true, Some("6")),
            ("/hone/lib/libonnxruntime.so", true, None),
            ("/lib64/ld-linux-x86-64.so.2", true, Some("2")),
            ("/bin/so", false, None),
        ] {
            assert_eq!((is_library(path), version(path).as_deref()), (library, number), "{path}");
        }
    }
}
