//! The ways out of the store: layouts, archives, engines, registries. Each is written whole or not at all.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hone_contract::progress::{Progress as _, Step};
use hone_engines::{Delivery, write_docker_archive, write_oci_archive};
use hone_files::open_unlinked;
use hone_image::oci::Descriptor;
use hone_image::{Pack, Reference};
use hone_registry::Client;
use hone_remote::push;
use hone_ship::{Sink, local_image, oci_shipment, shipment};
use hone_store::Store;
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use tempfile::NamedTempFile;

use crate::failure::{Failure, because};
use crate::layout::{self, Adding, Place};
use crate::progress::Progress;

/// Standard output, as every tool of the field names it.
const STDOUT: &str = "-";
/// Bytes written at a time.
const BUFFER: usize = 1 << 20;
/// How an archive is called that is not in its place yet. Whoever writes it holds an flock of it.
const NEW: &str = ".hone-archive-";

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A name in an OCI layout, which keeps its others.
    Layout(Place),
    /// An OCI layout as one file.
    OciArchive(PathBuf),
    /// What `docker save` writes.
    DockerArchive(PathBuf),
    /// An engine.
    Engine(Sink),
    /// A registry, under this name.
    Registry(Reference),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path =
            |p: &str| if p.is_empty() { Err(format!("{text}: want a path after the colon")) } else { Ok(p.into()) };
        if let Some(name) = text.strip_prefix("docker://") {
            return name.parse().map(Self::Registry).map_err(|e: hone_image::reference::BadReference| e.to_string());
        }
        match text.split_once(':') {
            Some(("oci", place)) => place.parse().map(Self::Layout),
            Some(("oci-archive", file)) => path(file).map(Self::OciArchive),
            Some(("docker-archive", file)) => path(file).map(Self::DockerArchive),
            _ => text.parse().map(Self::Engine).map_err(|_| {
                "want oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, docker://NAME:TAG, docker, podman or containerd"
                    .to_owned()
            }),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(place) => write!(f, "{place}"),
            Self::OciArchive(path) => write!(f, "oci-archive:{}", path.display()),
            Self::DockerArchive(path) => write!(f, "docker-archive:{}", path.display()),
            Self::Engine(sink) => write!(f, "{sink}"),
            Self::Registry(name) => write!(f, "docker://{name}"),
        }
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
    /// Whether it is written to standard output, which then has room for nothing else.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::OciArchive(path) | Self::DockerArchive(path) if path.as_os_str() == STDOUT)
    }

    /// Refuses a place that must not be written, before there is anything to write.
    pub fn check(&self, store: &Store) -> Result<(), Failure> {
        let checked = match self {
            Self::Engine(_) | Self::Registry(_) => Ok(()),
            _ if self.is_stdout() => Ok(()),
            Self::Layout(place) => {
                layout::outside_of_stores(&place.dir, store).and_then(|()| layout::check(&place.dir))
            }
            Self::OciArchive(path) | Self::DockerArchive(path) => {
                layout::outside_of_stores(path, store).and_then(|()| check_file(path))
            }
        };
        checked.map_err(because(format!("--output {self}")))
    }

    /// Takes the pack there.
    pub fn deliver(&self, to: &Deliver<'_>, pack: &Pack) -> Result<(), Failure> {
        let writing = || because(format!("write {self}"));
        self.check(to.store)?;
        let step = self.step(to);
        let sent = match self {
            Self::Layout(place) => add(to, pack, place).map_err(writing())?,
            Self::OciArchive(path) => {
                let shipment = oci_shipment(to.store, to.name, pack)?;
                file(path, |out| Ok(write_oci_archive(&shipment, out)?)).map_err(writing())?
            }
            Self::DockerArchive(path) => {
                let shipment = shipment(to.store, to.name, local_image(to.name, pack)?);
                file(path, |out| Ok(write_docker_archive(&shipment, out)?)).map_err(writing())?
            }
            Self::Engine(sink) => sink.deliver(to.store, to.name, pack)?,
            Self::Registry(name) => {
                return push(to.client, to.store, name, pack, &to.progress).map(drop).map_err(Failure::from);
            }
        };
        if let Some(step) = step {
            step.noted(sent.sent_bytes, None, &format!("{} layers sent", sent.sent_layers));
        }
        Ok(())
    }

    /// A registry has a step for each blob.
    fn step(&self, to: &Deliver<'_>) -> Option<Box<dyn Step>> {
        let label = match self {
            Self::Registry(_) => return None,
            Self::Engine(sink) => format!("load {sink}"),
            other => other.to_string(),
        };
        Some(to.progress.step(&label, None))
    }
}

/// Refuses what no file can be written to.
fn check_file(path: &Path) -> Result<(), Failure> {
    match path.is_dir() {
        true => Err("it is a directory".into()),
        false if !directory(path).is_dir() => Err("the directory is not there".into()),
        false if path.is_symlink() && !path.exists() => Err("it is a link to nothing".into()),
        false => Ok(()),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Adds the pack to a layout, under the name that the place has, else its own.
fn add(to: &Deliver<'_>, pack: &Pack, place: &Place) -> Result<Delivery, Failure> {
    let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
    let name = place.tag.clone().unwrap_or_else(|| to.name.to_string());
    let model = format!("{name}-modelpack");
    let mut adding = Adding::at(&place.dir)?;
    for d in pack.layers() {
        adding.take(d, to.store)?;
        sent = Delivery { sent_layers: sent.sent_layers + 1, sent_bytes: sent.sent_bytes + d.size };
    }
    for (_, bytes) in pack.documents() {
        adding.put(bytes)?;
    }
    adding.name(&name, &pack.descriptor(), place.tag.as_ref().map(|_| to.name));
    match pack.model() {
        Some(artifact) => adding.name(&model, &Descriptor { platform: None, ..artifact.descriptor() }, None),
        None => adding.unname_model(&model),
    }
    for referrer in to.store.referrers(pack.digest())? {
        adding.state(&referrer, to.store)?;
    }
    adding.publish()?;
    Ok(sent)
}

/// Writes a file beside its place and moves it there. `-` is standard output; a device or a FIFO is written to as it
/// is: replacing it would take it from whoever waits for the bytes.
fn file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<Delivery, Failure>) -> Result<Delivery, Failure> {
    let through = |out: &mut dyn Write| -> Result<Delivery, Failure> {
        let mut out = io::BufWriter::with_capacity(BUFFER, out);
        let sent = write(&mut out)?;
        out.flush()?;
        Ok(sent)
    };
    if path.as_os_str() == STDOUT {
        return through(&mut io::stdout().lock());
    }
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return through(&mut fs::OpenOptions::new().write(true).open(path)?);
    }
    // Behind a link, what it names is written, as a shell does: /dev/stdout stays a link.
    let path = &match path.is_symlink() {
        true => fs::canonicalize(path)?,
        false => path.to_owned(),
    };
    let parent = directory(path);
    remove_left(parent);
    let mut new = temporary(parent)?;
    let sent = through(new.as_file_mut())?;
    new.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    fs::File::open(parent)?.sync_all()?;
    Ok(sent)
}

/// A file beside its place, which nobody takes for one that a kill left.
fn temporary(dir: &Path) -> io::Result<NamedTempFile> {
    loop {
        let new = tempfile::Builder::new().prefix(NEW).tempfile_in(dir)?;
        // On a disk that has no locks nobody gets one to remove it, either.
        let _ = retry_on_intr(|| flock(&new, FlockOperation::LockExclusive));
        // Before it was locked another writer may have removed it.
        if new.as_file().metadata()?.nlink() > 0 {
            return Ok(new);
        }
    }
}

/// Removes the archives of writers that were killed. One that cannot be opened, locked or removed is another user's, or
/// is being written: none of that is in the way of a new one.
fn remove_left(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if !layout::is_temporary(&entry.file_name(), NEW) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(file) = fs::canonicalize(&path).and_then(|path| open_unlinked(&path)) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(&path);
        }
    }
}
