//! The store as others use it: what it keeps, what it removes, and what survives a crash or a neighbour.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use common::{name, site};
use hone_contract::Digest;
use hone_image::image::{BaseImage, Image, VersionOf, version_config};
use hone_image::oci::RuntimeConfig;
use hone_image::tar::Entry;
use hone_image::{Layer, LayerKind, Pack};
use hone_store::versions::{Made, NewVersion, State, VersionRecord};
use hone_store::{Ingest, Store, StoreError, WeightFile};

fn blobs(store: &Store) -> usize {
    fs::read_dir(store.root().join("blobs/sha256")).map_or(0, Iterator::count)
}

/// An image whose content is decided by `seed`.
fn image(ingest: &Ingest<'_>, seed: u8) -> Image {
    let weight = [seed; 100];
    let file = ingest.store().root().join(format!("weight-{seed}"));
    std::fs::write(&file, weight).expect("write");
    let weight = WeightFile { path: "models/m/w", source: &file, offset: 0, size: 100, digest: None };
    let weight = ingest.weight(&weight, &|_| {}).expect("weight").layer;
    let mut job = ingest.layer(LayerKind::Job).expect("layer");
    job.tar().add("hone", Entry::Dir).expect("entry");
    let base = BaseImage {
        name: "m".to_owned(),
        architecture: "amd64".to_owned(),
        variant: None,
        config: RuntimeConfig::default(),
        layers: vec![weight, job.finish().expect("layer")],
        annotations: BTreeMap::new(),
    };
    Image::base(base)
}

fn adapter(ingest: &Ingest<'_>, seed: u8) -> Layer {
    let digest = ingest.put(&[seed; 64]).expect("adapter");
    Layer::tar(LayerKind::Adapter, digest, 64)
}

/// Commits an adapter decided by `seed` onto `parent`, in the lineage `m:base`.
fn commit(ingest: &Ingest<'_>, parent: &Image, run: &str, seed: u8) -> VersionRecord {
    let adapter = adapter(ingest, seed);
    let new = NewVersion {
        lineage: name("m:base"),
        base: parent.config().digest(),
        parent: parent.config().digest(),
        after: 0,
        adapter: adapter.clone(),
        run: run.to_owned(),
        finished_ms: 1,
    };
    let make = |version: &VersionOf| -> Result<Made, StoreError> {
        let config = version_config(parent.config().value(), version, &adapter);
        let image = parent.with_adapter(config.clone(), version, adapter.clone());
        let reference = name(&format!("m:base-v{}", version.number));
        Ok(Made { reference, config, pack: Some(Pack::alone(image)) })
    };
    ingest.add_version(&new, make).expect("version")
}

#[test]
fn a_place_where_nothing_is_is_an_empty_store() {
    let store = Store::at("/nonexistent/place");
    assert!(store.references().expect("names").is_empty());
    assert!(store.lineages().expect("lineages").is_empty());
    assert!(store.image(&name("m:base")).expect("image").is_none());
    assert!(matches!(store.resolve("m:base"), Err(StoreError::NoImage(_))));
    assert_eq!(store.collect().expect("collect").map(|s| s.blobs.count), Some(0));
    assert!(!store.root().exists(), "looking makes nothing");
}

#[test]
fn an_image_is_found_by_name_digest_and_prefix() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let (a, b) = (image(&ingest, 1), image(&ingest, 2));
    ingest.put_image(&name("m:base"), &a).expect("put");
    ingest.put_image(&name("m:other"), &b).expect("put");
    for text in [
        "m:base".to_owned(),
        "docker.io/library/m:base".to_owned(),
        a.digest().to_string(),
        a.digest().hex(),
        a.digest().short(),
        a.config().digest().short(),
    ] {
        let found = store.resolve(&text).expect("found");
        assert_eq!((found.image, found.references), (a.clone(), vec![name("m:base")]), "{text}");
    }
    assert_eq!(store.pack_by_config(b.config().digest()).expect("store"), Some(Pack::alone(b)));
    assert!(matches!(store.resolve("ffff"), Err(StoreError::NoImage(_))));
    assert!(matches!(store.resolve(&a.digest().hex()[..3]), Err(StoreError::NoImage(_))));
}

#[test]
fn an_image_that_programs_read_differently_is_no_artifact() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let digest_of = |edit: fn(&mut serde_json::Value)| {
        let mut config = serde_json::to_value(image(&ingest, 1).config().value()).expect("JSON");
        edit(&mut config);
        let put = |media_type: &str, value: &serde_json::Value| {
            let bytes = value.to_string().into_bytes();
            let digest = ingest.put(&bytes).expect("put");
            serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
        };
        let mut manifest = serde_json::to_value(image(&ingest, 1).manifest().value()).expect("JSON");
        manifest["config"] = put(hone_image::media::CONFIG, &config);
        let entry = put(hone_image::media::MANIFEST, &manifest);
        let index = put(hone_image::media::INDEX, &serde_json::json!({"schemaVersion": 2, "manifests": [entry]}));
        index["digest"].as_str().expect("digest").parse::<Digest>().expect("digest")
    };
    let evil = digest_of(|config| config["config"]["cmd"] = serde_json::json!(["/evil"]));
    let error = store.pack(evil).expect_err("read in two ways");
    assert!(std::error::Error::source(&error).expect("cause").to_string().contains("field cmd for Cmd"), "{error:?}");
    let twin = digest_of(|config| config["config"]["command"] = serde_json::json!(["/mine"]));
    assert_eq!(store.pack(twin).expect("an index").images().len(), 1);
    // A configuration that is none of containers is an artifact's, as before.
    let artifact = digest_of(|config| *config = serde_json::json!({"model": "m"}));
    assert!(store.pack(artifact).expect("an index").images().is_empty());
}

#[test]
fn a_name_is_not_given_to_an_image_whose_layers_are_not_there() {
    let (_dir, store) = site();
    let (_other_dir, other) = site();
    let elsewhere = image(&other.ingest().expect("ingest"), 1);
    let ingest = store.ingest().expect("ingest");
    let error = ingest.put_image(&name("m:base"), &elsewhere).expect_err("no layers");
    assert!(matches!(error, StoreError::NoBlob(_)), "{error}");
    assert!(store.references().expect("names").is_empty());
}

#[test]
fn what_nothing_names_is_collected_and_nothing_else() {
    let (_dir, store) = site();
    {
        let ingest = store.ingest().expect("ingest");
        let base = image(&ingest, 1);
        ingest.put_image(&name("m:base"), &base).expect("put");
        commit(&ingest, &base, "run1", 1);
        ingest.put_image(&name("gone:soon"), &image(&ingest, 2)).expect("put");
        ingest.put(b"nobody's").expect("put");
        assert_eq!(store.collect().expect("collect"), None, "not while blobs are added");
    }
    let all = blobs(&store);
    assert_eq!(store.collect().expect("collect").map(|s| s.blobs.count), Some(1));
    assert!(store.untag(&name("gone:soon")).expect("untag"));
    // Weight, configuration and manifest are its own; the job layer is shared.
    assert_eq!(store.collect().expect("collect").map(|s| s.blobs.count), Some(3));
    assert_eq!(blobs(&store), all - 4);
    for text in ["m:base", "m:base-v1"] {
        let found = store.resolve(text).expect("found").image;
        for layer in found.layers() {
            assert!(store.has(layer.descriptor.digest, layer.descriptor.size), "{text}");
        }
    }
}

#[test]
fn a_version_outlives_the_name_of_its_base() {
    let (_dir, store) = site();
    let record = {
        let ingest = store.ingest().expect("ingest");
        let base = image(&ingest, 1);
        ingest.put_image(&name("m:base"), &base).expect("put");
        commit(&ingest, &base, "run1", 1)
    };
    store.untag(&name("m:base")).expect("untag");
    store.collect().expect("collect");
    let found = store.resolve("m:base-v1").expect("found").image;
    assert!(found.layers().iter().all(|l| store.has(l.descriptor.digest, l.descriptor.size)));
    assert_eq!(store.version(&name("m:base-v1")).expect("store"), Some(record));
}

/// The version's name is gone or was never given, and so is its base's: what it is made of is kept all the same.
#[test]
fn a_version_without_its_name_is_kept_whole() {
    let (_dir, store) = site();
    let record = {
        let ingest = store.ingest().expect("ingest");
        let base = image(&ingest, 1);
        ingest.put_image(&name("m:base"), &base).expect("put");
        commit(&ingest, &base, "run1", 1)
    };
    // As a commit leaves it that was killed between the record and the name.
    store.untag(&record.reference).expect("untag");
    store.untag(&name("m:base")).expect("untag");
    let before = blobs(&store);
    // The base's own manifest and configuration go.
    assert_eq!(store.collect().expect("collect").map(|swept| swept.blobs.count), Some(2));
    assert_eq!(blobs(&store), before - 2);
    store.promote(&record).expect("promote");
    let found = store.resolve("m:current").expect("found").image;
    assert!(found.layers().iter().all(|l| store.has(l.descriptor.digest, l.descriptor.size)));
    // The twin: a version that is removed keeps nothing.
    let ingest = store.ingest().expect("ingest");
    let other = commit(&ingest, &found, "run2", 2);
    drop(ingest);
    store.promote(&other).expect("promote");
    store.remove_version(&record).expect("remove");
    let left = [record.config.digest, record.layer.digest, record.manifest.expect("manifest")];
    store.collect().expect("collect");
    assert!(store.has(other.layer.digest, other.layer.size) && !store.blob_path(left[2]).exists());
}

#[test]
fn the_name_of_a_version_is_given_to_nothing_else() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let (base, other) = (image(&ingest, 1), image(&ingest, 2));
    ingest.put_image(&name("m:base"), &base).expect("put");
    ingest.put_image(&name("m:other"), &other).expect("put");
    let versions: Vec<_> = (1..=2).map(|n| commit(&ingest, &base, &format!("run{n}"), n)).collect();
    store.promote(&versions[1]).expect("promote");
    for version in &versions {
        let want = format!(
            "name an image {0}: it is the name of version {1} of m:base; give another tag, or remove that version first \
             with `hone rm {0}`",
            version.reference, version.number
        );
        let said = store.tag(&other.descriptor(), &version.reference).expect_err("tag").to_string();
        assert_eq!(said, want);
        let said = ingest.put_image(&version.reference, &other).expect_err("put").to_string();
        assert_eq!(said, want);
        let image = store.image(&version.reference).expect("store").expect("there");
        assert_eq!(image.config().digest(), version.config.digest);
        // The twins: its own name is its own, however often it is given, and so is any other.
        store.tag(&image.descriptor(), &version.reference).expect("the same again");
        ingest.put_image(&version.reference, &image).expect("the same again");
        store.tag(&image.descriptor(), &name("my:favourite")).expect("another name");
    }
    store.remove_version(&versions[0]).expect("remove");
    store.tag(&other.descriptor(), &versions[0].reference).expect("free again");
}

#[test]
fn numbers_go_up_and_a_tag_that_a_person_gave_is_left_alone() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let base = image(&ingest, 1);
    ingest.put_image(&name("m:base"), &base).expect("put");
    ingest.put_image(&name("m:base-v2"), &base).expect("a person's own tag");
    assert_eq!(commit(&ingest, &base, "run1", 1).number, 1);
    assert_eq!(commit(&ingest, &base, "run2", 2).number, 3);
    assert_eq!(commit(&ingest, &base, "run2", 2).number, 3, "the same run again");
    assert_eq!(store.image(&name("m:base-v2")).expect("store"), Some(base));
    let record = store.version(&name("m:base-v3")).expect("store").expect("version");
    store.remove_version(&record).expect("remove");
    assert_eq!(commit(&store.ingest().expect("ingest"), &image(&ingest, 1), "run3", 3).number, 4);
}

#[test]
fn states_follow_promotion_and_rollback() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let base = image(&ingest, 1);
    ingest.put_image(&name("m:base"), &base).expect("put");
    let versions: Vec<_> = (1..=3).map(|n| commit(&ingest, &base, &format!("run{n}"), n)).collect();
    let states = || {
        let state = store.lineage_state(&name("m:base")).expect("state");
        [1, 2, 3].map(|n| state.of(n))
    };
    use State::*;
    assert_eq!(states(), [Candidate, Candidate, Candidate]);
    assert!(store.roll_back(&name("m:base")).is_err());
    store.promote(&versions[0]).expect("promote");
    store.promote(&versions[1]).expect("promote");
    store.promote(&versions[1]).expect("promoting the current one changes nothing");
    assert_eq!(states(), [Previous, Current, Candidate]);
    assert_eq!(store.resolve("m:current").expect("current").references, [name("m:base-v2")]);
    store.roll_back(&name("m:base")).expect("roll back");
    assert_eq!(states(), [Current, Rejected, Candidate]);
    store.promote(&versions[1]).expect("promote a rejected one after all");
    assert_eq!(states(), [Previous, Current, Candidate]);
}

#[test]
fn what_was_removed_meanwhile_is_not_made_current() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let base = image(&ingest, 1);
    ingest.put_image(&name("m:base"), &base).expect("put");
    let versions: Vec<_> = (1..=3).map(|n| commit(&ingest, &base, &format!("run{n}"), n)).collect();
    let state = || store.lineage_state(&name("m:base")).expect("state");
    store.promote(&versions[0]).expect("promote");
    store.remove_version(&versions[1]).expect("remove");
    let said = store.promote(&versions[1]).expect_err("it was looked up before").to_string();
    assert_eq!(said, "promote m:base-v2: it is not there any more; `hone log` lists the versions of a base");
    assert_eq!(state().current, Some(1));
    // Nor by going back to it: as a release left it that did not look.
    store.promote(&versions[2]).expect("the twin");
    let lineage = store.root().join("lineages/m:base");
    fs::rename(lineage.join("1.json"), lineage.join("1.removed")).expect("rename");
    let before = state();
    let said = store.roll_back(&name("m:base")).expect_err("it is gone").to_string();
    assert_eq!(said, "roll back m:base: version 1, which was current before, is not there any more");
    assert_eq!(state(), before);
    fs::rename(lineage.join("1.removed"), lineage.join("1.json")).expect("rename");
    assert_eq!(store.roll_back(&name("m:base")).expect("the twin").current, Some(1));
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let base = image(&ingest, 0);
    ingest.put_image(&name("m:base"), &base).expect("put");
    std::thread::scope(|scope| {
        for n in 1..=8u8 {
            let (store, base) = (&store, &base);
            scope.spawn(move || {
                let ingest = store.ingest().expect("ingest");
                ingest.put_image(&name(&format!("other:t{n}")), &image(&ingest, n)).expect("put");
                commit(&ingest, base, &format!("run{n}"), n);
            });
        }
    });
    let numbers: Vec<u64> = store.versions(&name("m:base")).expect("versions").iter().map(|v| v.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(store.references().expect("names").len(), 17);
}

#[test]
fn what_a_killed_writer_left_is_removed_by_the_next() {
    let (dir, store) = site();
    drop(store.ingest().expect("ingest"));
    fs::write(store.root().join("tmp/half"), [0; 4096]).expect("a dead writer's file");
    let alive = store.ingest().expect("ingest");
    assert!(!store.root().join("tmp/half").exists());
    // While another writer lives, its files stay.
    let mut blob = alive.blob().expect("blob");
    blob.write_all(b"half").expect("write");
    drop(store.ingest().expect("ingest"));
    assert_eq!(fs::read_dir(store.root().join("tmp")).expect("tmp").count(), 1);
    assert_eq!(blob.finish().expect("finish").0, Digest::of(b"half"));
    drop(dir);
}

#[test]
fn a_layout_of_another_tool_with_a_name_of_its_own_is_kept() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    ingest.put_image(&name("m:base"), &image(&ingest, 1)).expect("put");
    let path = store.root().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("index")).expect("JSON");
    let mut foreign = index["manifests"][0].clone();
    foreign["annotations"]["org.opencontainers.image.ref.name"] = "NOT A NAME".into();
    index["manifests"].as_array_mut().expect("manifests").push(foreign);
    fs::write(&path, index.to_string()).expect("write");
    store.tag(&image(&ingest, 1).descriptor(), &name("m:again")).expect("tag");
    let text = fs::read_to_string(&path).expect("index");
    assert!(text.contains("NOT A NAME") && text.contains("m:again"), "{text}");
}

#[test]
fn a_damaged_version_record_is_named_and_every_commit_goes_on() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let base = image(&ingest, 1);
    ingest.put_image(&name("m:base"), &base).expect("put");
    let (first, second) = (commit(&ingest, &base, "run1", 1), commit(&ingest, &base, "run2", 2));
    let dir = store.root().join("lineages/m:base");
    let text = fs::read_to_string(dir.join("1.json")).expect("record");
    for damaged in [text.replacen('{', "", 1), text.replacen('{', "{\"of\": \"a later release\",", 1)] {
        fs::write(dir.join("1.json"), damaged).expect("write");
        let numbers = |store: &Store| -> Vec<u64> {
            store.versions(&name("m:base")).expect("versions").iter().map(|v| v.number).collect()
        };
        assert!(!numbers(&store).contains(&1));
        assert_eq!(store.version(&name("m:base-v2")).expect("store").as_ref(), Some(&second));
        assert_eq!(commit(&ingest, &base, "run2", 2).number, 2);
        assert!(commit(&ingest, &base, &format!("run of {}", numbers(&store).len()), 3).number > 2);
        let said = store.problems();
        assert!(said.iter().any(|p| p.what.starts_with("version 1 of ") && p.what.ends_with("m:base")), "{said:?}");
    }
    drop(ingest);
    // Its own name is gone, and its adapter is mentioned by nothing but the record.
    store.untag(&first.reference).expect("untag");
    store.collect().expect("collect");
    assert!(store.has(first.layer.digest, first.layer.size));
    assert!(!store.problems().is_empty());
}

/// The store's promise to others is the format: skopeo copies an image out of it, checking every digest.
#[test]
fn skopeo_copies_out_of_the_store() {
    let (dir, store) = site();
    {
        let ingest = store.ingest().expect("ingest");
        let base = image(&ingest, 1);
        ingest.put_image(&name("m:base"), &base).expect("put");
        commit(&ingest, &base, "run1", 1);
    }
    let status = Command::new("skopeo")
        .args(["copy", "--quiet", "oci:root:m:base", "dir:out"])
        .current_dir(dir.path())
        .stderr(Stdio::inherit())
        .status()
        .expect("skopeo is installed");
    assert!(status.success());
}

#[test]
fn the_search_for_a_free_name_ends() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::at(dir.path());
    let ingest = store.ingest().expect("store");
    let base = image(&ingest, 1);
    ingest.put_image(&name("m:base"), &base).expect("base");
    let adapter = adapter(&ingest, 1);
    let digest = base.config().digest();
    let new = NewVersion {
        lineage: name("m:base"),
        base: digest,
        parent: digest,
        after: 0,
        adapter: adapter.clone(),
        run: "r".to_owned(),
        finished_ms: 1,
    };
    // What a template without the number makes: every version is called as the base is.
    let stuck = |version: &VersionOf| -> Result<Made, StoreError> {
        let config = version_config(base.config().value(), version, &adapter);
        Ok(Made { reference: name("m:base"), config, pack: None })
    };
    let said = ingest.add_version(&new, stuck).expect_err("no end").to_string();
    assert_eq!(
        said,
        "name a version of m:base: the names of 10000 versions after number 1 are taken by other images"
    );
    // Numbers have an end, too, and a version from elsewhere is passed.
    let free = |version: &VersionOf| -> Result<Made, StoreError> {
        let config = version_config(base.config().value(), version, &adapter);
        Ok(Made { reference: name(&format!("m:base-v{}", version.number)), config, pack: None })
    };
    assert!(ingest.add_version(&NewVersion { after: u64::MAX, ..new.clone() }, free).is_err());
    assert_eq!(ingest.add_version(&NewVersion { after: 7, ..new }, free).expect("version").number, 8);
}
