//! Archives written and read back, and archives that lie, each beside its harmless twin.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};

use hone_archive::layout::{Entry, Layout};
use hone_archive::{
    Archive, ArchiveError, OciBlob, OciRoot, OciShipment, ShipLayer, Shipment, ShipmentError, write_docker_archive,
    write_oci_archive,
};
use hone_contract::{Digest, Reference};
use hone_image::oci::{Descriptor, Index, Manifest, Sealed};
use hone_image::{Artifact, Image, Pack, media};
use serde_json::{Value, json};

type Entries = Vec<(tar::Header, Vec<u8>)>;

fn layers() -> [Vec<u8>; 2] {
    [b"lower".repeat(300), b"upper".to_vec()]
}

fn config(architecture: &str) -> Vec<u8> {
    let ids = layers().map(|layer| Digest::of(&layer));
    json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids } })
        .to_string()
        .into_bytes()
}

fn image(architecture: &str) -> Image {
    let config = Sealed::parse("config", config(architecture)).unwrap();
    let layer = |bytes: Vec<u8>| Descriptor::of(media::LAYER_TAR, Digest::of(&bytes), bytes.len() as u64);
    let manifest = Manifest::new(config.descriptor(media::CONFIG), layers().map(layer).to_vec(), BTreeMap::new());
    Image::join(Sealed::new(manifest), config).unwrap()
}

fn artifact() -> Artifact {
    let config: Sealed<Value> = Sealed::parse("config", b"{}".to_vec()).unwrap();
    let weight = Descriptor::of(media::MODEL_WEIGHT_TAR, Digest::of(&layers()[0]), layers()[0].len() as u64);
    let manifest = Manifest::artifact(media::MODEL_MANIFEST, config.descriptor(media::MODEL_CONFIG), vec![weight]);
    Artifact { manifest: Sealed::new(manifest), config }
}

fn name() -> Reference {
    "assistant:base".parse().unwrap()
}

fn oci(pack: &Pack) -> Vec<u8> {
    let open = |descriptor: &Descriptor| -> hone_archive::Open<'_> {
        let bytes = layers().into_iter().find(|l| Digest::of(l) == descriptor.digest).unwrap();
        Box::new(move || Ok(Box::new(std::io::Cursor::new(bytes.clone()))))
    };
    let mut out = Vec::new();
    let sent = write_oci_archive(&OciShipment::pack(&name(), pack, open).unwrap(), &mut out).unwrap();
    assert_eq!((sent.sent_layers, sent.sent_bytes), (2, 1505));
    out
}

fn docker() -> Vec<u8> {
    let ship = |bytes: Vec<u8>| ShipLayer {
        diff_id: Digest::of(&bytes),
        size: Some(bytes.len() as u64),
        open: Box::new(move || Ok(Box::new(std::io::Cursor::new(bytes.clone())))),
    };
    let shipment =
        Shipment { reference: name().to_string(), config: config("amd64"), layers: layers().map(ship).into() };
    let mut out = Vec::new();
    write_docker_archive(&shipment, &mut out).unwrap();
    out
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn open(bytes: &[u8]) -> Result<Archive, ArchiveError> {
    Archive::open(file(bytes))
}

/// An archive's entries, to be changed.
fn entries(bytes: &[u8]) -> Entries {
    let mut archive = tar::Archive::new(bytes);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.header().clone(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

fn packed(entries: &Entries) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (header, content) in entries {
        builder.append(header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn entry(name: &str, kind: tar::EntryType, content: &[u8]) -> (tar::Header, Vec<u8>) {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    (header, content.to_vec())
}

fn link(name: &str, target: &str) -> (tar::Header, Vec<u8>) {
    let (mut header, content) = entry(name, tar::EntryType::Symlink, b"");
    header.set_link_name(target).unwrap();
    header.set_cksum();
    (header, content)
}

fn with(bytes: &[u8], more: Entries) -> Vec<u8> {
    packed(&[entries(bytes), more].concat())
}

fn replaced(bytes: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut all = entries(bytes);
    all.retain(|(header, _)| header.path().unwrap().to_str() != Some(name));
    packed(&[all, vec![entry(name, tar::EntryType::Regular, content)]].concat())
}

fn why(bytes: &[u8]) -> String {
    let error = open(bytes).expect_err("want it refused");
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

#[track_caller]
fn refused(bytes: &[u8], want: &str) {
    let got = why(bytes);
    assert!(got.contains(want), "want {want:?} in {got:?}");
}

fn content(archive: &Archive, digest: Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    archive.open_blob(digest).expect("the blob is there").read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_oci_archive_is_read_as_it_was_written() {
    let pack = Pack::new(vec![image("amd64"), image("arm64")], vec![artifact()]);
    let archive = open(&oci(&pack)).unwrap();
    assert_eq!(archive.packs().len(), 1);
    assert_eq!(archive.packs()[0].pack, pack);
    assert_eq!(archive.packs()[0].names.iter().collect::<Vec<_>>(), [&name()]);
    for layer in layers() {
        assert_eq!(content(&archive, Digest::of(&layer)), layer);
    }
    assert!(archive.open_blob(Digest::of(b"other")).is_none());
}

#[test]
fn archives_have_the_same_bytes_on_any_day() {
    // Others compare archives by digest. Order, names, annotations and headers are in it; changing them is a
    // change for users.
    let oci = Digest::of(&oci(&Pack::alone(image("amd64")))).to_string();
    let docker = Digest::of(&docker()).to_string();
    assert_eq!(oci, "sha256:55353537f7b6c317e983d02333209e41f1f2bef246326b89f93d1aabf4af0f4d");
    assert_eq!(docker, "sha256:19aaea04f098a0ffcebe0ee9c1cb1dab1e9ac5d93066cc85dacb3d2da09c696e");
}

#[test]
fn one_image_is_in_docker_s_form_too_and_several_are_not() {
    let names = |bytes: &[u8]| -> Vec<String> {
        entries(bytes).iter().map(|(header, _)| header.path().unwrap().to_string_lossy().into_owned()).collect()
    };
    let alone = names(&oci(&Pack::alone(image("amd64"))));
    assert_eq!(alone[..3], ["oci-layout", "index.json", "manifest.json"]);
    assert!(names(&oci(&Pack::new(vec![image("amd64")], vec![artifact()]))).contains(&"manifest.json".into()));
    let two = names(&oci(&Pack::new(vec![image("amd64"), image("arm64")], vec![])));
    assert!(!two.contains(&"manifest.json".to_owned()));
    let shared = format!("blobs/sha256/{}", Digest::of(&layers()[0]).hex());
    assert_eq!(two.iter().filter(|name| **name == shared).count(), 1, "a shared layer is there once");
}

#[test]
fn a_docker_archive_becomes_an_image_over_its_tars() {
    let archive = open(&docker()).unwrap();
    let pack = &archive.packs()[0].pack;
    assert_eq!(pack.images()[0].config().bytes(), config("amd64"));
    for (layer, bytes) in pack.images()[0].layers().iter().zip(layers()) {
        assert_eq!(layer.descriptor, Descriptor::of(media::LAYER_TAR, layer.diff_id, bytes.len() as u64));
        assert_eq!(content(&archive, layer.descriptor.digest), bytes);
    }
}

#[test]
fn layers_of_a_docker_archive_may_be_links_and_compressed() {
    let gzip = [&[0x1f, 0x8b, 8, 0][..], b"not really"].concat();
    let mut all = entries(&docker());
    all.retain(|(header, _)| header.path().unwrap().extension().is_none_or(|e| e != "tar"));
    all.push(entry("x/real", tar::EntryType::Regular, &gzip));
    for layer in layers() {
        all.push(link(&format!("{}.tar", Digest::of(&layer).hex()), "x/../x/real"));
    }
    let archive = open(&packed(&all)).unwrap();
    let layers = archive.packs()[0].pack.images()[0].layers();
    assert_eq!(layers[0].descriptor, Descriptor::of(media::LAYER_GZIP, Digest::of(&gzip), gzip.len() as u64));
    assert_eq!(content(&archive, layers[1].descriptor.digest), gzip);
}

#[test]
fn a_link_that_leaves_the_archive_or_goes_round_is_refused() {
    let name = format!("{}.tar", Digest::of(&layers()[1]).hex());
    let mut all = entries(&docker());
    all.retain(|(header, _)| header.path().unwrap().to_str() != Some(&name));
    let twin = [all.clone(), vec![link(&name, "./real"), entry("real", tar::EntryType::Regular, b"upper")]].concat();
    open(&packed(&twin)).unwrap();
    for (target, want) in [
        ("/etc/passwd", "its target is outside of the archive"),
        ("../etc/passwd", "its target is outside of the archive"),
        (name.as_str(), "too many symbolic links"),
        ("nowhere", "not in the archive"),
    ] {
        refused(&packed(&[all.clone(), vec![link(&name, target)]].concat()), want);
    }
}

#[test]
fn only_plain_entries_under_plain_names_are_read() {
    let twin = oci(&Pack::alone(image("amd64")));
    let dir = entry("blobs/", tar::EntryType::Directory, b"");
    open(&with(&twin, vec![dir, entry("a", tar::EntryType::Regular, b"x"), link("b", "../../x")])).unwrap();
    for name in ["../a", "/a", "a/../../b", "a//b", "x/.."] {
        refused(&with(&twin, vec![entry(name, tar::EntryType::Regular, b"")]), "read archive: tar entry");
    }
    for kind in [tar::EntryType::Link, tar::EntryType::Char, tar::EntryType::Fifo, tar::EntryType::GNUSparse] {
        refused(&with(&twin, vec![entry("a", kind, b"")]), "want a regular file");
    }
    refused(&with(&twin, vec![entry("index.json", tar::EntryType::Regular, b"{}")]), "there twice");
    refused(&with(&twin, vec![entry("d", tar::EntryType::Directory, b"content")]), "has no content");
}

#[test]
fn long_names_are_read_and_endless_ones_are_not() {
    let twin = oci(&Pack::alone(image("amd64")));
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let extended = |kind, body: &[u8]| vec![entry("long", kind, body), entry("short", tar::EntryType::Regular, b"x")];
    open(&with(&twin, extended(tar::EntryType::GNULongName, long.as_bytes()))).unwrap();
    let record = |value: &str| {
        let rest = " path=\n".len() + value.len();
        let length = (rest..).find(|n| *n == rest + n.to_string().len()).unwrap();
        format!("{length} path={value}\n")
    };
    open(&with(&twin, extended(tar::EntryType::XHeader, record(&long).as_bytes()))).unwrap();
    for (bad, want) in [("../x", "tar entry"), ("x\0y", "has a NUL in it"), (&"x/".repeat(600), "tar entry")] {
        refused(&with(&twin, extended(tar::EntryType::XHeader, record(bad).as_bytes())), want);
    }
    refused(&with(&twin, extended(tar::EntryType::GNULongName, &vec![b'x'; 20_000])), "more than 16 KiB");
    for bad in ["5 path=x\n", "99 path=x\n", "path", "18446744073709551615 a=b\n", "0 a=b\n"] {
        refused(&with(&twin, extended(tar::EntryType::XHeader, bad.as_bytes())), "not one");
    }
    // A record says its own length: behind a line break in an attribute there is no other.
    let attribute = "SCHILY.xattr.user.a=\n\n16 path=../../x\n";
    let attribute = format!("{} {attribute}\n", attribute.len() + 4);
    open(&with(&twin, extended(tar::EntryType::XHeader, attribute.as_bytes()))).unwrap();
    let twice = [extended(tar::EntryType::GNULongName, b"a"), extended(tar::EntryType::GNULongName, b"b")];
    let twice = [vec![twice[0][0].clone()], twice[1].clone()].concat();
    refused(&with(&twin, twice), "say the same of one entry");
    let index = "index.json";
    let size = |value: &str| format!("{} size={value}\n", 8 + value.len() + 1);
    let lying = |value: &str| {
        let mut all = entries(&twin);
        let at = all.iter().position(|(header, _)| header.path().unwrap().to_str() == Some(index)).unwrap();
        all.insert(at, entry("x", tar::EntryType::XHeader, size(value).as_bytes()));
        packed(&all)
    };
    let length = entries(&twin)[1].1.len().to_string();
    open(&lying(&length)).unwrap();
    refused(&lying("99999999"), "beyond the archive's end");
    refused(&lying("-1"), "not a number");
}

#[test]
fn cut_off_and_damaged_archives_are_refused_at_every_place() {
    let whole = oci(&Pack::alone(image("amd64")));
    open(&whole[..whole.len() - 512]).expect("one block of zeros is an end");
    for length in (0..whole.len() - 1023).step_by(128) {
        assert!(open(&whole[..length]).is_err(), "cut off at {length}");
    }
    let mut lying = whole.clone();
    lying[124..136].copy_from_slice(b"77777777777\0");
    refused(&lying, "checksum");
    let mut header = tar::Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_size(1 << 32);
    header.set_cksum();
    refused(&[header.as_bytes(), &whole[..]].concat(), "beyond the archive's end");
    refused(b"\x1f\x8b\x08 gzip", "compressed with gzip");
    refused(&packed(&vec![entry("a", tar::EntryType::Regular, b"x")]), "want an OCI or docker archive");
}

#[test]
fn an_archive_of_a_million_entries_is_refused() {
    let twin = oci(&Pack::alone(image("amd64")));
    let many = |count: usize| {
        with(&twin, (0..count).map(|n| entry(&format!("n{n}"), tar::EntryType::Regular, b"")).collect())
    };
    open(&many(10_000)).unwrap();
    refused(&many(17_000), "more than 16384 entries");
}

#[test]
fn blobs_that_are_missing_shorter_or_others_are_refused() {
    let twin = oci(&Pack::alone(image("amd64")));
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let (layer, manifest) = (blob(Digest::of(&layers()[1])), blob(image("amd64").digest()));
    open(&replaced(&twin, &layer, &layers()[1])).unwrap();
    refused(&replaced(&twin, &layer, b"short"[..4].as_ref()), "got 4 bytes, want 5 bytes");
    let size = image("amd64").manifest().bytes().len();
    refused(&replaced(&twin, &manifest, &vec![b' '; size]), "got sha256:");
    let mut gone = entries(&twin);
    gone.retain(|(header, _)| header.path().unwrap().to_str() != Some(&layer));
    refused(&packed(&gone), "which is not in the archive");
    refused(&with(&twin, vec![entry("blobs/sha256/abc", tar::EntryType::Regular, b"")]), "64 lowercase hex");
    let config = format!("{}.json", Digest::of(&config("amd64")).hex());
    refused(&replaced(&docker(), &config, &self::config("arm64")), "got sha256:");
}

#[test]
fn documents_are_bounded_and_of_their_form() {
    let twin = oci(&Pack::alone(image("amd64")));
    refused(&replaced(&twin, "index.json", &vec![b' '; (8 << 20) + 1]), "want at most 8388608");
    refused(&replaced(&twin, "index.json", b"{"), "parse index");
    refused(&replaced(&docker(), "manifest.json", b"[{}]"), "parse manifest");
    let listed = |layers: &Value| {
        let config = format!("{}.json", Digest::of(&config("amd64")).hex());
        json!([{ "Config": config, "RepoTags": null, "Layers": layers }]).to_string()
    };
    refused(&replaced(&docker(), "manifest.json", listed(&json!([])).as_bytes()), "got 0 layers, want 2 layers");
    let names = layers().map(|layer| format!("{}.tar", Digest::of(&layer).hex()));
    let archive = open(&replaced(&docker(), "manifest.json", listed(&json!(names)).as_bytes())).unwrap();
    assert!(archive.packs()[0].names.is_empty());
}

/// An archive of these documents, its index naming the first.
fn nested(documents: &[Vec<u8>]) -> Vec<u8> {
    let descriptor = |bytes: &[u8]| Descriptor::of(media::INDEX, Digest::of(bytes), bytes.len() as u64);
    let index = Sealed::new(Index::new(vec![descriptor(&documents[0])])).bytes().to_vec();
    let mut all = vec![
        entry("oci-layout", tar::EntryType::Regular, b"{}"),
        entry("index.json", tar::EntryType::Regular, &index),
    ];
    for bytes in documents {
        all.push(entry(&format!("blobs/sha256/{}", Digest::of(bytes).hex()), tar::EntryType::Regular, bytes));
    }
    packed(&all)
}

#[test]
fn indexes_are_neither_deep_nor_wide() {
    let (image, layers) = (image("amd64"), layers());
    let parts = |index: Vec<u8>| {
        let image = [image.manifest().bytes(), image.config().bytes()].map(<[u8]>::to_vec);
        [vec![index], image.to_vec(), layers.to_vec()].concat()
    };
    let of = |n: usize| Sealed::new(Index::new(vec![image.descriptor(); n])).bytes().to_vec();
    assert_eq!(open(&nested(&parts(of(3)))).unwrap().packs().len(), 1);
    refused(&nested(&parts(of(257))), "more than 256 manifests");
    // A circle would need a digest that names itself; what there can be is an index in an index, which is not entered.
    let inner = of(1);
    let outer = |bytes: &[u8]| {
        let descriptor = Descriptor::of(media::INDEX, Digest::of(bytes), bytes.len() as u64);
        Sealed::new(Index::new(vec![descriptor])).bytes().to_vec()
    };
    refused(&nested(&[parts(outer(&inner)), vec![inner]].concat()), "none of its manifests");
}

#[test]
fn documents_are_bounded_all_together() {
    // Each read of a document counts, whether it was read before or not.
    let mut big: Value = serde_json::from_slice(&config("amd64")).unwrap();
    big["pad"] = json!("x".repeat(7 << 20));
    let config: Sealed<_> = Sealed::parse("config", big.to_string().into_bytes()).unwrap();
    let layer = |bytes: Vec<u8>| Descriptor::of(media::LAYER_TAR, Digest::of(&bytes), bytes.len() as u64);
    let manifest = Manifest::new(config.descriptor(media::CONFIG), layers().map(layer).to_vec(), BTreeMap::new());
    let image = Image::join(Sealed::new(manifest), config).unwrap();
    let archive = |times: usize| {
        let index = Sealed::new(Index::new(vec![image.descriptor(); times])).bytes().to_vec();
        let documents = [index, image.manifest().bytes().to_vec(), image.config().bytes().to_vec()];
        nested(&[documents.to_vec(), layers().to_vec()].concat())
    };
    open(&archive(1)).unwrap();
    refused(&archive(5), "more than 33554432 bytes of documents");
}

#[test]
fn an_index_saved_for_one_platform_is_read_as_far_as_it_goes() {
    let pack = Pack::new(vec![image("amd64"), image("arm64")], vec![]);
    let mut all = entries(&oci(&pack));
    let gone = format!("blobs/sha256/{}", image("arm64").digest().hex());
    all.retain(|(header, _)| header.path().unwrap().to_str() != Some(&gone));
    let archive = open(&packed(&all)).unwrap();
    assert_eq!(archive.packs()[0].pack.digest(), pack.digest());
    assert_eq!(archive.packs()[0].pack.images(), [image("amd64")]);
    assert_eq!(archive.packs()[0].pack.missing().len(), 1);
    // And it goes on as it is.
    oci(&archive.packs()[0].pack);
}

#[test]
fn names_come_from_either_annotation_and_a_bare_tag_is_none() {
    let twin = oci(&Pack::alone(image("amd64")));
    let named = |annotations: Value| {
        let mut index: Value = serde_json::from_slice(&entries(&twin)[1].1).unwrap();
        index["manifests"][0]["annotations"] = annotations;
        let archive = open(&replaced(&twin, "index.json", index.to_string().as_bytes())).unwrap();
        archive.packs()[0].names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (whole, short) = ("io.containerd.image.name", media::REF_NAME);
    assert_eq!(named(json!({ whole: "docker.io/library/a:b", short: "b" })), ["a:b"]);
    assert_eq!(named(json!({ short: "localhost/a:b" })), ["localhost/a:b"]);
    assert!(named(json!({ short: "b" })).is_empty());
    assert!(named(json!({})).is_empty());
}

#[test]
fn a_shipment_holds_all_that_it_names() {
    let image = image("amd64");
    let root = || vec![OciRoot { reference: Some(name()), descriptor: image.descriptor() }];
    let documents = || [image.manifest().bytes().to_vec(), image.config().bytes().to_vec()];
    let missing = OciShipment::new(root(), documents(), []).err().expect("layers are missing");
    assert!(matches!(missing, ShipmentError::Missing { digest, .. } if digest == Digest::of(&layers()[0])));
    let missing = OciShipment::new(root(), [], []).err().expect("the manifest is missing");
    assert_eq!(missing.to_string(), format!("ship {}: index.json names it, and it was not given", image.digest()));
}

#[test]
fn a_shipment_takes_what_readers_take() {
    let image = image("amd64");
    let ship = |manifests: Vec<Descriptor>| {
        let index = Sealed::new(Index::new(manifests));
        let root = OciRoot { reference: Some(name()), descriptor: index.descriptor(media::INDEX) };
        let documents = [index.bytes(), image.manifest().bytes(), image.config().bytes()].map(<[u8]>::to_vec);
        let open = || -> std::io::Result<Box<dyn Read>> { Ok(Box::new(std::io::empty())) };
        let blobs = image.layers().iter().map(|l| OciBlob { descriptor: l.descriptor.clone(), open: Box::new(open) });
        OciShipment::new(vec![root], documents, blobs).map(|shipment| {
            let (descriptor, children) = shipment.document(index.digest()).expect("the index");
            (descriptor.is_index(), children.len(), shipment.contents(true).0.len())
        })
    };
    // Whoever labels the index finds all that it names, and what is elsewhere, or deeper, is not sent.
    let deeper = Descriptor::of(media::INDEX, Digest::of(b"deeper"), 6);
    let elsewhere = Descriptor::of(media::MANIFEST, Digest::of(b"elsewhere"), 9);
    assert_eq!(ship(vec![image.descriptor(), deeper, elsewhere]).expect("a shipment"), (true, 3, 3));
    assert_eq!(ship(vec![image.descriptor(); 256]).expect("as wide as may be"), (true, 256, 3));
    let wide = ship(vec![image.descriptor(); 257]).expect_err("too wide");
    assert!(
        matches!(&wide, ShipmentError::Document { source, .. } if source.to_string().contains("names 257 manifests"))
    );
    let shorter = Descriptor { size: 1, ..image.descriptor() };
    assert!(matches!(ship(vec![shorter]), Err(ShipmentError::Size { want: 1, .. })));
}

#[test]
fn a_document_that_is_two_things_is_refused() {
    let image = image("amd64");
    let mut both: Value = serde_json::from_slice(image.manifest().bytes()).unwrap();
    both["manifests"] = json!([image.descriptor()]);
    both.as_object_mut().unwrap().remove("mediaType");
    let parts = |root: Vec<u8>| {
        let mut documents = vec![root, image.manifest().bytes().to_vec(), image.config().bytes().to_vec()];
        documents.dedup();
        [documents, layers().to_vec()].concat()
    };
    refused(&nested(&parts(both.to_string().into_bytes())), "refused, because programs would read it differently");
    // A manifest that the archive's index calls an index.
    refused(&nested(&parts(image.manifest().bytes().to_vec())), "it is described as an index and is a manifest");
    let twin = Sealed::new(Index::new(vec![image.descriptor()])).bytes().to_vec();
    assert_eq!(open(&nested(&parts(twin))).unwrap().packs()[0].pack.images().len(), 1);
    // index.json itself.
    let archive = oci(&Pack::alone(image));
    let mut index: Value = serde_json::from_slice(&entries(&archive)[1].1).unwrap();
    index["config"] = json!({});
    refused(&replaced(&archive, "index.json", index.to_string().as_bytes()), "programs would read it differently");
}

#[test]
fn a_statement_of_buildkit_s_is_an_artifact() {
    let statement = b"{}".to_vec();
    let config = json!({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = config.to_string().into_bytes();
    let of = |media_type: &str, bytes: &[u8]| Descriptor::of(media_type, Digest::of(bytes), bytes.len() as u64);
    let manifest = Manifest::new(
        of(media::CONFIG, &config),
        vec![of("application/vnd.in-toto+json", &statement)],
        BTreeMap::new(),
    );
    let manifest = Sealed::new(manifest);
    let image = image("amd64");
    let mut entry = manifest.descriptor(media::MANIFEST);
    entry.platform = Some(hone_image::oci::Platform::nobody());
    let index = Sealed::new(Index::new(vec![image.descriptor(), entry])).bytes().to_vec();
    let documents = [index, image.manifest().bytes().to_vec(), image.config().bytes().to_vec(), config, statement];
    let archive = nested(&[documents.to_vec(), vec![manifest.bytes().to_vec()], layers().to_vec()].concat());
    let archive = open(&archive).unwrap();
    let pack = &archive.packs()[0].pack;
    assert_eq!((pack.images().len(), pack.artifacts().len(), pack.missing().len()), (1, 1, 0));
}

#[test]
fn an_image_of_too_many_layers_is_refused_before_they_are_read() {
    let config = format!("{}.json", Digest::of(&config("amd64")).hex());
    let listed = |n: usize| json!([{ "Config": config, "RepoTags": null, "Layers": vec!["x"; n] }]).to_string();
    refused(&replaced(&docker(), "manifest.json", listed(129).as_bytes()), "more than 128 layers");
    refused(&replaced(&docker(), "manifest.json", listed(128).as_bytes()), "got 128 layers, want 2 layers");
}

#[test]
fn names_in_an_archive_do_not_move_the_cursor() {
    let evil = format!("\u{1b}[2J{}", "x".repeat(100_000));
    let listed = |layers: &[String]| {
        let config = format!("{}.json", Digest::of(&config("amd64")).hex());
        json!([{ "Config": config, "RepoTags": null, "Layers": layers }]).to_string()
    };
    for archive in [
        replaced(&docker(), "manifest.json", listed(&[evil.clone(), evil.clone()]).as_bytes()),
        replaced(&docker(), "manifest.json", json!([{"Config": evil, "Layers": []}]).to_string().as_bytes()),
        with(&docker(), vec![entry("a/\u{1b}]0;x/../y", tar::EntryType::Regular, b"")]),
    ] {
        let said = why(&archive);
        assert!(said.len() < 2000 && !said.contains('\u{1b}'), "{}", said.len());
    }
}

#[test]
fn no_word_of_an_archive_reaches_a_terminal_as_it_is() {
    const EVIL: &str = "\u{1b}[2J\u{202e}";
    let (twin, old) = (oci(&Pack::alone(image("amd64"))), docker());
    let config = format!("{}.json", Digest::of(&config("amd64")).hex());
    let listed = |config: &str, layer: &str| {
        let layers = [layer, layer];
        replaced(&old, "manifest.json", json!([{ "Config": config, "Layers": layers }]).to_string().as_bytes())
    };
    let index = |media_type: &str| {
        let entry = Descriptor::of(media_type, Digest::of(b"x"), 1);
        replaced(&twin, "index.json", Sealed::new(Index::new(vec![entry])).bytes())
    };
    let fifo = |name: &str| with(&twin, vec![entry(name, tar::EntryType::Fifo, b"")]);
    let blob = |name: &str| with(&twin, vec![entry(&format!("blobs/sha256/{name}"), tar::EntryType::Regular, b"")]);
    let long = "x".repeat(1 << 20);
    let name = long[..60].to_owned();
    for (says, evil, harmless) in [
        ("want a regular file", fifo(EVIL), fifo(&name)),
        ("64 lowercase hex", blob(EVIL), blob(&name)),
        ("not in the archive", listed(EVIL, "x"), listed(&long, "x")),
        ("not in the archive", listed(&config, EVIL), listed(&config, &long)),
        ("an index or a manifest", index(EVIL), index(&long)),
    ] {
        for archive in [evil, harmless] {
            let said = why(&archive);
            assert!(said.contains(says), "want {says:?} in {said:?}");
            assert!(said.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{said:?}");
            assert!(said.len() < 1000, "{} bytes", said.len());
        }
    }
}

#[test]
fn what_is_no_regular_file_is_no_archive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    std::fs::write(&path, oci(&Pack::alone(image("amd64")))).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("a.tar", &link).unwrap();
    for good in [&path, &link] {
        assert_eq!(Archive::at(good).unwrap().packs().len(), 1);
    }
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for bad in [fifo.as_path(), dir.path(), "/dev/zero".as_ref(), "/dev/null".as_ref()] {
        let error = Archive::at(bad).expect_err("no regular file");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(source.ends_with("want a regular file"), "{}: {source}", bad.display());
    }
}

/// A layout with these blobs, and these lines in its index.
fn layout(blobs: &[&[u8]], lines: &[Descriptor]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    for blob in blobs {
        std::fs::write(dir.path().join("blobs/sha256").join(Digest::of(blob).hex()), blob).unwrap();
    }
    std::fs::write(dir.path().join("index.json"), Sealed::new(Index::new(lines.to_vec())).bytes()).unwrap();
    dir
}

#[test]
fn a_layout_is_read_once_however_often_its_lines_name_a_document() {
    let large = |n: usize| {
        let config = Descriptor::of(media::EMPTY, Digest::of(b"{}"), 2);
        let mut manifest = Manifest::artifact("application/x-odd", config, Vec::new());
        manifest.annotations = BTreeMap::from([("a".to_owned(), format!("{n}{}", "x".repeat(3 << 20)))]);
        Sealed::new(manifest)
    };
    let described = |manifest: &Sealed<Manifest>| manifest.descriptor(media::MANIFEST);
    let unread = |dir: &tempfile::TempDir| {
        let all = Layout::at(dir.path()).unwrap().chosen(None).unwrap();
        let said = all.iter().map(|entry| match entry {
            Entry::Other(_, what) => {
                if what.contains("application/x-odd, no image") { "other" } else { "?" }.to_owned()
            }
            Entry::Unread(_, error) => hone_contract::chain(error),
            Entry::Image(..) => "image".to_owned(),
        });
        said.collect::<Vec<_>>()
    };
    // Read again for each line these would be beyond the bound after ten.
    let one = large(0);
    let dir = layout(&[one.bytes()], &vec![described(&one); 40]);
    assert_eq!(unread(&dir), vec!["other"; 40]);
    // So is a damaged one.
    let damaged = Descriptor::of(media::MANIFEST, Digest::of(b"[]"), 2);
    let said = unread(&layout(&[b"[]"], &[damaged.clone(), damaged]));
    assert!(said.len() == 2 && said[0] == said[1] && said[0].contains("it cannot be read"), "{said:?}");
    let many: Vec<_> = (0..15).map(large).collect();
    let blobs: Vec<_> = many.iter().map(Sealed::bytes).collect();
    let lines: Vec<_> = many.iter().map(described).collect();
    let said = unread(&layout(&blobs, &lines));
    assert_eq!(said.iter().filter(|what| *what == "other").count(), 10);
    assert!(said[10..].iter().all(|what| what.contains("more than 33554432 bytes together")), "{:?}", &said[10..]);
    // Named, one is read, wherever it stands.
    let named = lines.iter().cloned().enumerate().map(|(n, line)| {
        let annotations = BTreeMap::from([(media::REF_NAME.to_owned(), format!("a:{n}"))]);
        Descriptor { annotations, ..line }
    });
    let dir = layout(&blobs, &named.collect::<Vec<_>>());
    assert!(matches!(&Layout::at(dir.path()).unwrap().chosen(Some("14")).unwrap()[..], [Entry::Other(..)]));
}
