//! Images in docker, through its command line: `docker image inspect`, `docker load`, `docker save`,
//! `docker container inspect`.

use std::path::Path;
use std::process::Command;

use hone_image::run::ImageRef;

use crate::archive::{self, Archive};
use crate::command::{Error, feed, output};
use crate::engine::{Delivery, Engine, Found};
use crate::held;
use crate::saved;
use crate::shipment::Shipment;

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
            found.extend(self.inspect(id)?);
        }
        Ok(found)
    }

    fn ask(&self, ids: &[&str]) -> Result<Vec<Found>, Error> {
        let json = output(self.command(&["image", "inspect"]).args(ids))?;
        held::images(&json, "docker image inspect")
    }
}

impl Engine for Docker {
    fn inspect(&self, reference: &str) -> Result<Option<Found>, Error> {
        match self.ask(&[reference]) {
            Ok(images) => Ok(images.into_iter().next()),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn load(&self, shipment: &Shipment<'_>) -> Result<Delivery, Error> {
        let skip = held::prefix(&self.held()?, shipment);
        let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
        feed(&mut self.command(&["load", "--quiet"]), |to| {
            sent = archive::docker::write(shipment, skip, to)?;
            Ok(())
        })?;
        Ok(sent)
    }

    fn save(&self, reference: &str, dir: &Path) -> Result<Archive, Error> {
        saved::saved(reference, dir, |file| {
            output(self.command(&["save", "--output"]).arg(file).arg(reference)).map(drop)
        })
    }

    fn image_of(&self, container: &str) -> Result<ImageRef, Error> {
        let json = output(&mut self.command(&["container", "inspect", container]))?;
        held::container(&json, "docker container inspect")
    }
}
