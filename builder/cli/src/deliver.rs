//! The ways out of the store: layouts, archives, engines, registries. Each is written whole or not at all.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use hone_contract::progress::{Progress as _, Step};
use hone_engines::{Delivery, write_docker_archive, write_oci_archive};
use hone_files::open_unlinked;
use hone_image::oci::Descriptor;
use hone_image::transport::{ArchiveFile, BadTransport, EngineName, Place, STANDARD, Transport};
use hone_image::{Pack, Reference};
use hone_registry::Client;
use hone_remote::push;
use hone_ship::{deliver, local_image, oci_shipment, shipment};
use hone_store::Store;
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;
use tempfile::NamedTempFile;

use crate::failure::{Failure, because};
use crate::layout::{self, Adding};
use crate::progress::Progress;

/// Bytes written at a time.
const BUFFER: usize = 1 << 20;
/// How an archive is called that is not in its place yet. Whoever writes it holds an flock of it.
const NEW: &str = ".hone-archive-";

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
            _ if self.is_stdout() => Ok(()),
            Transport::Layout(place) => {
                layout::outside_of_stores(&place.dir, store).and_then(|()| layout::check(&place.dir))
            }
            Transport::OciArchive(ArchiveFile { path, .. }) | Transport::DockerArchive(ArchiveFile { path, .. }) => {
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
        let sent = match &self.0 {
            Transport::Layout(place) => add(to, pack, place).map_err(writing())?,
            Transport::OciArchive(ArchiveFile { path, name }) => {
                let shipment = oci_shipment(to.store, name.as_ref().unwrap_or(to.name), pack)?;
                file(path, |out| Ok(write_oci_archive(&shipment, out)?)).map_err(writing())?
            }
            Transport::DockerArchive(ArchiveFile { path, name }) => {
                let name = name.as_ref().unwrap_or(to.name);
                let shipment = shipment(to.store, name, local_image(name, pack)?);
                file(path, |out| Ok(write_docker_archive(&shipment, out)?)).map_err(writing())?
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
    fn step(&self, to: &Deliver<'_>) -> Option<Box<dyn Step>> {
        let label = match &self.0 {
            Transport::Registry(_) => return None,
            Transport::Engine(..) => format!("load {self}"),
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
    if path.as_os_str() == STANDARD {
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
