//! Layers and documents that a careless or hostile maker wrote: each is refused, and its harmless twin is read.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use common::site;
use hone_contract::{Digest, Reference};
use hone_image::oci::{Descriptor, Index, Manifest, Platform, Sealed};
use hone_image::untar;
use hone_image::walk::MAX_MANIFESTS;
use hone_image::{Image, Layer, LayerKind, media};
use hone_store::job_layer::{JobLayerError, job_in};
use hone_store::{Budget, Ingest, Store, StoreError};

/// A layer in the store, of these bytes, described as its maker likes.
fn layer(ingest: &Ingest<'_>, media_type: &str, bytes: &[u8], diff_id: Digest) -> Layer {
    let digest = ingest.put(bytes).expect("put");
    let descriptor = Layer::tar(LayerKind::Other, digest, bytes.len() as u64).descriptor;
    Layer::described(Descriptor { media_type: media_type.to_owned(), ..descriptor }, diff_id)
}

fn read(store: &Store, layer: &Layer) -> Result<u64, String> {
    let mut reader = store.open_layer(layer, &Budget::of_layer(layer)).map_err(|error| error.to_string())?;
    io::copy(&mut reader, &mut io::sink()).map_err(|error| error.to_string())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("zstd")
}

const TAR: &str = media::LAYER_TAR;
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = media::LAYER_ZSTD;

#[test]
fn a_layer_is_what_its_diff_id_says_however_it_is_stored() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let tar = vec![7; 5000];
    let other = Digest::of(b"the layer of another image");
    for (media_type, bytes) in [(TAR, tar.clone()), (GZIP, gzip(&tar)), (ZSTD, zstd(&tar))] {
        let said = read(&store, &layer(&ingest, media_type, &bytes, other)).expect_err(media_type);
        assert!(said.contains(&other.to_string()), "{media_type}: {said}");
        assert_eq!(read(&store, &layer(&ingest, media_type, &bytes, Digest::of(&tar))), Ok(5000), "{media_type}");
    }
}

#[test]
fn a_media_type_that_lies_and_a_stream_cut_short_are_errors() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let tar = vec![7; 5000];
    let diff_id = Digest::of(&tar);
    for (media_type, bytes) in [
        (GZIP, zstd(&tar)),
        (ZSTD, gzip(&tar)),
        (GZIP, tar.clone()),
        ("application/json", tar.clone()),
        (GZIP, gzip(&tar)[..20].to_vec()),
        (ZSTD, zstd(&tar)[..12].to_vec()),
        (ZSTD, [zstd(&tar), b"more".to_vec()].concat()),
        (GZIP, Vec::new()),
    ] {
        assert!(read(&store, &layer(&ingest, media_type, &bytes, diff_id)).is_err(), "{media_type}");
    }
    // Two members are one stream, in both formats.
    for (media_type, bytes) in
        [(GZIP, [gzip(&tar[..9]), gzip(&tar[9..])].concat()), (ZSTD, [zstd(&tar[..9]), zstd(&tar[9..])].concat())]
    {
        assert_eq!(read(&store, &layer(&ingest, media_type, &bytes, diff_id)), Ok(5000), "{media_type}");
    }
}

#[test]
fn a_blob_that_is_short_long_or_another_is_refused() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let good = layer(&ingest, TAR, b"content", Digest::of(b"content"));
    assert_eq!(read(&store, &good), Ok(7));
    let path = store.blob_path(good.descriptor.digest);
    for bytes in [&b"conten"[..], b"content!", b"CONTENT"] {
        fs::remove_file(&path).expect("remove");
        fs::write(&path, bytes).expect("write");
        assert!(read(&store, &good).is_err());
    }
    // The descriptor may lie about the size, too.
    fs::remove_file(&path).expect("remove");
    fs::write(&path, b"content").expect("write");
    for size in [0, 6, 8, u64::MAX] {
        let mut lying = good.clone();
        lying.descriptor.size = size;
        assert!(
            matches!(store.open_layer(&lying, &Budget::of_layer(&lying)).err(), Some(StoreError::Corrupt { .. })),
            "{size}"
        );
    }
}

/// A window of 2^31 bytes would be allocated before a byte is read (RFC 8878, 3.1.1.1.2).
#[test]
fn a_zstd_frame_that_asks_for_gigabytes_of_memory_is_refused() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let frame = |log: u8| {
        let last_raw_block = [1 | 4 << 3, 0, 0];
        [&[0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3][..], &last_raw_block, b"four"].concat()
    };
    assert!(read(&store, &layer(&ingest, ZSTD, &frame(31), Digest::of(b"four"))).is_err());
    assert_eq!(read(&store, &layer(&ingest, ZSTD, &frame(27), Digest::of(b"four"))), Ok(4));
}

fn header(kind: u8, name: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn entry(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = [&header(kind, name, content.len() as u64), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn count(mut tar: impl Read, most: usize) -> io::Result<usize> {
    let mut seen = 0;
    untar::walk(&mut tar, most, &mut |_| -> io::Result<()> {
        seen += 1;
        Ok(())
    })?;
    Ok(seen)
}

/// Counted while it is read, and by looking where its entries lie: no reader is less careful than the other.
fn both(tar: &[u8], most: usize) -> io::Result<usize> {
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(tar).and_then(|()| file.rewind()).expect("write");
    let mut seen = 0;
    let placed = untar::places(&mut file, most, &mut |_| -> io::Result<()> {
        seen += 1;
        Ok(())
    });
    let read = count(tar, most);
    let words = |error: &io::Error| error.to_string();
    assert_eq!(placed.as_ref().map(|()| seen).map_err(words), read.as_ref().copied().map_err(words));
    read
}

#[test]
fn a_million_entries_are_read_and_one_more_than_allowed_is_not() {
    let one = header(b'0', "f", 0);
    let many = |n: u64| Cycle { block: one.clone(), at: 0, end: n * 512 };
    assert_eq!(count(many(1_000_000), 1_000_000).expect("a million"), 1_000_000);
    let said = count(many(1001), 1000).expect_err("one more").to_string();
    assert_eq!(said, "more than 1000 entries");
}

/// The same block over and over.
struct Cycle {
    block: Vec<u8>,
    at: u64,
    end: u64,
}

impl Read for Cycle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = (self.at % 512) as usize;
        let n = buffer.len().min(512 - from).min((self.end - self.at) as usize);
        buffer[..n].copy_from_slice(&self.block[from..from + n]);
        self.at += n as u64;
        Ok(n)
    }
}

#[test]
fn headers_do_not_fill_the_memory() {
    let long = |size: usize| [entry(b'L', "././@LongLink", &vec![b'n'; size]), entry(b'0', "f", b"")].concat();
    let links = |size: usize| [entry(b'K', "././@LongLink", &vec![b'n'; size]), entry(b'2', "f", b"")].concat();
    let comment = |size: usize| format!("{} comment={}\n", size, "c".repeat(size - size.to_string().len() - 10));
    let pax = |size: usize| [entry(b'x', "pax", comment(size).as_bytes()), entry(b'0', "f", b"")].concat();
    let global = |size: usize| [entry(b'g', "pax", comment(size).as_bytes()), entry(b'0', "f", b"")].concat();
    for (what, tar) in
        [("name", long(2 << 20)), ("link", links(2 << 20)), ("pax", pax(2 << 20)), ("global", global(2 << 20))]
    {
        let said = both(&tar, 10).expect_err(what).to_string();
        assert_eq!(said, "headers of one entry of more than 1048576 bytes", "{what}");
    }
    for tar in [long(4000), links(4000), pax(500_000)] {
        assert_eq!(both(&tar, 10).expect("an entry"), 1);
    }
    assert_eq!(both(&global(500_000), 10).expect("two entries"), 2);
    // The content of an entry is no header, however large it is.
    assert_eq!(both(&entry(b'0', "f", &vec![0; 3 << 20]), 1).expect("an entry"), 1);
}

const JOB: &str = r#"{"contract":1,"name":"a","adapter":{"commit":true,"tag":"v{n}","max_bytes":1}}"#;

#[test]
fn a_job_layer_holds_one_job_of_bounded_size() {
    let job = entry(b'0', "hone/job.json", JOB.as_bytes());
    assert_eq!(job_in(&mut &job[..]).expect("a job").map(|job| job.name).as_deref(), Some("a"));
    assert!(job_in(&mut &entry(b'0', "hone/other.json", b"{}")[..]).expect("no job").is_none());
    let other = JOB.replace("true", "false");
    let spellings =
        ["hone/job.json", "./hone/job.json", "hone//job.json", "/hone/job.json", "hone/./job.json", "hone/job.json/"];
    for second in spellings {
        let twice = [job.clone(), entry(b'0', second, other.as_bytes())].concat();
        assert!(matches!(job_in(&mut &twice[..]), Err(JobLayerError::Twice)), "{second}");
        let alone = entry(b'0', second, JOB.as_bytes());
        assert_eq!(job_in(&mut &alone[..]).expect("a job").map(|job| job.name).as_deref(), Some("a"), "{second}");
    }
    let above = [job.clone(), entry(b'0', "hone/x/../job.json", other.as_bytes())].concat();
    assert!(matches!(job_in(&mut &above[..]), Err(JobLayerError::Tar(_))));
    let through = [entry(b'2', "x", b""), entry(b'0', "x/job.json", other.as_bytes())].concat();
    for more in [
        entry(b'1', "hone/job.json", b""),
        entry(b'2', "/hone/job.json", b""),
        entry(b'5', "hone/job.json/", b""),
        entry(b'2', "hone", b""),
        entry(b'0', "hone/.wh.job.json", b""),
        entry(b'0', ".wh..wh..opq", b""),
        through,
    ] {
        for tar in [[&job[..], &more].concat(), [&more[..], &job].concat()] {
            assert!(matches!(job_in(&mut &tar[..]), Err(JobLayerError::Twice)));
        }
    }
    let huge = entry(b'0', "hone/job.json", &vec![b' '; 5 << 20]);
    assert!(matches!(job_in(&mut &huge[..]), Err(JobLayerError::Job(_))));
    // A gigabyte is not read into memory, nor waited for.
    let mut lying = header(b'0', "hone/job.json", 1 << 30);
    lying.extend(JOB.as_bytes());
    assert!(job_in(&mut &lying[..]).is_err());
}

#[test]
fn a_job_is_not_believed_before_its_layer_is_whole() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let tar = [entry(b'0', "hone/job.json", JOB.as_bytes()), vec![0; 1024]].concat();
    let mut job = layer(&ingest, ZSTD, &zstd(&tar), Digest::of(&tar));
    assert!(job_in(&mut store.open_layer(&job, &Budget::of_layer(&job)).expect("layer")).expect("a job").is_some());
    job.diff_id = Digest::of(b"another");
    assert!(job_in(&mut store.open_layer(&job, &Budget::of_layer(&job)).expect("layer")).is_err());
}

/// Stores an index of these entries under the only name, as another tool might.
fn index(store: &Store, ingest: &Ingest<'_>, manifests: Vec<Descriptor>) -> Descriptor {
    let index = Sealed::new(Index::new(manifests));
    ingest.put(index.bytes()).expect("put");
    let descriptor = index.descriptor(media::INDEX);
    let mut named = descriptor.clone();
    named.annotations = BTreeMap::from([(media::REF_NAME.to_owned(), "m:base".to_owned())]);
    let root = Sealed::new(Index::new(vec![named]));
    fs::write(store.root().join("index.json"), root.bytes()).expect("index.json");
    descriptor
}

#[test]
fn indexes_that_nest_or_name_themselves_end() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    // No index can hold its own digest; one that pretends to, and a blob that is not what its name says, are refused.
    let claimed = Digest::of(b"itself");
    let itself = Sealed::new(Index::new(vec![Descriptor {
        digest: claimed,
        ..Sealed::new(Index::new(Vec::new())).descriptor(media::INDEX)
    }]));
    fs::write(store.blob_path(claimed), itself.bytes()).expect("blob");
    let root = Sealed::new(Index::new(vec![Descriptor { digest: claimed, ..itself.descriptor(media::INDEX) }]));
    fs::write(store.root().join("index.json"), root.bytes()).expect("index.json");
    assert!(matches!(store.only_image(), Err(StoreError::Corrupt { .. })));
    // Indexes, each in the next.
    let mut inner = index(&store, &ingest, Vec::new());
    for _ in 0..50 {
        inner = index(&store, &ingest, vec![inner]);
    }
    assert!(matches!(store.only_image(), Err(StoreError::Empty { .. })));
    assert!(store.pack(inner.digest).expect("an index").images().is_empty());
    // The twin: an index of one manifest, named twice.
    let image = manifest(&ingest, &[]);
    index(&store, &ingest, vec![image.clone(), image.clone()]);
    assert_eq!(store.only_image().expect("the image").digest(), image.digest);
    assert!(store.collect().is_ok());
}

/// An image without layers, or with layers of these claimed sizes.
fn manifest(ingest: &Ingest<'_>, sizes: &[u64]) -> Descriptor {
    let layers: Vec<Layer> = sizes.iter().map(|size| Layer::tar(LayerKind::Other, Digest::of(b"x"), *size)).collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string();
    let digest = ingest.put(config.as_bytes()).expect("config");
    let descriptor = Layer::tar(LayerKind::Other, digest, config.len() as u64).descriptor;
    let descriptor = Descriptor { media_type: media::CONFIG.to_owned(), ..descriptor };
    let layers = layers.into_iter().map(|layer| layer.descriptor).collect();
    let manifest = Sealed::new(Manifest::new(descriptor, layers, BTreeMap::new()));
    ingest.put(manifest.bytes()).expect("manifest");
    manifest.descriptor(media::MANIFEST)
}

#[test]
fn sizes_of_a_manifest_are_no_arithmetic() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let image = manifest(&ingest, &[u64::MAX, u64::MAX]);
    assert_eq!(store.image_by_digest(image.digest).expect("an image").size(), u64::MAX);
    let image = manifest(&ingest, &[1, 2]);
    assert_eq!(store.image_by_digest(image.digest).expect("an image").size(), 3);
}

#[test]
fn one_index_does_not_fill_memory_with_documents() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    // 4 MiB that are an image's manifest, named again and again.
    let image = manifest(&ingest, &[]);
    let text = String::from_utf8(fs::read(store.blob_path(image.digest)).expect("read")).expect("text");
    let wide = text.replacen('{', &format!("{{{}", " ".repeat(4 << 20)), 1);
    let wide = Descriptor { digest: ingest.put(wide.as_bytes()).expect("put"), size: wide.len() as u64, ..image };
    let seven = index(&store, &ingest, vec![wide.clone(); 7]);
    assert_eq!(store.pack(seven.digest).expect("within").images().len(), 7);
    let eight = index(&store, &ingest, vec![wide; 8]);
    let said = store.pack(eight.digest).expect_err("too much").to_string();
    assert!(said.contains("bytes together"), "{said}");
}

#[test]
fn an_index_that_is_too_wide_is_refused_and_what_it_names_is_kept() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let image = manifest(&ingest, &[]);
    let most = index(&store, &ingest, vec![image.clone(); MAX_MANIFESTS]);
    assert_eq!(store.pack(most.digest).expect("as wide as may be").images().len(), MAX_MANIFESTS);
    let config = store.only_image().expect("an image").config().digest();
    let wide = index(&store, &ingest, vec![image.clone(); MAX_MANIFESTS + 1]);
    for said in [store.pack(wide.digest).map(drop), store.tag(&wide, &"m:other".parse().expect("a name"))] {
        assert!(said.expect_err("too wide").to_string().contains("names 257 manifests, want at most 256"));
    }
    drop(ingest);
    assert!(store.collect().expect("collect").is_some());
    assert!([wide.digest, image.digest, config].iter().all(|digest| store.blob_path(*digest).exists()));
    assert!(store.problems().iter().any(|problem| problem.to_string().contains("names 257 manifests")));
    assert_eq!(store.damaged(wide.digest).expect("look").len(), 1);
}

/// Runs `operation`, which must end by itself.
fn ends<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(operation()));
    told.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits for somebody")
}

fn make_fifo(path: &std::path::Path) {
    let _ = fs::remove_file(path);
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).expect("fifo");
}

#[test]
fn a_fifo_in_a_layout_is_refused_and_never_waited_for() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let image = manifest(&ingest, &[]);
    let layer = layer(&ingest, TAR, b"content", Digest::of(b"content"));
    index(&store, &ingest, vec![image.clone()]);
    let config = store.only_image().expect("the twin").config().digest();
    for digest in [layer.descriptor.digest, config, image.digest] {
        make_fifo(&store.blob_path(digest));
    }
    let other = store.clone();
    let said = ends(move || other.read_blob(config, 1 << 20).expect_err("a fifo"));
    assert!(format!("{said:?}").contains("a FIFO"), "{said:?}");
    let (other, blob) = (store.clone(), layer.descriptor.clone());
    assert!(ends(move || other.open_blob(blob.digest, 0).is_err()), "a layer");
    let (other, digest) = (store.clone(), image.digest);
    assert!(ends(move || other.pack(digest).is_err()), "a manifest");
    make_fifo(&store.root().join("index.json"));
    let other = store.clone();
    assert!(ends(move || other.references().is_err()), "index.json");
    let (other, taken) = (store.clone(), layer.descriptor);
    let (_there, into) = site();
    assert!(ends(move || into.ingest().expect("ingest").take(&taken, &other).is_err()), "a blob of a layout");
}

#[test]
fn a_fifo_in_place_of_a_download_or_a_lock_is_not_waited_for() {
    let (_dir, store) = site();
    drop(store.ingest().expect("ingest"));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 24 * 60 * 60);
    let partial = |name: &str| store.root().join("partial").join(name);
    let (fifo, twin) = (partial(&Digest::of(b"fifo").hex()), partial(&Digest::of(b"file").hex()));
    make_fifo(&fifo);
    fs::write(&twin, b"half").expect("write");
    for path in [&fifo, &twin] {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = fs::File::options().read(true).custom_flags(flags).open(path).expect("open");
        file.set_modified(old).expect("time");
    }
    let other = store.clone();
    let swept = ends(move || other.collect()).expect("collect").expect("alone");
    assert_eq!((swept.partials.count, fifo.exists(), twin.exists()), (2, false, false));
    make_fifo(&store.root().join("ingest.lock"));
    let other = store.clone();
    assert!(ends(move || other.collect().is_err()), "the lock");
}

#[test]
fn a_document_that_is_two_things_is_refused_by_every_reader() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let image = manifest(&ingest, &[]);
    let bytes = fs::read(store.blob_path(image.digest)).expect("read");
    let mut both: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    both["manifests"] = serde_json::json!([image]);
    both.as_object_mut().expect("an object").remove("mediaType");
    let both = both.to_string();
    for media_type in [media::INDEX, media::MANIFEST] {
        let digest = ingest.put(both.as_bytes()).expect("put");
        let entry = Descriptor::of(media_type, digest, both.len() as u64);
        for said in [store.pack(digest).expect_err("by digest"), store.pack_of(&entry).expect_err("by its entry")] {
            assert!(matches!(said, StoreError::Parse { .. }), "{said}");
            assert!(said.to_string().contains(&digest.hex()), "{said}");
        }
        let outer = index(&store, &ingest, vec![entry.clone()]);
        // An index in an index is nobody's; as a manifest it is read, and refused.
        assert_eq!(store.pack(outer.digest).is_err(), media_type == media::MANIFEST);
    }
    // What the entry says and what the document is.
    let twin = index(&store, &ingest, vec![image.clone()]);
    assert_eq!(store.pack_of(&twin).expect("the twin").images().len(), 1);
    assert!(store.pack_of(&Descriptor { media_type: media::MANIFEST.to_owned(), ..twin.clone() }).is_err());
    assert!(store.pack_of(&Descriptor { media_type: media::INDEX.to_owned(), ..image.clone() }).is_err());
    // Docker's names are as good.
    assert!(store.pack_of(&Descriptor { media_type: media::DOCKER_INDEX.to_owned(), ..twin }).is_ok());
    assert!(store.pack_of(&Descriptor { media_type: media::DOCKER_MANIFEST.to_owned(), ..image }).is_ok());
    // So is index.json.
    let path = store.root().join("index.json");
    let mut root: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
    root["layers"] = serde_json::json!([]);
    fs::write(&path, root.to_string()).expect("write");
    assert!(matches!(store.references(), Err(StoreError::Parse { .. })));
}

#[test]
fn an_index_without_an_image_is_named_with_its_place() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let empty = index(&store, &ingest, Vec::new());
    let name: Reference = "m:base".parse().expect("a name");
    for said in [store.image_by_digest(empty.digest).expect_err("none"), store.image(&name).expect_err("none")] {
        let said = said.to_string();
        for word in ["m:base", &empty.digest.to_string(), &store.root().display().to_string()] {
            assert!(said.contains(word), "{said}");
        }
    }
    // Nor does it get a name here.
    let pack = store.pack(empty.digest).expect("an index");
    assert!(matches!(ingest.put_pack(&name, &pack), Err(StoreError::Empty { .. })));
    let windows = Platform { os: "windows".to_owned(), ..Platform::linux("amd64", None) };
    let absent = Descriptor::of(media::MANIFEST, Digest::of(b"elsewhere"), 1);
    let elsewhere = index(&store, &ingest, vec![Descriptor { platform: Some(windows), ..absent }]);
    let said = store.image_by_digest(elsewhere.digest).expect_err("not here").to_string();
    assert!(said.contains("windows/amd64"), "{said}");
}

/// A manifest of this platform's image, without layers or with one of this media type.
fn image_for(ingest: &Ingest<'_>, os: &str, architecture: &str, layer: Option<&str>) -> Descriptor {
    let config = serde_json::json!({
        "architecture": architecture, "os": os, "rootfs": {"type": "layers", "diff_ids": []},
    });
    let config = config.to_string();
    let digest = ingest.put(config.as_bytes()).expect("put");
    let config = Descriptor::of(media::CONFIG, digest, config.len() as u64);
    let layers = layer.map(|media_type| Descriptor::of(media_type, Digest::of(b"x"), 1));
    let manifest = Sealed::new(Manifest::new(config, layers.into_iter().collect(), BTreeMap::new()));
    ingest.put(manifest.bytes()).expect("put");
    manifest.descriptor(media::MANIFEST)
}

#[test]
fn statements_of_a_builder_are_no_images_and_other_systems_no_choice() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let here = hone_store::this_machine();
    let architecture = &here.architecture;
    let other = image_for(&ingest, "windows", architecture, None);
    let ours = image_for(&ingest, "linux", architecture, None);
    // BuildKit's attestation has an image's configuration, and a layer that is no tar; either is enough to tell.
    let layer = image_for(&ingest, "unknown", "unknown", Some("application/vnd.in-toto+json"));
    let entry = image_for(&ingest, "unknown", "unknown", None);
    let entry = Descriptor { platform: Some(Platform::nobody()), ..entry };
    let all = index(&store, &ingest, vec![other, layer, entry, ours.clone()]);
    let pack = store.pack(all.digest).expect("a pack");
    assert_eq!((pack.images().len(), pack.artifacts().len()), (2, 2));
    let platforms: Vec<String> = pack.images().iter().map(|image| image.platform().to_string()).collect();
    assert_eq!(platforms, [format!("windows/{architecture}"), format!("linux/{architecture}")]);
    assert_eq!(store.only_image().map(|image| Image::digest(&image)).expect("one"), ours.digest);
}

#[test]
fn what_others_wrote_into_index_json_stays_when_it_is_written_again() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let image = manifest(&ingest, &[]);
    let mut entry = serde_json::to_value(&image).expect("JSON");
    entry["urls"] = serde_json::json!(["https://mirror.example/x"]);
    entry["data"] = serde_json::json!("e30=");
    entry["artifactType"] = serde_json::json!("application/x");
    entry["platform"] = serde_json::json!({
        "architecture": "amd64", "os": "windows", "os.version": "10.0.1", "os.features": ["win32k"], "new": {"deep": 1},
    });
    entry["annotations"] = serde_json::json!({media::REF_NAME: "theirs:base"});
    let root =
        serde_json::json!({"schemaVersion": 2, "manifests": [entry], "annotations": {"a": "b"}, "other": [1.5]});
    fs::write(store.root().join("index.json"), root.to_string()).expect("write");
    store.tag(&image, &"ours:base".parse().expect("a name")).expect("tag");
    let text = fs::read(store.root().join("index.json")).expect("read");
    let mut now: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let entries = now["manifests"].as_array_mut().expect("manifests");
    entries.retain(|entry| entry["annotations"][media::REF_NAME] != "ours:base");
    assert_eq!(now, root);
}

/// Each of two layers is within its own bound; together they are more than an image of sixty kilobytes holds.
#[test]
fn the_layers_of_one_image_do_not_multiply() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let zeros = |n: u64| zstd::encode_all(io::repeat(0).take(n), 1).expect("zstd");
    let of = |n: u64| layer(&ingest, ZSTD, &zeros(n), Digest::of(b"never reached"));
    let layers = [of(600 << 20), of((600 << 20) + 1)];
    let budget = Budget::of(layers.iter().map(|layer| &layer.descriptor));
    let read = |layer: &Layer| {
        let mut reader = store.open_layer(layer, &budget).expect("open");
        io::copy(&mut reader, &mut io::sink()).expect_err("refused").to_string()
    };
    // The first ends where its diff id is asked for; the second before.
    assert!(read(&layers[0]).contains("want sha256:"));
    assert!(read(&layers[1]).contains("the image's layers together"));
}
