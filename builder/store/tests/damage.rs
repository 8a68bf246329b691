//! One bad entry, document or record: it is named, what it may need is kept, and everything else works.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{image_of, name, site};
use hone_contract::Digest;
use hone_image::oci::{Descriptor, Index, Manifest, Sealed};
use hone_image::{Artifact, Image, Pack, media};
use hone_store::{Ingest, Store, StoreError};
use serde_json::{Value, json};

/// An image of one layer, decided by `seed`, under a name.
fn image(ingest: &Ingest<'_>, reference: &str, seed: u8) -> Image {
    image_of(ingest, reference, &[seed; 100])
}

fn layer_of(image: &Image) -> Digest {
    image.layers()[0].descriptor.digest
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
    fs::write(path, bytes).expect("write");
}

fn edit_index(store: &Store, edit: impl FnOnce(&mut Value)) {
    let path = store.root().join("index.json");
    let mut index = serde_json::from_slice(&fs::read(&path).expect("index")).expect("JSON");
    edit(&mut index);
    fs::write(&path, index.to_string()).expect("write");
}

fn entries(index: &mut Value) -> &mut Vec<Value> {
    index["manifests"].as_array_mut().expect("manifests")
}

/// `m:good` is found in every way, a nobody's blob goes, and the problem is named.
fn the_rest_works(store: &Store, good: &Image, named: &str) {
    store.problems();
    for text in ["m:good".to_owned(), good.digest().short(), good.config().digest().short()] {
        assert_eq!(&store.resolve(&text).expect(&text).image, good, "{text}");
    }
    assert_eq!(store.pack_by_config(good.config().digest()).expect("look"), Some(Pack::alone(good.clone())));
    assert_eq!(store.packs().expect("list").filter(|(_, _, pack)| pack.images() == [good.clone()]).count(), 1);
    let garbage = store.ingest().expect("ingest").put(b"nobody's").expect("put");
    let swept = store.collect().expect("collect").expect("alone");
    assert_eq!((swept.blobs.count, store.has(garbage, 8)), (1, false));
    assert!(good.layers().iter().all(|l| store.has(l.descriptor.digest, l.descriptor.size)));
    let said: Vec<String> = store.problems().iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| text.contains(named)), "{named}: {said:?}");
    assert!(store.problems().is_empty(), "told once");
}

#[test]
fn a_damaged_manifest_is_named_and_what_it_mentions_is_kept() {
    let (_dir, store) = site();
    let (good, bad) = {
        let ingest = store.ingest().expect("ingest");
        (image(&ingest, "m:good", 1), image(&ingest, "m:bad", 2))
    };
    let path = store.blob_path(bad.digest());
    let text = fs::read_to_string(&path).expect("manifest");
    for damaged in
        [text.replacen('{', "[", 1), text.replacen("schemaVersion", "schemaVersiom", 1), text[1..].to_owned()]
    {
        overwrite(&path, damaged.as_bytes());
        the_rest_works(&store, &good, "image m:bad: read blob");
        assert!(store.has(layer_of(&bad), 100) && store.config(bad.config().digest()).is_ok());
        assert!(matches!(store.resolve("m:bad"), Err(StoreError::Corrupt { .. })));
        assert_eq!(store.find(&bad.digest().short()).expect("its own digits"), bad.digest());
        assert_eq!(store.collect().expect("collect").expect("alone").kept, 2, "layer and configuration");
    }
    // Put again, everything is as it was, and nothing is kept for damage any more.
    image(&store.ingest().expect("ingest"), "m:bad", 2);
    assert_eq!(store.resolve("m:bad").expect("mended").image, bad);
    store.problems();
    assert_eq!(store.collect().expect("collect").expect("alone").kept, 0);
    assert!(store.problems().is_empty());
}

#[test]
fn one_damaged_manifest_of_an_index_keeps_what_the_others_need() {
    let (_dir, store) = site();
    let (good, images) = {
        let ingest = store.ingest().expect("ingest");
        let images = [2, 3].map(|seed| image(&ingest, "m:part", seed));
        let index = Sealed::new(Index::new(images.iter().map(Image::descriptor).collect()));
        ingest.put(index.bytes()).expect("put");
        store.tag(&index.descriptor(media::INDEX), &name("m:both")).expect("tag");
        store.untag(&name("m:part")).expect("untag");
        (image(&ingest, "m:good", 1), images)
    };
    overwrite(&store.blob_path(images[0].digest()), b"{}");
    assert_eq!(store.collect().expect("collect").map(|swept| swept.blobs.count), Some(2));
    the_rest_works(&store, &good, "image m:both");
    assert!(store.has(layer_of(&images[1]), 100), "the other manifest's layer");
    assert!(!store.has(layer_of(&images[0]), 100), "what nothing mentions any more");
}

#[test]
fn a_name_of_what_is_gone_stops_nothing() {
    let (_dir, store) = site();
    let good = image(&store.ingest().expect("ingest"), "m:good", 1);
    let gone = Digest::of(b"gone");
    edit_index(&store, |index| {
        let mut entry = entries(index)[0].clone();
        entry["digest"] = gone.to_string().into();
        entry["annotations"][media::REF_NAME] = "docker.io/library/m:gone".into();
        entries(index).push(entry);
    });
    the_rest_works(&store, &good, "m:gone: read blob");
    assert!(matches!(store.resolve("m:gone"), Err(StoreError::NoBlob(digest)) if digest == gone));
    assert!(store.untag(&name("m:gone")).expect("untag"));
    store.collect().expect("collect");
    assert!(store.problems().is_empty(), "it can be taken away");
}

#[test]
fn an_entry_that_is_no_descriptor_is_left_in_its_place_and_keeps_what_it_mentions() {
    let (_dir, store) = site();
    let (good, other) = {
        let ingest = store.ingest().expect("ingest");
        let other = image(&ingest, "m:other", 2);
        store.untag(&name("m:other")).expect("untag");
        (image(&ingest, "m:good", 1), other)
    };
    let bad = [
        json!({"mediaType": media::MANIFEST, "digest": format!("sha512:{}", "a".repeat(128)), "size": 3,
               "annotations": {media::REF_NAME: "m:bad\u{1b}[2J"}}),
        json!({"digest": other.digest().to_string(), "annotations": {media::REF_NAME: "m:bad"}}),
    ];
    edit_index(&store, |index| entries(index).extend(bad.clone()));
    the_rest_works(&store, &good, r"image m:bad\u{1b}[2J: it is no descriptor");
    assert!(store.has(layer_of(&other), 100), "mentioned by a manifest that is mentioned");
    store.tag(&good.descriptor(), &name("m:again")).expect("the index is written");
    edit_index(&store, |index| {
        assert!(bad.iter().all(|bad| entries(index).contains(bad)), "{index}");
    });
}

#[test]
fn what_a_disk_refuses_to_give_keeps_everything() {
    let (_dir, store) = site();
    let bad = image(&store.ingest().expect("ingest"), "m:bad", 2);
    let garbage = store.ingest().expect("ingest").put(b"nobody's").expect("put");
    // A directory opens and cannot be read: the system's refusal, and no damage that can be looked at.
    let path = store.blob_path(bad.digest());
    fs::remove_file(&path).expect("remove");
    fs::create_dir(&path).expect("directory");
    fs::write(store.root().join("tmp/half"), b"a dead writer's").expect("write");
    let swept = store.collect().expect("collect").expect("alone");
    assert_eq!((swept.blobs.count, store.has(garbage, 8)), (0, true));
    assert!(!store.root().join("tmp/half").exists(), "the rest is swept");
    let said = store.problems();
    assert!(said.iter().any(|p| p.what == "image m:bad" && p.why.contains("nothing was removed")), "{said:?}");
}

#[test]
fn a_damaged_record_of_a_commit_keeps_its_layer() {
    let (_dir, store) = site();
    let layer = store.ingest().expect("ingest").put(b"sealed").expect("put");
    let staging = store.root().join("staging/run1");
    fs::create_dir(&staging).expect("directory");
    for (outcome, problems) in [
        (format!(r#"{{"state":"sealed","layer":"{layer}""#), 1),
        (format!(r#"{{"state":"of a later release","layer":"{layer}"}}"#), 1),
    ] {
        fs::write(staging.join("outcome.json"), outcome).expect("write");
        store.collect().expect("collect");
        assert!(store.has(layer, 6));
        assert_eq!(store.problems().len(), problems);
    }
    fs::remove_dir_all(&staging).expect("remove");
    fs::write(store.root().join("staging/stray"), b"no directory").expect("write");
    fs::write(store.root().join("lineages/stray"), b"no directory").expect("write");
    assert_eq!(store.collect().expect("collect").map(|swept| swept.blobs.count), Some(1));
    assert!(store.problems().is_empty());
}

/// An entry without a name, as another tool writes it, over blobs that are here.
fn nameless(store: &Store, descriptor: &Descriptor) {
    edit_index(store, |index| entries(index).push(serde_json::to_value(descriptor).expect("JSON")));
}

#[test]
fn entries_without_a_name_are_kept_and_a_statement_that_is_gone_is_not() {
    let (_dir, store) = site();
    let (good, other, index) = {
        let ingest = store.ingest().expect("ingest");
        let other = image(&ingest, "m:other", 2);
        store.untag(&name("m:other")).expect("untag");
        let index = Sealed::new(Index::new(vec![other.descriptor()]));
        ingest.put(index.bytes()).expect("put");
        (image(&ingest, "m:good", 1), other, index.descriptor(media::INDEX))
    };
    nameless(&store, &index);
    nameless(&store, &Descriptor::of(media::MANIFEST, Digest::of(b"gone"), 4));
    the_rest_works(&store, &good, "its entry in index.json is removed");
    assert!(store.has(layer_of(&other), 100) && store.has(index.digest, index.size));
    store.collect().expect("collect");
    assert!(store.problems().is_empty(), "said once");
}

/// A statement about `subject`, and its entry in index.json.
fn statement(ingest: &Ingest<'_>, subject: Descriptor) -> Descriptor {
    let config = Sealed::new(json!({}));
    let manifest = Manifest::artifact("application/x", config.descriptor("application/json"), Vec::new());
    let artifact = Artifact { manifest: Sealed::new(Manifest { subject: Some(subject), ..manifest }), config };
    ingest.put_referrer(&artifact).expect("statement");
    artifact.descriptor()
}

#[test]
fn a_statement_is_no_orphan_while_nobody_can_tell() {
    let (_dir, store) = site();
    let (index, about) = {
        let ingest = store.ingest().expect("ingest");
        let part = image(&ingest, "m:part", 1);
        store.untag(&name("m:part")).expect("untag");
        let index = Sealed::new(Index::new(vec![part.descriptor()]));
        ingest.put(index.bytes()).expect("put");
        let index = index.descriptor(media::INDEX);
        store.tag(&index, &name("m:index")).expect("tag");
        (index, statement(&ingest, part.descriptor()))
    };
    let entries = || fs::read(store.root().join("index.json")).expect("index.json");
    let before = entries();
    store.collect().expect("collect");
    assert!(entries() == before && store.has(about.digest, about.size), "the twin: all is there");
    // The index is lost: what it named is not known.
    let bytes = fs::read(store.blob_path(index.digest)).expect("index");
    fs::remove_file(store.blob_path(index.digest)).expect("remove");
    store.collect().expect("collect");
    assert!(entries() == before && store.has(about.digest, about.size));
    // Something cannot be read at all: then nothing is removed, entries neither.
    fs::write(store.blob_path(index.digest), bytes).expect("write");
    store.untag(&name("m:index")).expect("untag");
    let before = entries();
    let unreadable = store.root().join("lineages/m:base/1.json");
    fs::create_dir_all(&unreadable).expect("a directory in place of a record");
    store.collect().expect("collect");
    assert!(entries() == before && store.has(about.digest, about.size));
    // The twin: it is about nothing here any more.
    fs::remove_dir(&unreadable).expect("remove");
    store.collect().expect("collect");
    assert!(entries() != before && !store.has(about.digest, about.size));
}

#[test]
fn what_others_wrote_into_the_index_is_kept_whatever_it_is() {
    let (_dir, store) = site();
    let good = image(&store.ingest().expect("ingest"), "m:good", 1);
    let foreign = json!({
        "mediaType": media::MANIFEST, "digest": good.digest().to_string(), "size": good.descriptor().size,
        "data": "e30=", "urls": ["https://example.com/x"], "org.example": {"deep": [1, 2.5, null]},
        "platform": {"architecture": "arm64", "os": "linux", "os.version": "10", "os.features": ["x"], "new": 1},
        "annotations": {media::REF_NAME: "NOT A NAME", "org.example.key": "value"},
    });
    let top = json!({"mediaType": media::INDEX, "artifactType": "application/x", "subject": {"any": "thing"},
                     "annotations": {"a": "b"}, "org.example.top": [true], "schemaVersion": 2});
    edit_index(&store, |index| {
        index.as_object_mut().expect("object").extend(top.as_object().expect("object").clone());
        entries(index).insert(0, foreign.clone());
    });
    let rewritten = |what: &str| {
        edit_index(&store, |index| {
            assert!(entries(index).contains(&foreign), "{what}: {index}");
            for (key, value) in top.as_object().expect("object") {
                assert_eq!(&index[key], value, "{what}");
            }
        });
    };
    store.tag(&good.descriptor(), &name("m:again")).expect("tag");
    rewritten("tag");
    assert!(store.untag(&name("m:again")).expect("untag"));
    rewritten("untag");
    image(&store.ingest().expect("ingest"), "m:new", 3);
    rewritten("put");
    store.collect().expect("collect");
    rewritten("collect");
    assert_eq!(store.resolve("m:good").expect("found").image, good);
}

#[test]
fn damage_is_found_and_taken_away_and_nothing_else_is() {
    let (_dir, store) = site();
    let good = image(&store.ingest().expect("ingest"), "m:good", 1);
    assert!(store.damaged(good.digest()).expect("read").is_empty());
    let damaged = |want: &[Digest]| {
        let mut got: Vec<Digest> =
            store.damaged(good.digest()).expect("read").iter().map(|d| d.descriptor.digest).collect();
        let mut want = want.to_vec();
        got.sort();
        want.sort();
        assert_eq!(got, want);
    };
    let (layer, config) = (layer_of(&good), good.config().digest());
    overwrite(&store.blob_path(layer), &[9; 100]);
    overwrite(&store.blob_path(config), b"{}");
    damaged(&[layer, config]);
    let held = store.reading().expect("reading");
    assert!(store.discard(&[layer]).expect("discard").is_none(), "somebody reads");
    drop(held);
    assert_eq!(store.discard(&[layer, good.digest()]).expect("discard"), Some(vec![layer]), "what is sound stays");
    assert!(!store.has(layer, 100));
    damaged(&[layer, config]);
    image(&store.ingest().expect("ingest"), "m:good", 1);
    damaged(&[]);
    overwrite(&store.blob_path(good.digest()), b"[]");
    damaged(&[good.digest()]);
    assert_eq!(store.discard(&[good.digest()]).expect("discard"), Some(vec![good.digest()]));
    image(&store.ingest().expect("ingest"), "m:good", 1);
    damaged(&[]);
}

#[test]
fn strangers_words_are_shown_escaped_and_cut() {
    let (_dir, store) = site();
    let long = format!("\u{1b}]0;title\u{7}{}", "x".repeat(1 << 20));
    let shown = |text: &str| {
        assert!(!text.contains('\u{1b}') && text.len() < 2000, "{text:?}");
        assert!(text.contains(r"\u{1b}]0;title"), "{text:?}");
    };
    let ingest = store.ingest().expect("ingest");
    let good = image(&ingest, "m:good", 1);
    let mut layer = good.layers()[0].clone();
    layer.descriptor.media_type = long.clone();
    shown(&store.open_layer(&layer, &hone_store::Budget::of_layer(&layer)).err().expect("no layer").to_string());
    edit_index(&store, |index| {
        let mut other = entries(index)[0].clone();
        other["annotations"][media::REF_NAME] = long.clone().into();
        entries(index).push(other);
    });
    shown(&store.only(None).expect_err("two").to_string());
    let dir = store.root().join("lineages/m:base");
    fs::create_dir(&dir).expect("directory");
    fs::write(dir.join("1.json"), json!({ long.clone(): 1 }).to_string()).expect("write");
    assert!(store.versions(&name("m:base")).expect("versions").is_empty());
    store.problems().iter().for_each(|problem| shown(&problem.to_string()));
}
