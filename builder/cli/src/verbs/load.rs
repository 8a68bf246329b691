//! `hone load`: images of archives, layouts and engines into the store.

use std::io;

use clap::Args;
use hone_archive::layout::{Entry, Layout, listed};
use hone_archive::{Archive, ArchivedPack};
use hone_contract::quoted;
use hone_image::transport::{ArchiveFile, BadTransport, Place, Transport, WORDS};
use hone_image::{Digest, Pack, Reference};
use hone_ship::engine;
use hone_store::{Budget, Ingest, Store};
use serde::Serialize;

use crate::answer::Form;
use crate::failure::{Failure, because, chain};
use crate::output;

/// Arguments of `hone load`.
#[derive(Debug, Args)]
pub struct Load {
    #[arg(value_name = "WHAT", help = WORDS)]
    from: String,
    /// The name it gets here, when it is one image [default: its own]
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
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
        let loaded = {
            let ingest = store.ingest()?;
            Transport::source(&self.from)
                .map_err(Failure::from)
                .and_then(|from| load(&ingest, &from, self.tag.as_ref()))
        };
        let answer = loaded.map_err(loading)?;
        for what in &answer.left {
            output::tell(&format!("hone: left in {}: {what}", self.from));
        }
        let line = |image: &Loaded| format!("{} {}\n", image.reference, image.digest);
        self.form.report(&answer, |answer| answer.images.iter().map(line).collect())
    }
}

/// Reads the images of `from` and names them.
fn load(ingest: &Ingest<'_>, from: &Transport, tag: Option<&Reference>) -> Result<Answer, Failure> {
    let wanted = if tag.is_some() { Wanted::One } else { Wanted::Named };
    let found = fetch(ingest, from, wanted)?;
    let mut images = Vec::new();
    for (names, pack) in found.images {
        let names = tag.map_or(names, |tag| vec![tag.clone()]);
        for name in names {
            ingest.put_pack(&name, &pack)?;
            images.push(Loaded { reference: name, digest: pack.digest() });
        }
    }
    if images.is_empty() {
        let has = listed(found.left.into_iter(), "give one with --tag");
        return Err(format!("it holds no image with a name; {has}").into());
    }
    Ok(Answer { images, left: found.left })
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

/// Brings the images of `from` into the store, without a name there.
pub fn fetch(ingest: &Ingest<'_>, from: &Transport, wanted: Wanted) -> Result<Fetched, Failure> {
    let found = match from {
        Transport::OciArchive(file) | Transport::DockerArchive(file) => {
            let ArchiveFile { path, name } = file;
            archive(ingest, &Archive::at(path)?, name.as_ref(), wanted)?
        }
        Transport::Layout(place) => of_layout(ingest, place, wanted)?,
        Transport::Engine(name, Some(image)) => {
            let dir = ingest.scratch_dir()?;
            archive(ingest, &engine(name).save(image, dir.path())?, None, wanted)?
        }
        Transport::Registry(name) => return Err(format!("`hone pull {name}` fetches it").into()),
        Transport::Engine(_, None) | Transport::Store(_) => return Err(BadTransport::Unknown.into()),
    };
    for (_, pack) in &found.images {
        let budget = Budget::of_pack(pack);
        for layer in pack.image_layers().into_iter().filter(|l| l.diff_id != l.descriptor.digest) {
            let reading = because(format!("layer {}", layer.descriptor.digest));
            io::copy(&mut ingest.store().open_layer(layer, &budget)?, &mut io::sink()).map_err(reading)?;
        }
    }
    Ok(found)
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

/// The images of an archive, or the one that has this name in it.
fn archive(
    ingest: &Ingest<'_>,
    archive: &Archive,
    name: Option<&Reference>,
    wanted: Wanted,
) -> Result<Fetched, Failure> {
    let named = |found: &&ArchivedPack| name.is_none_or(|name| found.names.contains(name));
    let images = archive.packs().iter().filter(named);
    let images: Vec<(Vec<Reference>, Pack)> =
        images.map(|found| (found.names.iter().cloned().collect(), found.pack.clone())).collect();
    if let (Some(name), []) = (name, images.as_slice()) {
        let names = archive.packs().iter().flat_map(|found| &found.names).map(ToString::to_string);
        return Err(format!("it holds no image called {name}; {}", listed(names, "its images have no names")).into());
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
            ingest.copy(layer, archive.open_blob(layer.digest).ok_or_else(absent)?)?;
        }
        ingest.put_documents(pack)?;
    }
    Ok(found)
}

fn of_layout(ingest: &Ingest<'_>, place: &Place, wanted: Wanted) -> Result<Fetched, Failure> {
    let layout = Layout::at(&place.dir)?;
    ingest.hold(layout.store())?;
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
            ingest.take(layer, from)?;
        }
        ingest.put_documents(pack)?;
        for referrer in from.referrers(pack.digest())? {
            for blob in &referrer.manifest.value().layers {
                ingest.take(blob, from)?;
            }
            ingest.put_referrer(&referrer)?;
        }
    }
    Ok(found)
}
