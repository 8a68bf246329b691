//! The ways out of the store: layouts, archives, engines, registries. Each is written whole or not at all.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::str::FromStr;

use hone_archive::{Delivery, file, layout, write_docker_archive, write_oci_archive};
use hone_contract::Reference;
use hone_contract::progress::{Progress as _, Step, over};
use hone_image::Pack;
use hone_image::transport::{ArchiveFile, BadTransport, EngineName, Place, STANDARD, Transport};
use hone_registry::Client;
use hone_remote::push;
use hone_ship::{deliver, local_image, oci_shipment, shipment};
use hone_store::Store;

use crate::failure::{Failure, because};
use crate::layout::outside_of_stores;
use crate::progress::Progress;

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output(pub Transport);

impl FromStr for Output {
    type Err = BadTransport;

    fn from_str(text: &str) -> Result<Self, BadTransport> {
        Transport::sink(text).map(Self)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What delivering needs.
pub struct Deliver<'a> {
    /// Where the blobs are.
    pub store: &'a Store,
    /// What the image is called here.
    pub name: &'a Reference,
    /// Reaches registries.
    pub client: &'a Client,
    /// Shows steps.
    pub progress: Progress,
}

impl Output {
    /// An engine, under the image's own name.
    pub fn engine(name: EngineName) -> Self {
        Self(Transport::Engine(name, None))
    }

    /// Whether it is written to standard output, which then has room for nothing else.
    pub fn is_stdout(&self) -> bool {
        self.0.is_standard()
    }

    /// Refuses a place that must not be written, before there is anything to write.
    pub fn check(&self, store: &Store) -> Result<(), Failure> {
        let checked = match &self.0 {
            Transport::Registry(name) if name.digest.is_some() => {
                Err("a registry names a digest by itself; say NAME:TAG".into())
            }
            Transport::Engine(_, Some(name)) => name.parse::<Reference>().map(drop).map_err(Failure::from),
            Transport::Engine(..) | Transport::Registry(_) | Transport::Store(_) => Ok(()),
            _ if self.is_stdout() && io::stdout().is_terminal() => {
                Err("an image is not for a terminal: redirect it, or name a file as oci-archive:FILE".into())
            }
            _ if self.is_stdout() => Ok(()),
            Transport::Layout(place) => {
                outside_of_stores(&place.dir, store).and_then(|()| Ok(layout::check(&place.dir)?))
            }
            Transport::OciArchive(ArchiveFile { path, .. }) | Transport::DockerArchive(ArchiveFile { path, .. }) => {
                outside_of_stores(path, store).and_then(|()| Ok(file::check(path)?))
            }
        };
        checked.map_err(because(format!("--output {self}")))
    }

    /// Takes the pack there.
    pub fn deliver(&self, to: &Deliver<'_>, pack: &Pack) -> Result<(), Failure> {
        let writing = || because(format!("write {self}"));
        self.check(to.store)?;
        let step = self.step(to, pack);
        let told = step.as_deref();
        let sent = match &self.0 {
            Transport::Layout(Place { dir, tag }) => {
                let seen = &mut |bytes| told.into_iter().for_each(|step| step.seen(bytes));
                let added = layout::add(dir, tag.as_deref(), to.name, pack, to.store, seen);
                added.map_err(|error| writing()(error.into()))?
            }
            Transport::OciArchive(ArchiveFile { path, name }) => {
                let shipment = oci_shipment(to.store, name.as_ref().unwrap_or(to.name), pack)?;
                archive(path, told, |out| Ok(write_oci_archive(&shipment, out)?)).map_err(writing())?
            }
            Transport::DockerArchive(ArchiveFile { path, name }) => {
                let name = name.as_ref().unwrap_or(to.name);
                let shipment = shipment(to.store, name, local_image(name, pack)?);
                archive(path, told, |out| Ok(write_docker_archive(&shipment, out)?)).map_err(writing())?
            }
            Transport::Engine(engine, name) => {
                let name = name.as_ref().map(|name| name.parse::<Reference>()).transpose()?;
                deliver(engine, to.store, name.as_ref().unwrap_or(to.name), pack)?
            }
            Transport::Registry(name) => {
                push(to.client, to.store, &name.reference, pack, &to.progress)?;
                return Ok(());
            }
            Transport::Store(name) => {
                return Err(format!("{name} is a name of this store; `hone tag` gives it").into());
            }
        };
        if let Some(step) = step {
            step.noted(sent.sent_bytes, None, &format!("{} layers sent", sent.sent_layers));
        }
        Ok(())
    }

    /// A registry has a step for each blob.
    fn step(&self, to: &Deliver<'_>, pack: &Pack) -> Option<Box<dyn Step>> {
        let size = pack.layers().iter().map(|layer| layer.size).sum();
        let (label, total) = match &self.0 {
            Transport::Registry(_) => return None,
            // An engine says nothing on its way, and how large layers are unpacked is not known before.
            Transport::Engine(..) => (format!("load {self}"), None),
            Transport::DockerArchive(_) => (self.to_string(), None),
            other => (other.to_string(), Some(size)),
        };
        Some(to.progress.step(&label, total))
    }
}

/// Writes an archive to a file, or to standard output.
fn archive(
    path: &Path,
    step: Option<&dyn Step>,
    write: impl FnOnce(&mut dyn Write) -> Result<Delivery, Failure>,
) -> Result<Delivery, Failure> {
    let write = |out: &mut dyn Write| match step {
        Some(step) => write(&mut over(step, out)),
        None => write(out),
    };
    match path.as_os_str() == STANDARD {
        true => file::through(&mut io::stdout().lock(), write),
        false => file::replace(path, write),
    }
}
