//! `hone load`: images of archives, layouts and engines into the store.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use clap::Args;
use hone_engines::Archive;
use hone_image::{Pack, Reference, media};
use hone_store::{Budget, Ingest, Store};

use crate::failure::{Failure, because};
use crate::output;
use crate::ship::Sink;

/// Arguments of `hone load`.
#[derive(Debug, Args)]
pub struct Load {
    /// oci-archive:FILE, docker-archive:FILE, oci:DIR or oci:DIR:TAG, or an image of an engine: docker:NAME, podman:NAME,
    /// containerd:NAME or containerd=NAMESPACE:NAME
    #[arg(value_name = "WHAT")]
    from: String,
    /// The name it gets here [default: its own]
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
}

impl Load {
    /// Reads; the names here change last.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let loading = because(format!("load {}", self.from));
        let loaded = {
            let ingest = store.ingest()?;
            load(&ingest, &self.from, self.tag.as_ref())
        };
        let lines = loaded.map_err(loading)?;
        output::report(&lines.concat())
    }
}

/// Reads the images of `from` and names them; a line about each.
fn load(ingest: &Ingest<'_>, from: &str, tag: Option<&Reference>) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for (names, pack) in fetch(ingest, from)? {
        let names = tag.map_or(names, |tag| vec![tag.clone()]);
        for name in names {
            ingest.put_pack(&name, &pack)?;
            lines.push(format!("{name} {}\n", pack.digest()));
        }
    }
    if lines.is_empty() { Err("it holds no image with a name; give one with --tag".into()) } else { Ok(lines) }
}

/// Brings the images of `from` into the store, without a name there; with the names that they have where they are.
pub fn fetch(ingest: &Ingest<'_>, from: &str) -> Result<Vec<(Vec<Reference>, Pack)>, Failure> {
    let found = match from.split_once(':') {
        Some(("oci-archive" | "docker-archive", file)) => archive(ingest, &Archive::open(File::open(file)?)?)?,
        Some(("oci", layout)) => of_layout(ingest, layout)?,
        Some((engine, name)) => {
            let sink: Sink = engine.parse()?;
            let dir = ingest.scratch_dir()?;
            archive(ingest, &sink.engine().save(name, dir.path())?)?
        }
        None => {
            let want = "oci-archive:FILE, docker-archive:FILE, oci:DIR, docker:NAME, podman:NAME or containerd:NAME";
            return Err(format!("want {want}").into());
        }
    };
    for (_, pack) in &found {
        let budget = Budget::of_pack(pack);
        for layer in pack.image_layers().into_iter().filter(|l| l.diff_id != l.descriptor.digest) {
            let reading = because(format!("layer {}", layer.descriptor.digest));
            io::copy(&mut ingest.store().open_layer(layer, &budget)?, &mut io::sink()).map_err(reading)?;
        }
    }
    Ok(found)
}

fn archive(ingest: &Ingest<'_>, archive: &Archive) -> Result<Vec<(Vec<Reference>, Pack)>, Failure> {
    let mut all = Vec::new();
    for found in archive.packs() {
        for layer in found.pack.layers() {
            let absent = || format!("layer {} is not in it", layer.digest);
            ingest.copy(layer, archive.open_blob(layer.digest).ok_or_else(absent)?)?;
        }
        ingest.put_documents(&found.pack)?;
        all.push((found.names.iter().cloned().collect(), found.pack.clone()));
    }
    Ok(all)
}

fn of_layout(ingest: &Ingest<'_>, layout: &str) -> Result<Vec<(Vec<Reference>, Pack)>, Failure> {
    let (dir, which) = hone_plan::layout(layout)?;
    let from = Store::at(PathBuf::from(dir));
    let root = from.only(which.as_deref())?;
    let pack = from.pack(root.digest)?;
    for layer in pack.layers() {
        ingest.take(layer, &from)?;
    }
    ingest.put_documents(&pack)?;
    for referrer in from.referrers(root.digest)? {
        for blob in &referrer.manifest.value().layers {
            ingest.take(blob, &from)?;
        }
        ingest.put_referrer(&referrer)?;
    }
    let own = root.annotations.get(media::REF_NAME).and_then(|name| name.parse().ok());
    Ok(vec![(own.into_iter().collect(), pack)])
}
