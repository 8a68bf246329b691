//! `hone verify`: an image re-hashed, and every claim that is made of it checked against what it holds.
//!
//! What is wrong is said, one line each; nothing is mended unless that is asked for ([`repair`]). Each blob is read once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::ExitCode;

use clap::Args;
use hone_contract::job::{Base, BaseFile, JOB_PATH, Job};
use hone_contract::progress::Progress as _;
use hone_contract::{Digest, identity, quoted};
use hone_image::layer::Compression;
use hone_image::oci::{Descriptor, Platform};
use hone_image::{Image, Layer, LayerKind, Pack, media, modelpack};
use hone_remote::repair;
use hone_store::contents::{self, Content};
use hone_store::job_layer::JobLayerError;
use hone_store::{Budget, Store};
use serde_json::json;

use crate::answer::Form;
use crate::failure::{Failure, chain};
use crate::net::NetArgs;
use crate::progress::{Mode, Progress};
use crate::{mended, output};

/// Arguments of `hone verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// An image: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    /// First mend what is damaged: fetch it again from where it was pulled, else remove it, so that the next build or pull
    /// writes it anew
    #[arg(long)]
    repair: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    form: Form,
}

/// What was read, and what is wrong with it.
#[derive(Default)]
struct Report {
    problems: Vec<String>,
    blobs: usize,
    bytes: u64,
    /// Files of each layer that was read.
    layers: BTreeMap<Digest, BTreeMap<String, Content>>,
    jobs: BTreeMap<Digest, Job>,
    /// Layers that make, replace or hide the job.
    touching: BTreeSet<Digest>,
}

/// What reading layers takes.
struct Reading<'a> {
    store: &'a Store,
    budget: &'a Budget,
    progress: Progress,
}

impl Verify {
    /// Verifies; exits with 1 when something is wrong.
    pub fn run(self, store: &Store) -> Result<ExitCode, Failure> {
        let progress = Progress::new(self.progress, false);
        if self.repair {
            mended::report(&self.image, &repair(store, &self.image, &self.net.client(), &progress)?)?;
        }
        let _held = store.reading()?;
        let found = store.resolve(&self.image)?;
        let pack = store.pack(found.descriptor.digest)?;
        let mut report = Report::default();
        let budget = Budget::of_pack(&pack);
        for image in pack.images() {
            report.image(&Reading { store, budget: &budget, progress }, image);
        }
        report.model(&pack);
        report.platforms(&pack);
        report.referrers(store, &pack)?;
        report.documents(store, &pack);
        for note in report.jobs.values().filter_map(Job::note) {
            output::tell(&format!("note: {note}"));
        }
        let ok = report.problems.is_empty();
        let answer = json!({
            "image": self.image, "digest": pack.digest(), "ok": ok, "problems": report.problems,
            "blobs": report.blobs, "size": report.bytes,
        });
        self.form.report(&answer, |_| report.text(&self.image))?;
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Report {
    /// A line about each claim that is wrong, and one about all.
    fn text(&self, image: &str) -> String {
        let (blobs, size) = (self.blobs, output::size(self.bytes));
        let mut lines: Vec<String> = self.problems.clone();
        lines.push(match self.problems.len() {
            0 => format!("{image}: ok ({blobs} blobs, {size})"),
            1 => format!("{image}: 1 claim is wrong ({blobs} blobs, {size} read)"),
            n => format!("{image}: {n} claims are wrong ({blobs} blobs, {size} read)"),
        });
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn wrong(&mut self, what: impl Into<String>) {
        // A line each, whatever a file is called.
        self.problems.push(what.into().replace('\n', "\\n"));
    }

    fn differs<T: PartialEq + std::fmt::Display>(&mut self, what: &str, got: T, want: T) {
        if got != want {
            let (got, want) = (got.to_string(), want.to_string());
            self.wrong(format!("{what}: got {}, want {}", quoted(&got), quoted(&want)));
        }
    }

    /// Documents own their digests from the moment they were read; they are counted here, and read again from the disk.
    fn documents(&mut self, store: &Store, pack: &Pack) {
        for (descriptor, bytes) in pack.documents() {
            self.blobs += 1;
            self.bytes += bytes.len() as u64;
            match store.read_blob(descriptor.digest, bytes.len() as u64) {
                Ok(_) => {
                    self.differs(&format!("document {}", descriptor.digest), bytes.len() as u64, descriptor.size)
                }
                Err(error) => self.wrong(chain(&error)),
            }
        }
        // Statements of a builder come with all platforms only, images for other systems never.
        let wanted = |d: &&Descriptor| !d.is_attestation() && d.is_for_linux_or_nobody();
        for absent in pack.missing().into_iter().filter(wanted) {
            let platform = absent.platform.as_ref().map_or("?".to_owned(), ToString::to_string);
            self.wrong(format!(
                "manifest {} ({platform}): it is not here; `hone pull --all-platforms` fetches it",
                absent.digest
            ));
        }
    }

    fn image(&mut self, from: &Reading<'_>, image: &Image) {
        for layer in image.layers() {
            if !self.layers.contains_key(&layer.descriptor.digest) {
                match self.read(from, layer) {
                    Ok(files) => drop(self.layers.insert(layer.descriptor.digest, files)),
                    Err(error) => self.wrong(chain(&*error)),
                }
            }
            self.weight(layer);
        }
        self.covered(image);
        let job = image.layer(LayerKind::Job).and_then(|l| self.jobs.get(&l.descriptor.digest).cloned());
        match job {
            Some(job) => self.job(image, &job),
            // Out of an engine an image comes without its annotations: which layer is what is then nobody's claim.
            None if image.config().value().config.label(media::LABEL_CONTRACT).is_some() && !self.has_job(image) => {
                self.wrong(format!(
                    "image {}: it has the label {} and no job",
                    image.digest(),
                    media::LABEL_CONTRACT
                ));
            }
            None => {}
        }
    }

    /// What a container sees is the topmost: above the job's layer nothing may be in its job's place.
    fn covered(&mut self, image: &Image) {
        let above = image.layers().iter().skip_while(|layer| layer.kind != LayerKind::Job).skip(1);
        let above = above.map(|layer| layer.descriptor.digest).filter(|digest| self.touching.contains(digest));
        for digest in above.collect::<BTreeSet<_>>() {
            self.wrong(format!(
                "image {}: layer {digest} hides or replaces {JOB_PATH} of the job layer below it",
                image.digest()
            ));
        }
    }

    fn has_job(&self, image: &Image) -> bool {
        let files = image.layers().iter().filter_map(|layer| self.layers.get(&layer.descriptor.digest));
        files.into_iter().any(|files| files.contains_key(JOB_PATH.trim_start_matches('/')))
    }

    /// Reads a layer, and the job that it holds if it is the job's.
    fn read(&mut self, from: &Reading<'_>, layer: &Layer) -> Result<BTreeMap<String, Content>, Failure> {
        self.blobs += 1;
        self.bytes += layer.descriptor.size;
        let job = JOB_PATH.trim_start_matches('/');
        let Reading { store, budget, progress } = *from;
        let d = &layer.descriptor;
        let total = (layer.compression() == Some(Compression::None)).then_some(d.size);
        let step = progress.step(&format!("verify {} {}", layer.kind, d.digest.short()), total);
        let contents = contents::read(store, layer, budget, &[job], &*step)?;
        step.done(d.size, d.digest);
        let touched = contents.touched.get(job).copied().unwrap_or(0);
        if touched > 0 {
            self.touching.insert(d.digest);
        }
        match contents.kept.get(job).filter(|_| touched == 1) {
            Some(bytes) if layer.kind == LayerKind::Job => drop(self.jobs.insert(d.digest, Job::parse(bytes)?)),
            None if layer.kind == LayerKind::Job && touched > 0 => {
                self.wrong(format!("job layer {}: {JOB_PATH}: {}", d.digest, JobLayerError::Twice));
            }
            _ => {}
        }
        Ok(contents.files)
    }

    /// A weight layer holds the one file that its annotations describe.
    fn weight(&mut self, layer: &Layer) {
        let Some(files) = self.layers.get(&layer.descriptor.digest).filter(|_| layer.kind == LayerKind::Weight)
        else {
            return;
        };
        let files: Vec<(String, Content)> = files.iter().map(|(p, f)| (format!("/{p}"), *f)).collect();
        let of = format!("weight layer {}", layer.descriptor.digest);
        let [(path, Content { size, digest, .. })] = files.as_slice() else {
            return self.wrong(format!("{of}: got {} files, want one", files.len()));
        };
        let claims = &layer.descriptor.annotations;
        for (name, got) in [
            (media::WEIGHT_PATH, path.clone()),
            (media::FILE_SIZE, size.to_string()),
            (media::FILE_DIGEST, digest.to_string()),
        ] {
            match claims.get(name) {
                Some(want) => self.differs(&format!("{of}: {name}"), got, want.clone()),
                None => self.wrong(format!("{of}: it has no annotation {name}")),
            }
        }
    }

    /// The job: the base's files are those in the image, the trainer its layers, the annotations its words.
    fn job(&mut self, image: &Image, job: &Job) {
        let of = format!("image {}", image.digest());
        if let Some(base) = &job.base {
            self.base(image, base, &of);
        }
        if let Some(trainer) = &job.trainer {
            let layers = image.layers().iter().filter(|l| l.kind == LayerKind::Trainer);
            let digest = identity::of_trainer(&layers.map(|l| l.diff_id).collect::<Vec<_>>());
            self.differs(&format!("{of}: trainer"), digest, trainer.digest);
            let (got, want) = (image.config().value().config.command_line().join(" "), trainer.command.join(" "));
            self.differs(&format!("{of}: command"), got, want);
        }
        let label = |name| image.config().value().config.label(name).unwrap_or_default().to_owned();
        self.differs(
            &format!("{of}: label {}", media::LABEL_CONTRACT),
            label(media::LABEL_CONTRACT),
            job.contract.to_string(),
        );
        self.differs(&format!("{of}: label {}", media::LABEL_NAME), label(media::LABEL_NAME), job.name.clone());
    }

    fn base(&mut self, image: &Image, base: &Base, of: &str) {
        let here: BTreeMap<String, Content> = image
            .layers()
            .iter()
            .filter_map(|l| self.layers.get(&l.descriptor.digest))
            .flatten()
            .map(|(p, f)| (format!("/{p}"), *f))
            .collect();
        let mut found = Vec::new();
        for file in &base.files {
            let path = format!("{}/{}", base.path, file.path);
            match here.get(&path) {
                Some(Content { size, digest, .. }) => {
                    found.push(BaseFile { path: file.path.clone(), size: *size, digest: *digest })
                }
                None => self.wrong(format!("{of}: {} is not in it; job.json names it", quoted(&path))),
            }
        }
        for (want, got) in base.files.iter().zip(&found).filter(|(want, got)| want != got) {
            self.wrong(format!(
                "{of}: {}: got {} ({} bytes), want {} ({} bytes)",
                quoted(&got.path),
                got.digest,
                got.size,
                want.digest,
                want.size
            ));
        }
        self.differs(&format!("{of}: base identity"), identity::of_base(&found), base.identity);
        let size: u64 = found.iter().map(|f| f.size).sum();
        for (name, got) in [(media::BASE_IDENTITY, base.identity.to_string()), (media::BASE_SIZE, size.to_string())] {
            if let Some(want) = image.manifest().value().annotations.get(name) {
                self.differs(&format!("{of}: {name}"), got, want.clone());
            }
        }
    }

    /// The model's artifact is over layers that the images have, and its diff ids are theirs.
    fn model(&mut self, pack: &Pack) {
        let Some(model) = pack.model() else {
            return;
        };
        let of = format!("model {}", model.manifest.digest());
        let ids =
            model.config.value().pointer("/modelfs/diffIds").and_then(|v| v.as_array()).cloned().unwrap_or_default();
        let layers = &model.manifest.value().layers;
        self.differs(&format!("{of}: diff ids"), ids.len(), layers.len());
        for (layer, id) in layers.iter().zip(&ids) {
            let known = pack.images().iter().flat_map(|i| i.layers()).find(|l| l.descriptor.digest == layer.digest);
            match known {
                Some(known) => {
                    let (got, want) = (known.diff_id.to_string(), id.as_str().unwrap_or_default().to_owned());
                    self.differs(&format!("{of}: diff id of {}", layer.digest), got, want);
                    self.differs(&format!("{of}: size of {}", layer.digest), known.descriptor.size, layer.size);
                    self.described(&of, known, layer);
                }
                None => self.wrong(format!("{of}: layer {} is in no image beside it", layer.digest)),
            }
        }
    }

    /// A layer of Hone's is described to ModelPack's readers as what it is.
    fn described(&mut self, of: &str, known: &Layer, got: &Descriptor) {
        if known.kind == LayerKind::Other {
            return;
        }
        let want = modelpack::describe(known);
        self.differs(&format!("{of}: media type of {}", got.digest), &got.media_type, &want.media_type);
        for (name, want) in &want.annotations {
            let said = got.annotations.get(name).map_or("", String::as_str);
            self.differs(&format!("{of}: {name} of {}", got.digest), said, want);
        }
    }

    /// An engine takes the image that the index says is for its processor.
    fn platforms(&mut self, pack: &Pack) {
        for entry in pack.index().iter().flat_map(|index| &index.value().manifests) {
            let image = pack.images().iter().find(|image| image.digest() == entry.digest);
            if let Some((image, platform)) = image.zip(entry.platform.as_ref()) {
                let own = image.platform();
                let of = format!("index: platform of {}", entry.digest);
                // Which variant it is may be said in one place only, and in two ways.
                let words = |p: &Platform| Platform { variant: None, ..p.clone() }.to_string();
                self.differs(&of, words(platform), words(&own));
            }
        }
    }

    fn referrers(&mut self, store: &Store, pack: &Pack) -> Result<(), Failure> {
        for artifact in store.referrers(pack.digest())? {
            for blob in &artifact.manifest.value().layers {
                self.blobs += 1;
                self.bytes += blob.size;
                let read = store.open_blob(blob.digest, blob.size).map_err(Failure::from);
                let read = read.and_then(|mut r| Ok(io::copy(&mut r, &mut io::sink())?));
                if let Err(error) = read {
                    self.wrong(format!("referrer {}: {}", artifact.manifest.digest(), chain(&*error)));
                }
            }
        }
        Ok(())
    }
}
