//! Layers that `hone run` unpacked: where they lie beside the layout, and which of them nobody needs any more.
//!
//! `snapshots/<diff id>` is an unpacked layer, `<diff id>.part` and `<diff id>.lock` belong to one that is being
//! unpacked. Whoever reads there holds `snapshots.lock` shared; who removes holds it alone.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::files::{self, Lock};
use crate::{Removed, Store, StoreError};

impl Store {
    /// Where unpacked layers lie.
    pub fn unpacked(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The lock of those who read unpacked layers.
    pub fn unpacked_lock(&self) -> PathBuf {
        self.root.join("snapshots.lock")
    }

    /// Removes unpacked layers that no image here has. `None`, and nothing removed, while any container reads from
    /// there: it may be of an image whose name has just gone.
    ///
    /// # Errors
    /// When it cannot be told which names there are: then all stay. Or when one cannot be removed.
    pub fn sweep_unpacked(&self) -> Result<Option<Removed>, StoreError> {
        let dir = self.unpacked();
        if !dir.is_dir() {
            return Ok(Some(Removed::default()));
        }
        let Some(_alone) = Lock::try_exclusive(&self.unpacked_lock())? else {
            return Ok(None);
        };
        let wanted = self.diff_ids()?;
        let mut removed = Removed::default();
        for name in files::names(&dir)? {
            if wanted.contains(name.split('.').next().unwrap_or_default()) {
                continue;
            }
            let path = dir.join(&name);
            let bytes = hone_files::disk_usage(&path);
            files::remove(&path)?;
            // The lock file of a layer is none.
            if !name.ends_with(".lock") {
                removed.add(bytes);
            }
        }
        Ok(Some(removed))
    }

    /// Of every layer of every image that has a name.
    fn diff_ids(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut ids = BTreeSet::new();
        // What cannot be read cannot be run: when it is mended, its layers are unpacked again.
        for (_, _, pack) in self.packs()? {
            ids.extend(pack.images().iter().flat_map(|image| image.layers()).map(|layer| layer.diff_id.hex()));
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn unpacked_layers_that_no_image_has_go_unless_a_container_reads_there() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::at(dir.path());
        assert_eq!(store.sweep_unpacked().expect("nothing there"), Some(Removed::default()));
        assert!(!store.unpacked_lock().exists(), "looking makes nothing");
        let old = store.unpacked().join("0".repeat(64));
        fs::create_dir_all(old.join("etc")).expect("layer");
        fs::write(old.join("etc/file"), [1; 9000]).expect("file");
        let reader = File::create(store.unpacked_lock()).expect("lock");
        reader.lock_shared().expect("a run");
        assert_eq!(store.sweep_unpacked().expect("sweep"), None);
        assert!(old.exists());
        drop(reader);
        let removed = store.sweep_unpacked().expect("sweep").expect("alone");
        assert!(removed.count == 1 && removed.bytes >= 9000, "{removed:?}");
        assert!(!old.exists());
    }
}
