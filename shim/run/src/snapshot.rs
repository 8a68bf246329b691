//! Unpacked layers: `ROOT/snapshots/<diff id>`, each the read-only lower directory of any number of containers.
//!
//! A directory has its final name only when it is whole: verified to the last byte, on disk, renamed. A run that
//! dies halfway leaves a directory with a temporary name, which the next run removes. A run that fails removes every
//! layer that it unpacked: nothing of an image that cannot run fills the disk.
//!
//! What no image has any more goes when a run begins while no other goes on: every run holds a shared lock on
//! `snapshots.lock` for as long as its container may read from here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hone_image::{Digest, Image, Layer};
use hone_store::{Budget, Store};

use crate::error::RunError;
use crate::rootfs::{MAX_LAYERS, private_dir};
use crate::unpack::{Allowance, unpack};

/// Where unpacked layers lie.
pub(crate) fn directory(store: &Store) -> PathBuf {
    store.root().join("snapshots")
}

/// Layers that are unpacked and stay so.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// Names below [`directory`], lowest first, none of them twice.
    pub layers: Vec<String>,
    _in_use: File,
}

/// Makes every layer of `image` a directory; all of them, or none that was not there before.
pub(crate) fn prepare(store: &Store, image: &Image) -> Result<Snapshots, RunError> {
    let dir = directory(store);
    private_dir(&dir)?;
    let path = store.root().join("snapshots.lock");
    let lock = File::create(&path).map_err(RunError::io("make", &path))?;
    let mode = fs::Permissions::from_mode(0o600);
    lock.set_permissions(mode).map_err(RunError::io("set mode of", &path))?;
    if lock.try_lock().is_ok() {
        sweep(store, &dir);
    }
    lock.lock_shared().map_err(RunError::io("lock", &path))?;
    let layers = distinct(image.layers());
    let missing: Vec<_> = layers.iter().copied().filter(|layer| !at(&dir, layer).is_dir()).collect();
    promise(image.digest(), layers.len(), &missing, &dir)?;
    let (budget, mut allowance) = (Budget::of_image(image), Allowance::of_image());
    let unpacked = missing.iter().try_for_each(|layer| one(store, layer, (&budget, &mut allowance), &dir));
    if unpacked.is_err() && lock.try_lock().is_ok() {
        // Nobody reads from here, and nobody waits for a layer: what this run did goes. Otherwise a sweep takes it.
        discard(&dir, &missing);
    }
    unpacked?;
    Ok(Snapshots { layers: layers.iter().map(|layer| layer.diff_id.hex()).collect(), _in_use: lock })
}

/// The layers, lowest first, without those that come once more above: whatever a layer shows or hides, it shows or
/// hides from its highest place, too, so that its lower places change nothing.
pub(crate) fn distinct(layers: &[Layer]) -> Vec<&Layer> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<_> = layers.iter().rev().filter(|layer| seen.insert(layer.diff_id)).collect();
    kept.reverse();
    kept
}

/// Refuses, before anything is unpacked, what is known to come to nothing.
fn promise(image: Digest, layers: usize, missing: &[&Layer], dir: &Path) -> Result<(), RunError> {
    if layers > MAX_LAYERS {
        return Err(RunError::Layers { image, got: layers, want: MAX_LAYERS });
    }
    let stat = rustix::fs::statvfs(dir).map_err(RunError::io("ask for the free space of", dir))?;
    let got = stat.f_bavail.saturating_mul(stat.f_frsize);
    // No layer unpacks to less than it takes compressed, roughly: more than this is found out on the way.
    let want = missing.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.descriptor.size));
    if want > got {
        return Err(RunError::Room { image, path: dir.to_owned(), got, want });
    }
    Ok(())
}

fn at(dir: &Path, layer: &Layer) -> PathBuf {
    dir.join(layer.diff_id.hex())
}

/// Removes these layers, and what was begun of them.
fn discard(dir: &Path, layers: &[&Layer]) {
    for layer in layers {
        for end in ["", ".part", ".lock"] {
            // The first error is the one to tell; what remains is removed by a sweep.
            let _ = hone_files::remove(&dir.join(format!("{}{end}", layer.diff_id.hex())));
        }
    }
}

/// Removes the directories of layers that no image of the store has.
fn sweep(store: &Store, dir: &Path) {
    // A store that cannot be read whole keeps everything; that is no reason not to run an image that can be.
    let Ok(wanted) = wanted(store) else { return };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !wanted.contains(name.split('.').next().unwrap_or_default()) {
            // Left for the next sweep if it does not go; a lock file goes with its layer.
            let _ = hone_files::remove(&entry.path());
        }
    }
}

/// Layers of everything that has a name and can be read; those of what cannot are unpacked again when it can.
fn wanted(store: &Store) -> Result<BTreeSet<String>, RunError> {
    let mut names = BTreeSet::new();
    for (_, _, pack) in store.packs()? {
        names.extend(pack.images().iter().flat_map(Image::layers).map(|layer| layer.diff_id.hex()));
    }
    Ok(names)
}

fn one(store: &Store, layer: &Layer, bounds: (&Budget, &mut Allowance), dir: &Path) -> Result<(), RunError> {
    let (budget, allowance) = bounds;
    let done = at(dir, layer);
    // Two runs may want the same layer: the second waits, and finds it there.
    let lock = dir.join(format!("{}.lock", layer.diff_id.hex()));
    let file = File::create(&lock).map_err(RunError::io("make", &lock))?;
    file.lock().map_err(RunError::io("lock", &lock))?;
    if !done.is_dir() {
        let half = dir.join(format!("{}.part", layer.diff_id.hex()));
        hone_files::remove(&half).map_err(RunError::io("remove", &half))?;
        fs::create_dir(&half).map_err(RunError::io("make", &half))?;
        let reader = store.open_layer(layer, budget)?;
        let finished = unpack(reader, layer.diff_id, &half, allowance).and_then(|()| {
            let opened = File::open(&half).map_err(RunError::io("open", &half))?;
            rustix::fs::syncfs(&opened).map_err(RunError::io("sync", &half))?;
            fs::rename(&half, &done).map_err(RunError::io("rename", &half))
        });
        if finished.is_err() {
            // The first error is the one to tell; what remains here is removed by the next run at the latest.
            let _ = hone_files::remove(&half);
        }
        finished?;
    }
    fs::remove_file(&lock).map_err(RunError::io("remove", &lock))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let old = directory(&store).join("0".repeat(64));
        fs::create_dir_all(old.join("etc")).unwrap();
        let lock = File::create(root.path().join("snapshots.lock")).unwrap();
        lock.lock_shared().unwrap();
        drop(prepare(&store, &image).unwrap());
        assert!(old.exists(), "another run may read from it");
        let mode = fs::metadata(directory(&store)).unwrap().permissions().mode();
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
        let mut names: Vec<_> = fs::read_dir(directory(store)).unwrap().map(|e| e.unwrap().file_name()).collect();
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
    fn too_many_layers_are_told_before_one_is_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::at(root.path());
        let layer = |n: usize| Layer::tar(hone_image::LayerKind::Other, Digest::of(&n.to_le_bytes()), 1024);
        let said = prepare(&store, &of_layers((0..501).map(layer).collect())).unwrap_err().to_string();
        assert!(said.ends_with("501 different layers, want at most 500; build it with fewer"), "{said}");
        assert!(unpacked(&store).is_empty());
        // The twin goes on to its first layer, which is not in this store.
        let said = prepare(&store, &of_layers((0..500).map(layer).collect())).unwrap_err().to_string();
        assert!(said.contains("it is not in the store"), "{said}");
        assert!(unpacked(&store).is_empty(), "nothing is left of it either");
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
        let mut reference: hone_image::Reference = "good:latest".parse().unwrap();
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
}
