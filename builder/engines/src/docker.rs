//! Images in docker, through its command line: `docker image inspect`, `docker save`, `docker container inspect`, and
//! `docker load`, which takes a shorter way where there is one ([`hone_docker`]).
//!
//! A docker that keeps its images in containerd (new installations since 29) calls them by their manifests' digests
//! and loads no archive that lacks a layer. Where this user may ask that containerd, it is asked instead: images are
//! then called by their configurations here, too, and are sent only what is missing.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hone_archive::{self as archive, Archive, Delivery, Shipment};
use hone_contract::run::ImageRef;
use hone_docker::Daemon;

use crate::command::{feed, output, output_within};
use crate::containerd::Containerd;
use crate::context;
use crate::engine::{Engine, Found};
use crate::error::Error;
use crate::held::{self, ImageStore};
use crate::saved::{self, writing};
use crate::watch::Patience;

/// How long the daemon may take to let somebody in.
const CONNECT: Duration = Duration::from_secs(10);

/// A docker daemon.
#[derive(Debug, Clone, Default)]
pub struct Docker {
    host: Option<String>,
}

impl Docker {
    /// The daemon that the user's own `docker` talks to.
    pub fn new() -> Self {
        Self::default()
    }

    /// The daemon at `host`, e.g. `unix:///run/docker.sock`.
    pub fn at(host: &str) -> Self {
        Self { host: Some(host.to_owned()) }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        command.args(args);
        command
    }

    fn held(&self) -> Result<Vec<Found>, Error> {
        let ids = output(&mut self.command(&["image", "ls", "--quiet", "--no-trunc"]))?;
        let ids = String::from_utf8_lossy(&ids);
        let mut ids: Vec<_> = ids.lines().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        // One image may vanish between the two commands; asked one by one the others are still known.
        match ids.is_empty() {
            true => return Ok(found),
            false => match self.ask(&ids) {
                Ok(all) => return Ok(all),
                Err(error) if !error.is_absent() => return Err(error),
                Err(_) => {}
            },
        }
        for id in ids {
            found.extend(self.described(id)?);
        }
        Ok(found)
    }

    fn ask(&self, ids: &[&str]) -> Result<Vec<Found>, Error> {
        let json = output(self.command(&["image", "inspect"]).args(ids))?;
        held::images(&json, "docker image inspect")
    }

    fn described(&self, reference: &str) -> Result<Option<Found>, Error> {
        match self.ask(&[reference]) {
            Ok(images) => Ok(images.into_iter().next()),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the daemon keeps its images.
    fn image_store(&self) -> ImageStore {
        let info = output(&mut self.command(&["info", "--format", "{{json .}}"])).unwrap_or_default();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        held::image_store(&info, host.trim())
    }

    fn send(&self, shipment: &Shipment<'_>, skip: usize) -> Result<Delivery, Error> {
        let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
        let write = |to: &mut dyn Write| {
            sent = archive::docker::write(shipment, skip, to)?;
            Ok(())
        };
        // One that does not answer is the command line's, too.
        let socket = context::socket(self.host.as_deref(), &|name| env::var_os(name));
        match socket.and_then(|address| Daemon::reach(&address, CONNECT).ok()) {
            Some(daemon) => daemon.load(&|bytes| Patience::usual().storing(bytes).quiet(), write)?,
            None => drop(feed(&mut self.command(&["load", "--quiet"]), write)?),
        }
        Ok(sent)
    }
}

impl ImageStore {
    /// The containerd that has the images, if one has them and this user may ask it.
    fn containerd(&self) -> Option<Containerd> {
        let Self::Containerd(address, namespace) = self else { return None };
        Some(Containerd::at(address, namespace)).filter(Containerd::answers)
    }
}

impl Engine for Docker {
    fn inspect(&self, reference: &str) -> Result<Option<Found>, Error> {
        match self.image_store().containerd() {
            Some(containerd) => containerd.inspect(reference),
            None => self.described(reference),
        }
    }

    fn load(&self, shipment: &Shipment<'_>) -> Result<Delivery, Error> {
        // A version's base is there, as a rule, and asking costs three times what sending does: docker itself refuses an
        // archive whose lower layers it lacks, and has then what it had before.
        if shipment.is_version() {
            match self.send(shipment, shipment.layers.len().saturating_sub(1)) {
                Err(error) if !error.is_silence() => {}
                sent => return sent,
            }
        }
        let store = self.image_store();
        match store.containerd() {
            Some(containerd) => containerd.load(shipment),
            None if store == ImageStore::Own => self.send(shipment, held::prefix(&self.held()?, shipment)),
            // A docker that keeps images in containerd wants an archive whole.
            None => self.send(shipment, 0),
        }
    }

    fn save(&self, reference: &str, dir: &Path) -> Result<Archive, Error> {
        // What is not there save says in docker's own words.
        let size = self.described(reference)?.map_or(0, |found| found.size);
        saved::saved(reference, dir, |file| {
            output_within(self.command(&["save", "--output"]).arg(file).arg(reference), writing(file, size)).map(drop)
        })
    }

    fn image_of(&self, container: &str) -> Result<ImageRef, Error> {
        let json = output(&mut self.command(&["container", "inspect", container]))?;
        let image = held::container(&json, "docker container inspect")?;
        let config = match self.image_store().containerd() {
            Some(containerd) => containerd.config_of(image.config)?,
            None => None,
        };
        Ok(ImageRef { config: config.unwrap_or(image.config), ..image })
    }
}
