//! `hone load`: images of archives, layouts, engines, registries and pipes into the store.

use std::io::{self, BufReader, IsTerminal, Read, Seek, Write};

use clap::Args;
use hone_archive::layout::{Entry, Layout, listed};
use hone_archive::{Archive, ArchivedPack};
use hone_contract::progress::{Progress, over};
use hone_contract::{Digest, Pinned, Reference, quoted};
use hone_image::Pack;
use hone_image::oci::Descriptor;
use hone_image::transport::{ArchiveFile, BadTransport, Place, STANDARD, Transport, WORDS};
use hone_registry::Client;
use hone_ship::engine;
use hone_store::{Budget, Ingest, Store};
use serde::Serialize;

use super::pull::Pulling;
use crate::answer::Form;
use crate::failure::{Failure, because, chain};
use crate::net::NetArgs;
use crate::output;
use crate::platforms::Platforms;
use crate::progress::ProgressArgs;

/// Bytes that are read at a time, and those by which an archive is known.
const BUFFER: usize = 1 << 20;
const BLOCK: u64 = 512;

/// Arguments of `hone load`.
#[derive(Debug, Args)]
pub struct Load {
    #[arg(value_name = "WHAT", help = WORDS, default_value = STANDARD)]
    from: String,
    /// The name it gets here, when it is one image [default: its own]
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    form: Form,
}

/// What was loaded, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Answer {
    images: Vec<Loaded>,
    /// What is there besides, and was not loaded.
    left: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Loaded {
    reference: Reference,
    digest: Digest,
}

impl Load {
    /// Reads; the names here change last.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let loading = because(format!("load {}", self.from));
        let (client, progress) = (self.net.client(), self.progress.show());
        let loaded = (|| {
            let ingest = store.ingest()?;
            let platforms = Platforms::Here;
            let bringing = Bringing { ingest: &ingest, client: &client, progress: &progress, platforms };
            bringing.named(&Transport::source(&self.from)?, self.tag.as_ref())
        })();
        let answer = loaded.map_err(loading)?;
        for what in &answer.left {
            output::tell(&format!("hone: left in {}: {what}", self.from));
        }
        let line = |Loaded { reference, digest }: &Loaded| match self.progress.quiet {
            true => format!("{digest}\n"),
            false => format!("{reference} {digest}\n"),
        };
        self.form.report(&answer, |answer| answer.images.iter().map(line).collect())
    }
}

/// Which images of a source are brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The only one; several are refused, since one name cannot stand for them.
    One,
    /// All that have a name.
    Named,
}

/// What was brought.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Images, and the names that they have where they are.
    pub images: Vec<(Vec<Reference>, Pack)>,
    /// What is there besides, and was not brought.
    pub left: Vec<String>,
}

/// What bringing images here takes.
pub struct Bringing<'a> {
    /// The store.
    pub ingest: &'a Ingest<'a>,
    /// Reaches registries.
    pub client: &'a Client,
    /// Shows steps.
    pub progress: &'a dyn Progress,
    /// Which images of a registry's index.
    pub platforms: Platforms,
}

impl Bringing<'_> {
    /// Brings the images of `from` and names them.
    fn named(&self, from: &Transport, tag: Option<&Reference>) -> Result<Answer, Failure> {
        let found = self.fetch(from, if tag.is_some() { Wanted::One } else { Wanted::Named })?;
        let mut images = Vec::new();
        for (names, pack) in found.images {
            for name in tag.map_or(names, |tag| vec![tag.clone()]) {
                self.ingest.put_pack(&name, &pack)?;
                images.push(Loaded { reference: name, digest: pack.digest() });
            }
        }
        if images.is_empty() {
            let has = listed(found.left.into_iter(), "give one with --tag");
            return Err(format!("it holds no image with a name; {has}").into());
        }
        Ok(Answer { images, left: found.left })
    }

    /// Brings the images of `from` into the store, without a name there.
    pub fn fetch(&self, from: &Transport, wanted: Wanted) -> Result<Fetched, Failure> {
        let found = match from {
            // What comes from there is read to its end on its way.
            Transport::Registry(name) => return self.of_registry(name),
            Transport::OciArchive(file) | Transport::DockerArchive(file) => {
                let ArchiveFile { path, name } = file;
                let archive = if from.is_standard() { self.piped()? } else { Archive::at(path)? };
                self.archive(&archive, name.as_ref(), wanted)?
            }
            Transport::Layout(place) => self.of_layout(place, wanted)?,
            Transport::Engine(name, Some(image)) => {
                let dir = self.ingest.scratch_dir()?;
                let step = self.progress.step(&format!("save {from}"), None);
                let archive = engine(name).save(image, dir.path())?;
                step.noted(0, None, "saved");
                self.archive(&archive, None, wanted)?
            }
            Transport::Engine(_, None) | Transport::Store(_) => return Err(BadTransport::Unknown.into()),
        };
        for (_, pack) in &found.images {
            let budget = Budget::of_pack(pack);
            for layer in pack.image_layers().into_iter().filter(|l| l.diff_id != l.descriptor.digest) {
                let reading = because(format!("layer {}", layer.descriptor.digest));
                io::copy(&mut self.ingest.store().open_layer(layer, &budget)?, &mut io::sink()).map_err(reading)?;
            }
        }
        Ok(found)
    }

    fn of_registry(&self, wanted: &Pinned) -> Result<Fetched, Failure> {
        let repository = self.client.repository(&wanted.reference)?;
        let (ingest, progress) = (self.ingest, self.progress);
        let pull = Pulling { repository: &repository, ingest, progress, platforms: self.platforms.clone() };
        let root = pull.fetch(wanted)?;
        pull.bills(root.digest)?;
        // A digest moves no name, as with `hone pull`.
        let names = if wanted.digest.is_some() { Vec::new() } else { vec![wanted.reference.clone()] };
        Ok(Fetched { images: vec![(names, ingest.store().pack(root.digest)?)], left: Vec::new() })
    }

    /// An archive that comes through a pipe. It is read here and there, which no pipe can be: it is kept in a file without
    /// a name, as what an engine saves is, which goes with its handle.
    fn piped(&self) -> Result<Archive, Failure> {
        if io::stdin().is_terminal() {
            return Err(format!("an image is not typed: standard input is a terminal; want {WORDS}").into());
        }
        let step = self.progress.step("read standard input", None);
        let mut stdin = BufReader::with_capacity(BUFFER, over(&*step, io::stdin().lock()));
        let mut beginning = Vec::new();
        let reading = || because("read standard input");
        stdin.by_ref().take(BLOCK).read_to_end(&mut beginning).map_err(reading())?;
        Archive::check_beginning(&beginning)?;
        let mut file = self.ingest.scratch()?;
        let copied = file.write_all(&beginning).and_then(|()| io::copy(&mut stdin, &mut file));
        let bytes = BLOCK + copied.map_err(reading())?;
        file.rewind().map_err(reading())?;
        drop(stdin);
        step.noted(bytes, None, "read");
        Ok(Archive::open(file)?)
    }

    /// The images of an archive, or the one that has this name in it.
    fn archive(&self, archive: &Archive, name: Option<&Reference>, wanted: Wanted) -> Result<Fetched, Failure> {
        let named = |found: &&ArchivedPack| name.is_none_or(|name| found.names.contains(name));
        let images = archive.packs().iter().filter(named);
        let images: Vec<(Vec<Reference>, Pack)> =
            images.map(|found| (found.names.iter().cloned().collect(), found.pack.clone())).collect();
        if let (Some(name), []) = (name, images.as_slice()) {
            let names = archive.packs().iter().flat_map(|found| &found.names).map(ToString::to_string);
            let has = listed(names, "its images have no names");
            return Err(format!("it holds no image called {name}; {has}").into());
        }
        let left = archive.artifacts().iter().map(|found| {
            let manifest = &found.artifact.manifest;
            let kind = manifest.value().artifact_type.as_ref().unwrap_or(&manifest.value().config.media_type);
            format!("{}: {}, no image of containers", manifest.digest(), quoted(kind))
        });
        let found = Fetched { images, left: if name.is_none() { left.collect() } else { Vec::new() } };
        let found = found.chosen(wanted, "load it without --tag, then use `hone tag`")?;
        for (_, pack) in &found.images {
            for layer in pack.layers() {
                let absent = || format!("layer {} is not in it", layer.digest);
                self.layer(layer, archive.open_blob(layer.digest).ok_or_else(absent)?)?;
            }
            self.ingest.put_documents(pack)?;
        }
        Ok(found)
    }

    fn of_layout(&self, place: &Place, wanted: Wanted) -> Result<Fetched, Failure> {
        let layout = Layout::at(&place.dir)?;
        self.ingest.hold(layout.store())?;
        let mut found = Fetched::default();
        let mut others: Vec<(Option<Digest>, String)> = Vec::new();
        for entry in layout.chosen(place.tag.as_deref())? {
            match entry {
                Entry::Image(names, pack) => found.images.push((names, *pack)),
                Entry::Other(digest, what) => others.push((Some(digest), what)),
                Entry::Unread(digest, error) => others.push((digest, chain(&error))),
            }
        }
        let from = layout.store();
        let mut statements = Vec::new();
        for (_, pack) in &found.images {
            statements.extend(from.referrers(pack.digest())?);
        }
        // Statements about an image go with it.
        others.retain(|(digest, _)| statements.iter().all(|s| Some(s.manifest.digest()) != *digest));
        found.left = others.into_iter().map(|(_, what)| what).collect();
        let found = found.chosen(wanted, &format!("name one: oci:{}:TAG", place.dir.display()))?;
        for (_, pack) in &found.images {
            for layer in pack.layers() {
                self.layer(layer, from.open_blob(layer.digest, layer.size)?)?;
            }
            self.ingest.put_documents(pack)?;
            for referrer in from.referrers(pack.digest())? {
                for blob in &referrer.manifest.value().layers {
                    self.ingest.take(blob, from)?;
                }
                self.ingest.put_referrer(&referrer)?;
            }
        }
        Ok(found)
    }

    /// A layer, of which it is said how far it is.
    fn layer(&self, layer: &Descriptor, from: impl Read) -> Result<(), Failure> {
        let step = self.progress.step(&format!("load {}", layer.digest.short()), Some(layer.size));
        self.ingest.copy(layer, over(&*step, from))?;
        step.done(layer.size, layer.digest);
        Ok(())
    }
}

impl Fetched {
    /// Keeps the images that are wanted.
    fn chosen(mut self, wanted: Wanted, way: &str) -> Result<Self, Failure> {
        if wanted == Wanted::One {
            return match self.images.as_slice() {
                [_] => Ok(self),
                [] => Err(format!(
                    "it holds no image{}",
                    self.left.iter().map(|l| format!("; {l}")).collect::<String>()
                )
                .into()),
                many => {
                    let names = many.iter().map(|(names, pack)| shown(names, pack));
                    let names = listed(names, "");
                    Err(format!("it holds {} images and one is wanted; {names}; {way}", many.len()).into())
                }
            };
        }
        let (named, nameless): (Vec<_>, Vec<_>) = self.images.into_iter().partition(|(names, _)| !names.is_empty());
        self.images = named;
        let without = nameless
            .iter()
            .map(|(_, pack)| format!("{}: an image without a name; --tag gives it one", pack.digest()));
        self.left.extend(without);
        Ok(self)
    }
}

fn shown(names: &[Reference], pack: &Pack) -> String {
    names.first().map_or(pack.digest().to_string(), Reference::to_string)
}
