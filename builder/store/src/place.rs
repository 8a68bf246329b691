//! Whose place a path is: what an output writes or replaces must not be a store, nor lie in one.
//!
//! A store is a whole OCI layout, so that a layout is no sign of one: it is told by what only a store has beside it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::Store;

/// What no other tool makes; one of them is enough, beside one of [`USUAL`]. A store that lost a part is one still.
const OWN: [&str; 2] = ["lineages", "ingest.lock"];
/// What a store has besides, and others may have, too.
const USUAL: [&str; 7] = ["oci-layout", "blobs", "lock", "cache", "partial", "staging", "tmp"];
/// Links that are followed in one path, as the kernel does (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The root of the store that `path` is, or in which it lies; `None` when it is in none. Links and `..` are followed as
/// the kernel would follow them, and nothing needs to be there yet.
pub fn store_around(path: &Path) -> Option<PathBuf> {
    let place = resolved(path);
    place.ancestors().find(|above| is_store_root(above)).map(Path::to_owned)
}

/// Whether a directory is a store's root.
pub fn is_store_root(path: &Path) -> bool {
    let has = |name: &&str| path.join(name).symlink_metadata().is_ok();
    OWN.iter().any(has) && USUAL.iter().any(has)
}

impl Store {
    /// Whether `path` is this store's root or lies in it, also while nothing is there yet.
    pub fn surrounds(&self, path: &Path) -> bool {
        resolved(path).starts_with(resolved(&self.root))
    }
}

/// The path without links, `.` and `..`, as far as there is something; what is not there is taken as it is written.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut left: VecDeque<OsString> = words(&path).collect();
    let mut place = PathBuf::from("/");
    let mut links = 0;
    while let Some(word) = left.pop_front() {
        if word == ".." {
            place.pop();
            continue;
        }
        let next = place.join(&word);
        match std::fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                if target.has_root() {
                    place = PathBuf::from("/");
                }
                for word in words(&target).collect::<Vec<_>>().into_iter().rev() {
                    left.push_front(word);
                }
            }
            _ => place = next,
        }
    }
    place
}

fn words(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn world() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = fs::canonicalize(dir.path()).expect("canonical").join("home/root");
        drop(Store::at(&root).ingest().expect("ingest"));
        (dir, root)
    }

    #[test]
    fn a_store_is_found_around_every_spelling_of_a_place_in_it() {
        let (dir, root) = world();
        let top = fs::canonicalize(dir.path()).expect("canonical");
        symlink(&root, top.join("link")).expect("link");
        symlink("home/root/blobs", top.join("blobs")).expect("link");
        symlink("home/root/not/yet", top.join("dangling")).expect("link");
        for inside in [
            root.clone(),
            root.join("index.json"),
            root.join("staging/run/out"),
            root.join("not/there/yet"),
            root.join("../root"),
            root.join("not/../../root/x"),
            root.join("blobs/sha256/.."),
            top.join("link"),
            top.join("link/x"),
            top.join("link/../root"),
            top.join("blobs"),
            top.join("blobs/../x"),
            top.join("dangling"),
        ] {
            assert_eq!(store_around(&inside).as_deref(), Some(root.as_path()), "{}", inside.display());
            assert!(Store::at(top.join("link")).surrounds(&inside), "{}", inside.display());
        }
    }

    #[test]
    fn a_store_is_known_by_what_is_left_of_it() {
        let (_dir, root) = world();
        for lost in ["index.json", "oci-layout", "ingest.lock", "lock", "staging"] {
            crate::files::remove(&root.join(lost)).expect("remove");
            assert!(is_store_root(&root), "without {lost}");
        }
    }

    #[test]
    fn places_beside_and_above_a_store_and_layouts_are_free() {
        let (dir, root) = world();
        let layout = dir.path().join("layout");
        fs::create_dir_all(layout.join("blobs/sha256")).expect("layout");
        for file in ["oci-layout", "index.json"] {
            fs::write(layout.join(file), "{}").expect("write");
        }
        // A user's own directory may be called as a part of a store is.
        fs::create_dir_all(dir.path().join("mine/lineages")).expect("directory");
        for free in [
            layout.clone(),
            layout.join("blobs"),
            dir.path().join("mine/lineages"),
            dir.path().to_owned(),
            root.join(".."),
            root.join("../root2"),
            root.join("../beside"),
        ] {
            assert_eq!(store_around(&free), None, "{}", free.display());
            assert!(!Store::at(&root).surrounds(&free), "{}", free.display());
        }
    }

    #[test]
    fn a_store_that_is_not_there_yet_and_links_in_a_circle_have_a_place_too() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::at(dir.path().join("later"));
        assert!(store.surrounds(&dir.path().join("later/out.tar")));
        assert!(!store.surrounds(&dir.path().join("out.tar")));
        symlink("circle", dir.path().join("circle")).expect("link");
        assert_eq!(store_around(&dir.path().join("circle/x")), None);
    }
}
