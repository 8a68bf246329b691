//! `hone load`: images of archives, layouts and engines into the store.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use clap::Args;
use hone_engines::Archive;
use hone_image::{Pack, Reference};
use hone_store::{Ingest, Store};

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
        output::print(&lines.concat())
    }
}

/// Reads the images of `from`; a line about each.
fn load(ingest: &Ingest<'_>, from: &str, tag: Option<&Reference>) -> Result<Vec<String>, Failure> {
    match from.split_once(':') {
        Some(("oci-archive" | "docker-archive", file)) => archive(ingest, Archive::open(File::open(file)?)?, tag),
        Some(("oci", layout)) => of_layout(ingest, layout, tag),
        Some((engine, name)) => {
            let sink: Sink = engine.parse()?;
            let dir = ingest.scratch_dir()?;
            archive(ingest, sink.engine().save(name, dir.path())?, tag)
        }
        None => {
            Err("want oci-archive:FILE, docker-archive:FILE, oci:DIR, docker:NAME, podman:NAME or containerd:NAME"
                .into())
        }
    }
}

fn archive(ingest: &Ingest<'_>, archive: Archive, tag: Option<&Reference>) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for found in archive.packs() {
        for layer in found.pack.layers() {
            let absent = || format!("layer {} is not in it", layer.digest);
            ingest.copy(layer, archive.open_blob(layer.digest).ok_or_else(absent)?)?;
        }
        let names: Vec<Reference> = match tag {
            Some(tag) => vec![tag.clone()],
            None => found.names.iter().cloned().collect(),
        };
        lines.extend(name(ingest, &found.pack, &names)?);
    }
    if lines.is_empty() { Err("it holds no image with a name; give one with --tag".into()) } else { Ok(lines) }
}

fn of_layout(ingest: &Ingest<'_>, layout: &str, tag: Option<&Reference>) -> Result<Vec<String>, Failure> {
    let (dir, which) = match layout.rsplit_once(':') {
        Some((dir, which)) if !which.contains('/') => (dir, Some(which)),
        _ => (layout, None),
    };
    let from = Store::at(PathBuf::from(dir));
    let root = from.only(which)?;
    let pack = from.pack(root.digest)?;
    for layer in pack.layers() {
        ingest.take(layer, &from)?;
    }
    let own = root.annotations.get(hone_image::media::REF_NAME).and_then(|name| name.parse().ok());
    let name_it = tag.cloned().or(own).ok_or("the image has no name there; give one with --tag")?;
    name(ingest, &pack, &[name_it])
}

fn name(ingest: &Ingest<'_>, pack: &Pack, names: &[Reference]) -> Result<Vec<String>, Failure> {
    for image in pack.images() {
        for layer in image.layers().iter().filter(|l| l.diff_id != l.descriptor.digest) {
            let reading = because(format!("layer {}", layer.descriptor.digest));
            io::copy(&mut ingest.store().open_layer(layer)?, &mut io::sink()).map_err(reading)?;
        }
    }
    let mut lines = Vec::new();
    for name in names {
        ingest.put_pack(name, pack)?;
        lines.push(format!("{name} {}\n", pack.digest()));
    }
    Ok(lines)
}
