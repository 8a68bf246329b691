//! Images in podman's storage, through its command line: `podman image inspect`, `podman pull oci:`, `podman tag`,
//! `podman save`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::process::Command;

use hone_archive::layout::write_partial;
use hone_archive::{Archive, Delivery, Shipment};
use hone_contract::Digest;
use hone_contract::run::ImageRef;

use crate::command::{output, output_within};
use crate::engine::{Engine, Found};
use crate::error::Error;
use crate::held;
use crate::saved::{self, writing};
use crate::watch::Patience;

/// A podman storage.
#[derive(Debug, Clone, Default)]
pub struct Podman {
    roots: Option<(String, String)>,
}

impl Podman {
    /// The storage that the user's own `podman` uses.
    pub fn new() -> Self {
        Self::default()
    }

    /// The storage with this `--root` and `--runroot`.
    pub fn at(graphroot: &str, runroot: &str) -> Self {
        Self { roots: Some((graphroot.to_owned(), runroot.to_owned())) }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        if let Some((graphroot, runroot)) = &self.roots {
            command.args(["--root", graphroot, "--runroot", runroot]);
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
        // One by one: podman's inspect answers for none of several images when one of them vanished meanwhile.
        let found: Vec<_> = ids.into_iter().map(|id| self.inspect(id)).collect::<Result<_, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Pulls the layout in `dir` and gives the image its name.
    fn pull(&self, dir: &Path, id: &Digest, reference: &str, bytes: u64) -> Result<(), Error> {
        let source = format!("oci:{}", dir.display());
        output_within(&mut self.command(&["pull", "--quiet", &source]), Patience::usual().storing(bytes))?;
        // podman names what it pulled after the directory; that name goes when the real one is there.
        let made_up = self.names(id)?;
        output(&mut self.command(&["tag", &id.hex(), reference]))?;
        for name in made_up.iter().filter(|name| name.contains(dir.to_string_lossy().trim_start_matches('/'))) {
            output(&mut self.command(&["untag", &id.hex(), name]))?;
        }
        Ok(())
    }

    fn names(&self, id: &Digest) -> Result<Vec<String>, Error> {
        let format = "{{range .RepoTags}}{{println .}}{{end}}";
        let names = output(&mut self.command(&["image", "inspect", "--format", format, &id.hex()]))?;
        Ok(String::from_utf8_lossy(&names).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect())
    }
}

/// A directory for a layout. podman names what it pulls after the path, and a name has no capitals: tempfile's own
/// names have.
fn temporary() -> io::Result<tempfile::TempDir> {
    let random = RandomState::new().build_hasher().finish();
    let name = format!("hone-podman-{random:016x}");
    tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in("/var/tmp")
}

impl Engine for Podman {
    fn inspect(&self, reference: &str) -> Result<Option<Found>, Error> {
        let name = reference.strip_prefix("sha256:").unwrap_or(reference);
        match output(&mut self.command(&["image", "inspect", name])) {
            Ok(json) => Ok(held::images(&json, "podman image inspect")?.into_iter().next()),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn load(&self, shipment: &Shipment<'_>) -> Result<Delivery, Error> {
        let skip = held::prefix(&self.held()?, shipment);
        let dir = temporary().map_err(|source| Error::Layer {
            reference: shipment.reference.clone(),
            object: "directory in /var/tmp".into(),
            source,
        })?;
        let sent = write_partial(shipment, skip, dir.path())?;
        self.pull(dir.path(), &shipment.id(), &shipment.reference, sent.sent_bytes)?;
        Ok(sent)
    }

    fn save(&self, reference: &str, dir: &Path) -> Result<Archive, Error> {
        let name = reference.strip_prefix("sha256:").unwrap_or(reference);
        // What is not there save says in podman's own words.
        let size = self.inspect(reference)?.map_or(0, |found| found.size);
        saved::saved(reference, dir, |file| {
            // As an OCI archive podman would compress every layer with gzip, model weights, too; a docker archive
            // has the tars whose digests the configuration names.
            let mut command = self.command(&["save", "--quiet", "--format", "docker-archive", "--output"]);
            output_within(command.arg(file).arg(name), writing(file, size)).map(drop)
        })
    }

    fn image_of(&self, container: &str) -> Result<ImageRef, Error> {
        let json = output(&mut self.command(&["container", "inspect", container]))?;
        held::container(&json, "podman container inspect")
    }
}
