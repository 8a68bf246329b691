//! What lies beside the layout and nobody needs: layers that `hone run` unpacked.
//!
//! `snapshots/<diff id>` is an unpacked layer, `<diff id>.part` and `<diff id>.lock` belong to one that is being
//! unpacked. Whoever reads there holds `snapshots.lock` shared; who removes holds it alone.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::files::{self, Lock};
use crate::{Store, StoreError, Swept};

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
    pub fn sweep_unpacked(&self) -> Result<Option<Swept>, StoreError> {
        let dir = self.unpacked();
        if !dir.is_dir() {
            return Ok(Some(Swept::default()));
        }
        let Some(_alone) = Lock::try_exclusive(&self.unpacked_lock())? else {
            return Ok(None);
        };
        let wanted = self.diff_ids()?;
        let mut swept = Swept::default();
        for name in files::names(&dir)? {
            if wanted.contains(name.split('.').next().unwrap_or_default()) {
                continue;
            }
            let path = dir.join(&name);
            swept.bytes += hone_files::disk_usage(&path);
            files::remove(&path)?;
            // The lock file of a layer is none.
            swept.blobs += u64::from(!name.ends_with(".lock"));
        }
        Ok(Some(swept))
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
        assert_eq!(store.sweep_unpacked().expect("nothing there"), Some(Swept::default()));
        assert!(!store.unpacked_lock().exists(), "looking makes nothing");
        let old = store.unpacked().join("0".repeat(64));
        fs::create_dir_all(old.join("etc")).expect("layer");
        fs::write(old.join("etc/file"), [1; 9000]).expect("file");
        let reader = File::create(store.unpacked_lock()).expect("lock");
        reader.lock_shared().expect("a run");
        assert_eq!(store.sweep_unpacked().expect("sweep"), None);
        assert!(old.exists());
        drop(reader);
        let swept = store.sweep_unpacked().expect("sweep").expect("alone");
        assert!(swept.blobs == 1 && swept.bytes >= 9000, "{swept:?}");
        assert!(!old.exists());
    }
}
