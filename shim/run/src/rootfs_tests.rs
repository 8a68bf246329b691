//! Bundles and their overlays: what a container sees of its layers.

use std::collections::BTreeMap;

use hone_contract::Digest;
use tar::EntryType;

use super::*;
use crate::unpack::{Allowance, unpack};

#[test]
fn a_name_is_taken_only_while_its_run_lives_and_leftovers_go() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("run/dead/upper")).unwrap();
    let bundle = Bundle::new(root.path(), "box").unwrap();
    let mode = fs::metadata(root.path().join("run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "an image's set-user-id programs are nobody else's to start");
    assert!(!root.path().join("run/dead").exists());
    let error = Bundle::new(root.path(), "box").unwrap_err().to_string();
    assert_eq!(error, "a container named box is running; take another --name");
    assert!(bundle.rootfs().is_dir());
    drop(bundle);
    assert_eq!(fs::read_dir(root.path().join("run")).unwrap().count(), 0);
    Bundle::new(root.path(), "box").unwrap();
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Entries of a layer, in order: a name that ends with `/` is a directory, a content makes a file, and whiteouts are
/// named as in a tar.
type Entries = Vec<(String, String)>;

fn entries(text: &str) -> Entries {
    let entry = |word: &str| {
        let (name, content) = word.split_once('=').unwrap_or((word, ""));
        (name.to_owned(), content.to_owned())
    };
    text.split_whitespace().map(entry).collect()
}

fn tar(entries: &Entries) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Applies layers one after the other in one directory, as the specification words it and docker does.
fn one_after_the_other(layers: &[&Entries], at: &Path) {
    for entries in layers {
        let mut own = Vec::new();
        for (name, content) in *entries {
            let path = at.join(name.trim_end_matches('/'));
            let (parent, last) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
            fs::create_dir_all(parent).unwrap();
            if last == ".wh..wh..opq" {
                for entry in fs::read_dir(parent).unwrap() {
                    let path = entry.unwrap().path();
                    if !own.iter().any(|own: &PathBuf| own.starts_with(&path)) {
                        hone_files::remove(&path).unwrap();
                    }
                }
            } else if let Some(hidden) = last.strip_prefix(".wh.") {
                hone_files::remove(&parent.join(hidden)).unwrap();
            } else if name.ends_with('/') {
                if path.is_file() {
                    fs::remove_file(&path).unwrap();
                }
                fs::create_dir_all(&path).unwrap();
                own.push(path);
            } else {
                hone_files::remove(&path).unwrap();
                fs::write(&path, content).unwrap();
                own.push(path);
            }
        }
    }
}

/// Every name below `at` with its content; a directory's is `/`.
fn seen(at: &Path) -> BTreeMap<String, String> {
    let (mut all, mut pending) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(at.join(&dir)).unwrap() {
            let path = dir.join(entry.unwrap().file_name());
            // overlayfs lists a whiteout in a directory that only one layer has, and answers that it is not there.
            if fs::symlink_metadata(at.join(&path)).is_err() {
                continue;
            }
            let content = match at.join(&path).is_dir() {
                true => "/".to_owned(),
                false => fs::read_to_string(at.join(&path)).unwrap(),
            };
            if content == "/" {
                pending.push(path.clone());
            }
            all.insert(path.display().to_string(), content);
        }
    }
    all
}

/// What a container sees of these layers, lowest first, each unpacked once and used at its highest place.
fn in_a_container(layers: &[&Entries]) -> BTreeMap<String, String> {
    let site = tempfile::tempdir().unwrap();
    let snapshots = site.path().join("snapshots, and: more");
    fs::create_dir(&snapshots).unwrap();
    let described: Vec<_> = layers
        .iter()
        .map(|entries| {
            let bytes = tar(entries);
            let digest = Digest::of(&bytes);
            let to = snapshots.join(digest.hex());
            if !to.exists() {
                fs::create_dir(&to).unwrap();
                unpack(&bytes[..], digest, &to, &mut Allowance::of_image()).unwrap();
            }
            hone_image::Layer::tar(hone_image::LayerKind::Other, digest, bytes.len() as u64)
        })
        .collect();
    let names: Vec<_> = crate::snapshot::distinct(&described).into_iter().map(|layer| layer.diff_id.hex()).collect();
    // A thread of its own: its mount namespace and working directory go with it.
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let bundle = Bundle::new(&site.path().join("root"), "box").unwrap();
            bundle.mount(&snapshots, &names).unwrap();
            seen(&bundle.rootfs())
        });
        seen.join().unwrap()
    })
}

fn is_seen_as_applied(layers: &[&Entries]) {
    let site = tempfile::tempdir().unwrap();
    one_after_the_other(layers, site.path());
    assert_eq!(in_a_container(layers), seen(site.path()), "{layers:?}");
}

#[test]
fn root_an_image_with_the_same_layer_twice_is_what_its_layers_make_one_after_the_other() {
    if !root() {
        return;
    }
    let below = entries("d/ d/x=below d/y=below f=below g/ g/in=below h=below");
    for (a, b) in [
        // The layer between hides what the layer has; it is there again.
        ("d/ d/x=a n=a", "d/ d/.wh.x .wh.n"),
        ("d/ d/x=a", ".wh.d"),
        ("d/ d/x=a", "d/ d/.wh..wh..opq d/b=b"),
        // The layer hides what the layer between brings back.
        (".wh.f d/ d/.wh.x", "f=b d/ d/x=b"),
        (".wh.d", "d/ d/x=b d/new=b"),
        ("d/ d/.wh..wh..opq d/a=a", "d/ d/x=b d/new/ d/new/er=b"),
        (".wh.d d/ d/a=a", "d/ d/b=b"),
        // A file where a directory is, and the other way round.
        ("f=a", ".wh.f f/ f/in=b"),
        (".wh.g g=a", ".wh.g g/ g/other=b"),
        // Nothing of one in the other.
        ("k/ k/a=a", "l/ l/b=b"),
    ] {
        let (a, b) = (entries(a), entries(b));
        is_seen_as_applied(&[&below, &a, &b, &a]);
        is_seen_as_applied(&[&a, &b, &a]);
        is_seen_as_applied(&[&below, &a, &b, &a, &b, &below, &a]);
        is_seen_as_applied(&[&a, &a, &a]);
    }
}

#[test]
fn root_layers_drawn_by_lot_and_repeated_are_what_they_make_one_after_the_other() {
    if !root() {
        return;
    }
    let mut state = 7_u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for _ in 0..40 {
        let pool: Vec<Entries> = (0..3)
            .map(|layer| {
                let mut words = vec![];
                // Each name is said once a layer: as a directory, a file in it, or a whiteout.
                for dir in ["d", "e"] {
                    match below(5) {
                        0 => words.push((format!(".wh.{dir}"), String::new())),
                        kind @ 1..4 => {
                            words.push((format!("{dir}/"), String::new()));
                            if kind == 1 {
                                words.push((format!("{dir}/.wh..wh..opq"), String::new()));
                            }
                            for name in ["x", "y", "z"] {
                                match below(4) {
                                    0 => words.push((format!("{dir}/.wh.{name}"), String::new())),
                                    1 | 2 => words.push((format!("{dir}/{name}"), layer.to_string())),
                                    _ => {}
                                }
                            }
                        }
                        _ => {}
                    }
                }
                words.push((format!("own{layer}"), String::new()));
                words
            })
            .collect();
        let drawn: Vec<&Entries> = (0..6).map(|_| &pool[below(3)]).collect();
        is_seen_as_applied(&drawn);
    }
}

/// Most layers of one overlay (the kernel's OVL_MAX_STACK); an image that can be read has fewer.
const MAX_LAYERS: usize = 500;

#[test]
fn root_five_hundred_layers_are_mounted() {
    if !root() {
        return;
    }
    let layers: Vec<_> = (0..MAX_LAYERS).map(|n| entries(&format!("name{n}=x last={n}"))).collect();
    let seen = in_a_container(&layers.iter().collect::<Vec<_>>());
    assert_eq!(seen.len(), MAX_LAYERS + 1);
    assert_eq!(seen["last"], (MAX_LAYERS - 1).to_string(), "the highest layer has the last word");
}
