//! Who reads holds the store open: nothing goes that they may come to, and nobody waits for them for ever.

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use common::{image_of, name, site};
use hone_contract::Digest;
use hone_image::oci::Descriptor;
use hone_image::{Image, media};
use hone_store::{Ingest, Store, StoreError, WeightFile};

/// An image of one layer, decided by `seed`, under a name.
fn image(ingest: &Ingest<'_>, reference: &str, seed: u64) -> Image {
    image_of(ingest, reference, &seed.to_le_bytes().repeat(1000))
}

fn read(store: &Store, image: &Image) -> Result<(), StoreError> {
    for layer in image.layers() {
        let mut bytes = Vec::new();
        let mut blob = store.open_blob(layer.descriptor.digest, layer.descriptor.size)?;
        blob.read_to_end(&mut bytes).expect("verified");
    }
    Ok(())
}

#[test]
fn what_is_being_read_stays_until_it_was_read() {
    let (_dir, store) = site();
    let gone = image(&store.ingest().expect("ingest"), "m:gone", 1);
    let held = store.reading().expect("reading");
    let also = store.reading().expect("two readers");
    assert!(store.untag(&name("m:gone")).expect("untag"));
    assert_eq!(store.collect().expect("collect"), None);
    read(&store, &gone).expect("still there");
    drop(held);
    assert_eq!(store.collect().expect("collect"), None, "one of them reads on");
    drop(also);
    assert_eq!(store.collect().expect("collect").map(|swept| swept.blobs.count), Some(3));
    assert!(matches!(read(&store, &gone), Err(StoreError::NoBlob(_))));
}

#[test]
fn a_writer_goes_on_as_a_reader_without_a_moment_in_between() {
    let (_dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let made = ingest.put(b"not named yet").expect("put");
    let held = ingest.reading().expect("reading");
    drop(ingest);
    assert_eq!(store.collect().expect("collect"), None);
    assert!(store.has(made, 13));
    drop(held);
    assert_eq!(store.collect().expect("collect").map(|swept| swept.blobs.count), Some(1));
}

#[test]
fn places_that_are_no_store_can_be_read_and_get_no_files() {
    let (dir, store) = site();
    drop(store.reading().expect("nothing is there"));
    assert!(!store.root().exists());
    drop(Store::at(dir.path().join("file/below")).reading().expect("nor can be"));
    let layout = Store::at(dir.path());
    fs::write(dir.path().join("oci-layout"), "{}").expect("write");
    drop(layout.reading().expect("a layout of another tool"));
    assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    // A store that lost its lock is one all the same.
    drop(store.ingest().expect("ingest"));
    fs::remove_file(store.root().join("ingest.lock")).expect("remove");
    let _held = store.reading().expect("reading");
    assert_eq!(store.collect().expect("collect"), None);
}

#[test]
fn what_a_foreign_layout_has_for_a_lock_is_not_waited_for() {
    let (dir, store) = site();
    let ingest = store.ingest().expect("ingest");
    let lock = dir.path().join("ingest.lock");
    let layout = Store::at(dir.path());
    fs::create_dir(dir.path().join("blobs")).expect("as a store has");
    fs::create_dir(&lock).expect("directory");
    ingest.hold(&layout).expect("a directory");
    fs::remove_dir(&lock).expect("remove");
    std::os::unix::fs::symlink(store.root().join("ingest.lock"), &lock).expect("link");
    ingest.hold(&layout).expect("a link");
    fs::remove_file(&lock).expect("remove");
    rustix::fs::mknodat(rustix::fs::CWD, &lock, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("FIFO");
    ingest.hold(&layout).expect("a FIFO");
    // The twin: another store is held as long as it is read from.
    let other = Store::at(dir.path().join("other"));
    image(&other.ingest().expect("ingest"), "m:other", 1);
    ingest.hold(&other).expect("a store");
    assert_eq!(other.collect().expect("collect"), None);
    drop(ingest);
    assert!(other.collect().expect("collect").is_some());
}

/// A user of whom nobody knows.
const USER: u32 = 54_321;

#[test]
fn root_and_the_owner_of_a_store_see_the_same_locks() {
    let (dir, store) = site();
    image(&store.ingest().expect("ingest"), "m:base", 1);
    for path in [store.root().to_owned(), store.root().join("ingest.lock")] {
        if std::os::unix::fs::chown(&path, Some(USER), Some(USER)).is_err() {
            eprintln!("skipped: needs root, to read another user's store");
            return;
        }
    }
    let held = store.reading().expect("reading");
    assert_eq!(store.collect().expect("collect"), None, "as the owner's `rm` sees it");
    drop(held);
    assert!(store.collect().expect("collect").is_some());
    // The twin: in a layout that is read from a lock that is somebody's may be held for ever.
    let theirs = fs::File::open(store.root().join("ingest.lock")).expect("open");
    theirs.lock().expect("lock");
    let mine = Store::at(dir.path().join("mine"));
    mine.ingest().expect("ingest").hold(&store).expect("not waited for");
}

#[test]
fn what_root_makes_in_a_user_s_store_is_the_user_s() {
    let (dir, store) = site();
    fs::create_dir(store.root()).expect("root");
    if std::os::unix::fs::chown(store.root(), Some(USER), Some(USER)).is_err() {
        eprintln!("skipped: needs root, to make another user's store");
        return;
    }
    let (foreign, mine) = (&store, &Store::at(dir.path().join("mine")));
    for (store, owner) in [(foreign, USER), (mine, 0)] {
        let ingest = store.ingest().expect("ingest");
        let file = store.root().join("w");
        fs::write(&file, [1; 100]).expect("write");
        std::os::unix::fs::chown(&file, Some(owner), Some(owner)).expect("chown");
        let weight = WeightFile { path: "models/m/w", source: &file, offset: 0, size: 100, digest: None };
        ingest.weight(&weight, &|_| {}).expect("weight");
        image(&ingest, "m:base", 1);
        drop(ingest);
        let mut left = vec![store.root().to_owned()];
        let mut seen = 0;
        while let Some(path) = left.pop() {
            let meta = fs::symlink_metadata(&path).expect("stat");
            assert_eq!((meta.uid(), meta.gid()), (owner, owner), "{}", path.display());
            seen += 1;
            if meta.is_dir() {
                left.extend(fs::read_dir(&path).expect("list").map(|entry| entry.expect("entry").path()));
            }
        }
        assert!(seen > 15, "{seen}");
    }
}

/// Reads all that is listed, and what has this name; whether something has.
fn look(store: &Store, reference: &str) -> bool {
    let _held = store.reading().expect("reading");
    for (_, _, pack) in store.packs().expect("list") {
        pack.images().iter().for_each(|image| read(store, image).expect("listed"));
    }
    match store.resolve(reference) {
        Ok(found) => {
            read(store, &found.image).expect("what was found is read");
            store.tag(&found.descriptor, &name("m:again")).expect("what was found is named");
            true
        }
        Err(error) => {
            assert!(matches!(error, StoreError::NoImage(_)), "{error}");
            false
        }
    }
}

#[test]
fn readers_writers_and_collectors_at_once_see_no_failure() {
    let (_dir, store) = site();
    image(&store.ingest().expect("ingest"), "m:kept", 0);
    let done = AtomicBool::new(false);
    let (store, done) = (&store, &done);
    std::thread::scope(|scope| {
        let until_done = |work: &dyn Fn() -> bool| {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                times += usize::from(work());
            }
            times
        };
        let reader = |reference: &'static str| scope.spawn(move || until_done(&|| look(store, reference)));
        let readers = ["m:kept", "m:moving", "m:moving"].map(reader);
        for seed in 0..120 {
            image(&store.ingest().expect("ingest"), "m:moving", seed);
            store.untag(&name("m:moving")).expect("untag");
            store.untag(&name("m:again")).expect("untag");
            store.collect().expect("collect");
        }
        done.store(true, Ordering::Relaxed);
        assert!(readers.map(|reader| reader.join().expect("reader"))[0] > 0);
    });
    assert_eq!(store.problems(), []);
}

#[test]
fn no_name_is_given_to_what_was_collected() {
    let (_dir, store) = site();
    let made = image(&store.ingest().expect("ingest"), "m:gone", 1);
    let found = store.resolve("m:gone").expect("found").descriptor;
    store.untag(&name("m:gone")).expect("untag");
    store.collect().expect("collect");
    assert!(matches!(store.tag(&found, &name("m:new")), Err(StoreError::NoBlob(_))));
    assert!(store.references().expect("names").is_empty());
    // Part of it is as bad as all of it.
    image(&store.ingest().expect("ingest"), "m:half", 1);
    let layer = made.layers()[0].descriptor.digest;
    fs::remove_file(store.blob_path(layer)).expect("remove");
    assert!(matches!(store.tag(&found, &name("m:new")), Err(StoreError::NoBlob(absent)) if absent == layer));
    // The twin: found and named while the store is held, whatever is removed meanwhile.
    image(&store.ingest().expect("ingest"), "m:half", 1);
    let held = store.reading().expect("reading");
    let found = store.resolve("m:half").expect("found").descriptor;
    store.untag(&name("m:half")).expect("untag");
    assert_eq!(store.collect().expect("collect"), None);
    store.tag(&found, &name("m:new")).expect("tag");
    drop(held);
    store.collect().expect("collect");
    read(&store, &store.resolve("m:new").expect("found").image).expect("whole");
}

#[test]
fn where_an_image_was_pulled_from_goes_with_its_names() {
    let (_dir, store) = site();
    let made = image(&store.ingest().expect("ingest"), "m:built", 1);
    assert_eq!(store.origin(made.digest()).expect("look"), None);
    let mut pulled: Descriptor = made.descriptor();
    pulled.annotations.insert(media::PULLED_FROM.to_owned(), "registry.example/m:1".to_owned());
    store.tag(&pulled, &name("registry.example/m:1")).expect("tag");
    store.tag(&made.descriptor(), &name("m:mine")).expect("tag");
    store.untag(&name("registry.example/m:1")).expect("untag");
    assert_eq!(store.origin(made.digest()).expect("look").as_deref(), Some("registry.example/m:1"));
}

#[test]
fn a_download_that_nobody_went_on_with_for_a_week_goes() {
    let (_dir, store) = site();
    drop(store.ingest().expect("ingest"));
    let partial = |name: &str, days: u64| {
        let path = store.root().join("partial").join(Digest::of(name.as_bytes()).hex());
        fs::write(&path, name).expect("write");
        let file = fs::File::options().write(true).open(&path).expect("open");
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60)).expect("time");
        path
    };
    let (old, young, locked) = (partial("abandoned", 8), partial("young", 6), partial("going on", 8));
    let file = fs::File::open(&locked).expect("open");
    file.lock().expect("lock");
    let swept = store.collect().expect("collect").expect("alone");
    assert_eq!((swept.partials.count, swept.partials.bytes), (1, 9));
    assert!(!old.exists() && young.exists() && locked.exists());
    drop(file);
    assert_eq!(store.collect().expect("collect").map(|swept| swept.partials.count), Some(1));
}
