//! Somebody else's image of a Honefile as Hone's own: its job and its layers, which may hide, leave out and lead anywhere.
//!
//! job.json, a byte of zeros, then layers, lowest first, each after its length in two bytes, the smaller first.
#![no_main]

use std::fs;
use std::sync::OnceLock;

use hone_build::{HubAccess, Site, from_image};
use hone_contract::job::Job;
use hone_contract::progress::Silent;
use hone_image::image::BaseImage;
use hone_image::tar::{Entry, TarWriter};
use hone_image::{Image, Layer, LayerKind, Pack};
use hone_registry::{Client, Options};
use hone_store::{Budget, Ingest, Store, contents};
use libfuzzer_sys::fuzz_target;

/// Nothing is asked of it.
static CLIENT: OnceLock<Client> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let Some(at) = bytes.iter().position(|b| *b == 0) else { return };
    let memory = if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let Ok(place) = tempfile::tempdir_in(memory) else { return };
    let store = Store::at(place.path().join("root"));
    let Some(pack) = image(&store.ingest().expect("a store"), &bytes[..at], &bytes[at + 1..]) else { return };
    let site = Site {
        store: &store,
        reference: &"fuzzed:own".parse().expect("a name"),
        client: CLIENT.get_or_init(|| Client::new(Options::default())),
        hub: &HubAccess { endpoint: "http://127.0.0.1:9".to_owned(), token: None },
        trainers: &[],
        progress: &Silent,
        bill: None,
        created: None,
        platforms: &[],
    };
    match from_image(&site, &pack) {
        Ok(built) => holds(&store, &built.pack, &Job::parse(&bytes[..at]).expect("a job")),
        Err(error) => {
            let said = hone_contract::chain(&error);
            assert!(!said.is_empty() && said.len() < 10_000, "{} bytes", said.len());
            assert!(store.references().expect("names").is_empty(), "a name for what was not made");
        }
    }
    assert_eq!(fs::read_dir(place.path()).expect("site").count(), 1, "something beside the store");
});

/// The image, its blobs in the store.
fn image(ingest: &Ingest<'_>, job: &[u8], mut left: &[u8]) -> Option<Pack> {
    let mut layers = Vec::new();
    while let Some((size, rest)) = left.split_first_chunk() {
        let (blob, rest) = rest.split_at(usize::from(u16::from_le_bytes(*size)).min(rest.len()));
        layers.push(Layer::tar(LayerKind::Other, ingest.put(blob).ok()?, blob.len() as u64));
        left = rest;
    }
    let mut tar = TarWriter::new(Vec::new());
    tar.add("hone", Entry::Dir).ok()?;
    tar.file("hone/job.json", false, job.len() as u64, &mut &job[..]).ok()?;
    let tar = tar.finish().ok()?;
    layers.push(Layer::tar(LayerKind::Other, ingest.put(&tar).ok()?, tar.len() as u64));
    let (name, architecture) = ("fuzzed".to_owned(), "amd64".to_owned());
    let (config, annotations) = Default::default();
    let pack = Pack::alone(Image::base(BaseImage { name, architecture, variant: None, config, layers, annotations }));
    ingest.put_documents(&pack).ok()?;
    Some(pack)
}

/// The job is the same, and every file of the base is in it as the job says.
fn holds(store: &Store, pack: &Pack, job: &Job) {
    let image = pack.images().first().expect("an image");
    assert_eq!(store.job_of(image).expect("read").as_ref(), Some(job));
    let Some(base) = &job.base else { return };
    let budget = Budget::of_image(image);
    let read = |layer| contents::read(store, layer, &budget, &[], &Silent).expect("our own layer").files;
    let layers: Vec<_> = image.layers().iter().filter(|layer| layer.kind != LayerKind::Trainer).map(read).collect();
    for file in &base.files {
        let path = format!("{}/{}", base.path.trim_start_matches('/'), file.path);
        let found = layers.iter().rev().find_map(|files| files.get(&path)).expect("a file of the base");
        assert_eq!((found.digest, found.size), (file.digest, file.size), "{path}");
    }
}
