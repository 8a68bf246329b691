//! Snapshots: what is unpacked, what is refused before, and what is left.

use std::process::Command;

use super::*;

/// Set for a process of this test program that may have few files open.
const CHILD: &str = "HONE_TEST_FEW_FILES";

#[test]
fn what_no_image_has_goes_unless_a_run_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path());
    let image = Image::base(hone_image::image::BaseImage {
        name: "empty".into(),
        architecture: "amd64".into(),
        variant: None,
        config: Default::default(),
        layers: vec![],
        annotations: Default::default(),
    });
    let old = store.unpacked().join("0".repeat(64));
    fs::create_dir_all(old.join("etc")).unwrap();
    let lock = File::create(root.path().join("snapshots.lock")).unwrap();
    lock.lock_shared().unwrap();
    drop(prepare(&store, &image).unwrap());
    assert!(old.exists(), "another run may read from it");
    let mode = fs::metadata(store.unpacked()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "an image's set-user-id programs are nobody else's to start");
    drop(lock);
    drop(prepare(&store, &image).unwrap());
    assert!(!old.exists());
}

/// An image of these layers, lowest first, each a tar of these bytes.
fn image(store: &Store, tars: &[Vec<u8>]) -> Image {
    let ingest = store.ingest().unwrap();
    let layer = |tar: &Vec<u8>| {
        let digest = ingest.put(tar).unwrap();
        Layer::tar(hone_image::LayerKind::Other, digest, tar.len() as u64)
    };
    of_layers(tars.iter().map(layer).collect())
}

fn of_layers(layers: Vec<Layer>) -> Image {
    Image::base(hone_image::image::BaseImage {
        name: "test".into(),
        architecture: "amd64".into(),
        variant: None,
        config: Default::default(),
        layers,
        annotations: Default::default(),
    })
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = hone_image::tar::TarWriter::new(Vec::new());
    tar.file(name, false, content.len() as u64, &mut &content[..]).unwrap();
    tar.finish().unwrap()
}

fn unpacked(store: &Store) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(store.unpacked()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names.into_iter().map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn layers_that_come_again_are_kept_at_their_highest_place() {
    let layer = |name: &str| Layer::tar(hone_image::LayerKind::Other, Digest::of(name.as_bytes()), 1);
    let kept = |names: &str| {
        let layers: Vec<_> = names.split(' ').map(layer).collect();
        let kept: Vec<_> = distinct(&layers).into_iter().map(|layer| layer.diff_id).collect();
        kept
    };
    let want = |names: &str| names.split(' ').map(|name| Digest::of(name.as_bytes())).collect::<Vec<_>>();
    assert_eq!(kept("a b a"), want("b a"));
    assert_eq!(kept("a b a c b"), want("a c b"));
    assert_eq!(kept("a a a"), want("a"));
    assert_eq!(kept("a b c"), want("a b c"));
}

#[test]
fn root_a_layer_that_comes_thirty_thousand_times_is_unpacked_once() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path());
    let layers = image(&store, &[tar("a", b"a"), tar("b", b"b")]);
    let many = (0..30_000).map(|n| layers.layers()[n % 2].clone()).collect();
    let snapshots = prepare(&store, &of_layers(many)).unwrap();
    assert_eq!(snapshots.layers.len(), 2);
    assert_eq!(unpacked(&store).len(), 2);
}

#[test]
fn a_layer_that_is_not_in_the_store_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path());
    let layer = |n: usize| Layer::tar(hone_image::LayerKind::Other, Digest::of(&n.to_le_bytes()), 1024);
    let most = hone_image::image::MAX_LAYERS + 1;
    let said = prepare(&store, &of_layers((0..most).map(layer).collect())).unwrap_err().to_string();
    assert!(said.contains("it is not in the store"), "{said}");
    assert!(unpacked(&store).is_empty());
}

#[test]
fn an_image_larger_than_the_disk_is_told_before_anything_is_unpacked() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path());
    let small = image(&store, &[tar("a", b"a")]).layers()[0].clone();
    let large = |n: u8| Layer::tar(hone_image::LayerKind::Weight, Digest::of(&[n]), u64::MAX / 2);
    let said = prepare(&store, &of_layers(vec![small, large(1), large(2), large(3)])).unwrap_err().to_string();
    assert!(said.contains("bytes are free in") && said.contains(&u64::MAX.to_string()), "{said}");
    assert!(unpacked(&store).is_empty());
}

#[test]
fn root_of_an_image_that_fails_nothing_is_left_but_what_was_there() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path());
    let good = image(&store, &[tar("a", b"a"), tar("b", b"b")]);
    let (first, second) = (good.layers()[0].clone(), good.layers()[1].clone());
    let broken = image(&store, &[b"no tar".repeat(200)]).layers()[0].clone();
    let mut reference: hone_contract::Reference = "good:latest".parse().unwrap();
    let one = of_layers(vec![first.clone()]);
    store.ingest().unwrap().put_image(&reference, &one).unwrap();
    drop(prepare(&store, &one).unwrap());
    reference = "all:latest".parse().unwrap();
    let all = of_layers(vec![first.clone(), second.clone(), broken]);
    store.ingest().unwrap().put_image(&reference, &all).unwrap();
    prepare(&store, &all).unwrap_err();
    assert_eq!(unpacked(&store), [first.diff_id.hex()]);
    // While another run goes on, what is whole stays for the sweep.
    let other = prepare(&store, &one).unwrap();
    prepare(&store, &all).unwrap_err();
    assert!(unpacked(&store).contains(&second.diff_id.hex()));
    assert!(unpacked(&store).iter().all(|name| !name.ends_with(".part")));
    drop(other);
}

#[test]
fn root_runs_that_begin_at_once_share_what_the_first_unpacks() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path());
    // Several layers, so that those who wait meet again at the next one.
    let tars: Vec<_> = (0..8).map(|n| tar(&format!("file{n}"), &vec![n; 1 << 20])).collect();
    let image = image(&store, &tars);
    store.ingest().unwrap().put_image(&"a:b".parse().unwrap(), &image).unwrap();
    let at_once = std::sync::Barrier::new(8);
    let run = || {
        at_once.wait();
        prepare(&store, &image).map(|snapshots| snapshots.layers).map_err(|error| hone_contract::chain(&error))
    };
    let ran: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let layers: Vec<_> = image.layers().iter().map(|layer| layer.diff_id.hex()).collect();
    assert!(ran.iter().all(|ran| ran.as_ref() == Ok(&layers)), "{ran:?}");
    assert_eq!(unpacked(&store).len(), layers.len(), "no lock file is left");
}

#[test]
fn a_lock_file_that_lost_its_name_keeps_nobody_away_and_is_not_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layer.lock");
    let first = hold(&path).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hold(&path).unwrap());
        // Until the second waits for the first one's file; if it comes later, it finds the third's all the same.
        std::thread::sleep(std::time::Duration::from_millis(200));
        fs::remove_file(&path).unwrap();
        let third = hold(&path).unwrap();
        drop(first);
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!waiting.is_finished(), "two would unpack the same layer");
        drop(third);
        let second = waiting.join().unwrap();
        assert_eq!(second.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
    });
}

/// Directories below `above`, each in the one before, as deep as one path of a tar can lead.
fn deep(tar: &mut tar::Builder<Vec<u8>>, above: &str, name: &str) -> String {
    let path = format!("{above}{}", format!("{name}/").repeat(1800));
    let mut header = header(tar::EntryType::Directory);
    tar.append_data(&mut header, &path, std::io::empty()).unwrap();
    path
}

fn header(kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// A layer of 3,600 levels: the second half is made through a link to the bottom of the first.
fn deep_layer(more: &[tar::EntryType]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let bottom = deep(&mut tar, "", "d");
    tar.append_link(&mut header(tar::EntryType::Symlink), "link", bottom.trim_end_matches('/')).unwrap();
    deep(&mut tar, "link/", "e");
    for kind in more {
        tar.append_data(&mut header(*kind), "last", std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn root_layers_deeper_than_the_limit_of_open_files_go_as_they_came() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    if std::env::var_os(CHILD).is_none() {
        // A process of its own: the limit is for all of it.
        let name = "snapshot::tests::root_layers_deeper_than_the_limit_of_open_files_go_as_they_came";
        let mut test = Command::new(std::env::current_exe().unwrap());
        let output = test.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let few = rustix::process::Rlimit { current: Some(32), maximum: Some(32) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path());
    // One that fails after all of it is there, one that was interrupted, one that no image has any more.
    let device = image(&store, &[deep_layer(&[tar::EntryType::Char])]);
    prepare(&store, &device).unwrap_err();
    assert!(unpacked(&store).is_empty());
    let whole = image(&store, &[deep_layer(&[])]);
    let name = prepare(&store, &whole).unwrap().layers.remove(0);
    fs::rename(store.unpacked().join(&name), store.unpacked().join(format!("{name}.part"))).unwrap();
    store.ingest().unwrap().put_image(&"a:b".parse().unwrap(), &whole).unwrap();
    prepare(&store, &whole).unwrap();
    assert_eq!(unpacked(&store), [name]);
    fs::remove_file(root.path().join("index.json")).unwrap();
    drop(prepare(&store, &of_layers(vec![])).unwrap());
    assert!(unpacked(&store).is_empty());
}
