//! `hone copy`: an image from one place to another, whichever they are; no name of the store changes but the one asked for.
//!
//! From registry to registry nothing is kept here; every other pair goes by way of the store.

use clap::Args;
use hone_contract::{Digest, Pinned, Reference, chain};
use hone_image::Pack;
use hone_image::oci::Platform;
use hone_image::transport::{ArchiveFile, EngineName, Transport, WORDS};
use hone_remote::Between;
use hone_store::{Ingest, Store};
use serde_json::json;

use super::load::{Bringing, Wanted};
use super::save::{NO_ROOM, name_of};
use crate::answer::Form;
use crate::deliver::{Deliver, Output};
use crate::failure::{Failure, because};
use crate::net::NetArgs;
use crate::platforms::{Platforms, image_for, platform};
use crate::progress::ProgressArgs;

/// Arguments of `hone copy`.
#[derive(Debug, Args)]
#[command(after_help = format!("SRC and DST are {WORDS}; or a name here"))]
pub struct Copy {
    /// From where
    #[arg(value_name = "SRC", value_parser = Transport::source)]
    from: Transport,
    /// To where; without a name of its own it is called there as where it was
    #[arg(value_name = "DST", value_parser = Transport::destination)]
    to: Transport,
    /// The image for this platform alone, e.g. linux/arm64 [default: all, under their index]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    form: Form,
}

impl Copy {
    /// Copies; the name there changes last.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        if self.to.is_standard() && self.form.is_json() {
            return Err(NO_ROOM.into());
        }
        let copied = match (&self.from, &self.to) {
            (Transport::Registry(from), Transport::Registry(to)) => self.between(store, from, to),
            _ => self.through(store),
        };
        let digest = copied.map_err(because(format!("copy {}", self.from)))?;
        // An archive on standard output is all that is there.
        if self.to.is_standard() {
            return Ok(());
        }
        let answer = json!({"digest": digest, "from": self.from.to_string(), "to": self.to.to_string()});
        self.form.report(&answer, |_| format!("{digest}\n"))
    }

    /// From registry to registry.
    fn between(&self, store: &Store, wanted: &Pinned, to: &Pinned) -> Result<Digest, Failure> {
        Output(self.to.clone()).check(store)?;
        let (client, progress) = (self.net.client(), self.progress.show());
        let (from, there) = (client.repository(&wanted.reference)?, client.repository(&to.reference)?);
        let between = Between { from: &from, to: &there, progress: &progress };
        Ok(between.copy(wanted, &to.reference, self.platform.as_ref())?)
    }

    /// By way of the store, in which nothing of it is named but what is asked for.
    fn through(&self, store: &Store) -> Result<Digest, Failure> {
        let done = (|| {
            let ingest = store.ingest()?;
            self.bring_and_deliver(store, &ingest)
        })();
        // What a failed copy, or one that is elsewhere now, left behind; whether it goes now decides nothing.
        if let Err(error) = store.collect() {
            store.notice("what is left over", chain(&error));
        }
        done
    }

    fn bring_and_deliver(&self, store: &Store, ingest: &Ingest<'_>) -> Result<Digest, Failure> {
        let (client, progress) = (self.net.client(), self.progress.show());
        let output = Output(self.to.clone());
        output.check(store)?;
        let (name, pack) = match &self.from {
            Transport::Store(from) => {
                let found = store.resolve(from)?;
                (name_of(from, &found).ok(), store.pack(found.descriptor.digest)?)
            }
            elsewhere => {
                let bringing = Bringing { ingest, client: &client, progress: &progress, platforms: self.platforms() };
                let found = bringing.fetch(elsewhere, Wanted::One)?.images.into_iter().next();
                let (names, pack) = found.ok_or("it holds no image")?;
                (names.into_iter().next(), pack)
            }
        };
        let pack = match &self.platform {
            Some(wanted) => Pack::alone(image_for(&pack, wanted)?.clone()),
            None => pack,
        };
        match &self.to {
            Transport::Store(name) => ingest.put_pack(&name.parse()?, &pack)?,
            to => {
                let name = said(to).or(name);
                let name = name.ok_or("the image has no name where it is; copy it into a name here first")?;
                output.deliver(&Deliver { store, name: &name, client: &client, progress }, &pack)?;
            }
        }
        Ok(pack.digest())
    }

    /// docker and podman take the image for this machine; everything else all of them.
    fn platforms(&self) -> Platforms {
        match (&self.platform, &self.to) {
            (Some(platform), _) => Platforms::Only(platform.clone()),
            (
                None,
                Transport::Engine(EngineName::Docker(_) | EngineName::Podman, _) | Transport::DockerArchive(_),
            ) => Platforms::Here,
            (None, _) => Platforms::All,
        }
    }
}

/// The name that a place says for what is put there.
fn said(to: &Transport) -> Option<Reference> {
    match to {
        Transport::Registry(name) => Some(name.reference.clone()),
        Transport::Engine(_, Some(name)) => name.parse().ok(),
        Transport::OciArchive(ArchiveFile { name, .. }) | Transport::DockerArchive(ArchiveFile { name, .. }) => {
            name.clone()
        }
        _ => None,
    }
}
