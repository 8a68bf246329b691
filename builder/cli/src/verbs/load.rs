//! `hone load`: images of archives, layouts and engines into the store.

use std::io;
use std::path::Path;

use clap::Args;
use hone_contract::quoted;
use hone_engines::Archive;
use hone_image::{Digest, Pack, Reference};
use hone_ship::Sink;
use hone_store::{Budget, Ingest, Store};
use serde::Serialize;

use crate::answer::Form;
use crate::failure::{Failure, because};
use crate::layout::{Entry, Place, Reading, listed};
use crate::output;

/// What can be loaded, as the help says it.
const WORDS: &str = "oci-archive:FILE, docker-archive:FILE, oci:DIR or oci:DIR:TAG, or an image of an engine: \
                     docker:NAME, podman:NAME, containerd:NAME or containerd=NAMESPACE:NAME";

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
            load(&ingest, &self.from, self.tag.as_ref())
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
fn load(ingest: &Ingest<'_>, from: &str, tag: Option<&Reference>) -> Result<Answer, Failure> {
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
pub fn fetch(ingest: &Ingest<'_>, from: &str, wanted: Wanted) -> Result<Fetched, Failure> {
    let found = match from.split_once(':') {
        Some(("oci-archive" | "docker-archive", file)) => archive(ingest, &Archive::at(Path::new(file))?, wanted)?,
        Some(("oci", layout)) => of_layout(ingest, &layout.parse()?, wanted)?,
        Some((engine, name)) => {
            let sink: Sink = engine.parse()?;
            let dir = ingest.scratch_dir()?;
            archive(ingest, &sink.engine().save(name, dir.path())?, wanted)?
        }
        None => {
            return Err(format!("want {WORDS}").into());
        }
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

fn archive(ingest: &Ingest<'_>, archive: &Archive, wanted: Wanted) -> Result<Fetched, Failure> {
    let images = archive.packs().iter().map(|found| (found.names.iter().cloned().collect(), found.pack.clone()));
    let left = archive.artifacts().iter().map(|found| {
        let manifest = &found.artifact.manifest;
        let kind = manifest.value().artifact_type.as_ref().unwrap_or(&manifest.value().config.media_type);
        format!("{}: {}, no image of containers", manifest.digest(), quoted(kind))
    });
    let found = Fetched { images: images.collect(), left: left.collect() };
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
    let layout = Reading::at(&place.dir)?;
    ingest.hold(layout.store())?;
    let mut found = Fetched::default();
    let mut others: Vec<(Option<Digest>, String)> = Vec::new();
    for entry in layout.chosen(place.tag.as_deref())? {
        match entry {
            Entry::Image(names, pack) => found.images.push((names, *pack)),
            Entry::Other(digest, what) => others.push((digest, what)),
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
