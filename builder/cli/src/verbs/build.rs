//! `hone build`: a Honefile becomes an image of the local store, and of an engine if asked.

use std::path::PathBuf;

use clap::Args;
use hone_build::{Bill, BuildError, Built, Format, Site, build, from_image};
use hone_contract::{Pinned, Reference};
use hone_image::Pack;
use hone_image::oci::Platform;
use hone_image::transport::{EngineName, Transport};
use hone_store::{Store, StoreError};
use serde_json::json;

use super::load::{Bringing, Wanted};
use super::pull::Pulling;
use super::save::NO_ROOM;
use crate::answer::Form;
use crate::created::{Created, epoch};
use crate::deliver::{Deliver, Output};
use crate::external::beside;
use crate::failure::{Failure, because, chain};
use crate::net::{self, NetArgs};
use crate::output;
use crate::platforms::Platforms;
use crate::progress::{Mode, ProgressArgs};

/// Where built-in trainers are looked for first.
const TRAINERS: &str = "HONE_TRAINERS";

/// Arguments of `hone build`.
#[derive(Debug, Args)]
pub struct Build {
    /// A Honefile, or the directory it is in
    #[arg(value_name = "DIR|HONEFILE", default_value = ".")]
    path: PathBuf,
    /// Name of the image
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Reference,
    /// Give the image to an engine, too: docker, docker=ADDRESS (e.g. docker=unix:///run/docker.sock), podman,
    /// containerd or containerd=NAMESPACE
    #[arg(long, value_name = "ENGINE")]
    load: Vec<EngineName>,
    /// Put the image there, too, as `hone save --output` does
    #[arg(short, long, value_name = "WHERE")]
    output: Vec<Output>,
    /// Make Hone's own layers of an image that `docker build` made with Hone's frontend: its name here or in its
    /// registry, or what `hone load` takes
    #[arg(long, value_name = "IMAGE", conflicts_with = "path")]
    from_image: Option<String>,
    /// Attach a bill of materials: spdx or cyclonedx
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "spdx", require_equals = true, value_parser = format)]
    sbom: Option<Format>,
    /// When the image says that it was made: now, SOURCE_DATE_EPOCH (the variable's), seconds since 1970, or a time as
    /// 2026-11-23T03:00:00Z [default: the start of 1970, so that the same inputs give the same digest]
    #[arg(long, value_name = "TIME")]
    created: Option<Created>,
    /// Build for these platforms, e.g. linux/amd64,linux/arm64, whatever the Honefile says [default: its `platforms`, else
    /// this machine's]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', value_parser = hone_plan::platform,
          conflicts_with = "from_image")]
    platform: Vec<Platform>,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    form: Form,
}

impl Build {
    /// Builds; the store is as it was when that fails.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let progress = self.progress.show();
        self.output.iter().try_for_each(|output| output.check(store))?;
        if self.form.is_json() && self.output.iter().any(Output::is_stdout) {
            return Err(NO_ROOM.into());
        }
        let client = self.net.client();
        let bill = self.sbom.map(|format| Ok::<_, String>(Bill { format, created: epoch()?.unwrap_or(0) }));
        let site = Site {
            store,
            reference: &self.tag,
            client: &client,
            hub: &net::hub(),
            trainers: &trainers()?,
            progress: &progress,
            bill: bill.transpose()?,
            created: self.created.map(|Created(seconds)| seconds),
            platforms: &self.platform,
        };
        let built = match &self.from_image {
            Some(image) => convert(&site, image),
            None => build(&site, &self.path).map_err(failure),
        };
        // The store is held until the image is where it was to go.
        let delivered = built.and_then(|Built { pack, held }| {
            for output in self.load.iter().cloned().map(Output::engine).chain(self.output.iter().cloned()) {
                output.deliver(&Deliver { store, name: &self.tag, client: &client, progress }, &pack)?;
            }
            drop(held);
            Ok(pack)
        });
        // What a failed build, or the image that had this name before, left behind. Whether that can be removed
        // now decides nothing: the next build, `hone rm` or `hone prune` does it otherwise.
        if let Err(error) = store.collect() {
            store.notice("what is left over", chain(&error));
        }
        self.report(&delivered?)
    }

    fn report(&self, pack: &Pack) -> Result<(), Failure> {
        // An archive on standard output is all that is there; the steps on standard error have said the rest.
        if self.output.iter().any(Output::is_stdout) {
            return Ok(());
        }
        let digest = pack.digest();
        let layers = pack.layers();
        let size = layers.iter().map(|d| d.size).sum();
        if self.form.is_json() {
            let answer = json!({"reference": self.tag, "digest": digest, "size": size, "layers": layers.len()});
            return self.form.report(&answer, |_| String::new());
        }
        match (self.progress.quiet, self.progress.progress) {
            (true, _) => output::report(&format!("{digest}\n")),
            (false, Mode::Json) => {
                output::report(&format!("{}\n", json!({"event": "built", "digest": digest, "reference": self.tag})))
            }
            (false, _) => {
                let size = output::size(size);
                output::report(&format!("{} {digest} ({size} in {} layers)\n", self.tag, layers.len()))
            }
        }
    }
}

/// Brings an image here, if it is not, and makes Hone's own of it.
fn convert(site: &Site<'_>, image: &str) -> Result<Built, Failure> {
    let fetching = because(format!("--from-image {image}"));
    let ingest = site.store.ingest()?;
    let fetched = (|| -> Result<Pack, Failure> {
        match site.store.resolve(image) {
            Ok(found) => return Ok(site.store.pack(found.descriptor.digest)?),
            Err(StoreError::NoImage(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let wanted = match Transport::source(image)? {
            Transport::Registry(name) => name,
            Transport::Store(name) => name.parse::<Pinned>()?,
            elsewhere => {
                let Site { client, progress, .. } = *site;
                let bringing = Bringing { ingest: &ingest, client, progress, platforms: Platforms::All };
                let found = bringing.fetch(&elsewhere, Wanted::One)?.images.into_iter().next();
                return found.map(|(_, pack)| pack).ok_or_else(|| "it holds no image".into());
            }
        };
        let repository = site.client.repository(&wanted.reference)?;
        let (ingest, progress, platforms) = (&ingest, site.progress, Platforms::All);
        let pulling = Pulling { repository: &repository, ingest, progress, platforms };
        Ok(site.store.pack(pulling.fetch(&wanted)?.digest)?)
    })();
    Ok(from_image(site, &fetched.map_err(fetching)?)?)
}

/// A mistake in the Honefile is shown as one, with its line.
fn failure(error: BuildError) -> Failure {
    match error {
        BuildError::Honefile(mistake) => mistake.into(),
        error => error.into(),
    }
}

/// How a bill of materials is written.
fn format(text: &str) -> Result<Format, String> {
    match text {
        "spdx" => Ok(Format::Spdx),
        "cyclonedx" => Ok(Format::CycloneDx),
        _ => Err("want spdx or cyclonedx".to_owned()),
    }
}

/// Where the layouts of built-in trainers are.
fn trainers() -> Result<Vec<PathBuf>, Failure> {
    let named = std::env::var_os(TRAINERS).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let places = [beside("trainers")?, beside("../share/hone/trainers")?];
    Ok(named.into_iter().chain(places).collect())
}
