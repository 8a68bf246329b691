//! What nothing names any more is removed: temporary files of dead writers, downloads that nobody goes on with, and blobs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hone_contract::chain;
use hone_files::open_regular;
use hone_image::oci::Descriptor;

use crate::files::{self, Lock};
use crate::needed::Needed;
use crate::{Store, StoreError};

/// A download that did not end is kept this long after its last byte came, so that it can go on.
const KEPT_PARTIAL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many of one kind were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Their number.
    pub count: u64,
    /// The bytes that they took.
    pub bytes: u64,
}

impl Removed {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What [`Store::collect`] removed. What it could not read, and what it kept because of that, [`Store::problems`] tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs that nothing needs.
    pub blobs: Removed,
    /// Downloads that did not end, and that nobody went on with for a week.
    pub partials: Removed,
    /// Blobs that are there only because something that is damaged mentions them.
    pub kept: u64,
}

impl Store {
    /// Removes blobs that no name, no version and no unfinished commit needs. `None`, and nothing removed, while anybody
    /// adds blobs, which may not be named yet, or reads: nobody waits for this, and this waits for nobody.
    ///
    /// An entry or a record that is damaged stops nothing: what it mentions is kept, and it is named by
    /// [`Store::problems`].
    ///
    /// # Errors
    /// When the store itself cannot be read: then it is not known what is needed, and nothing is removed.
    pub fn collect(&self) -> Result<Option<Swept>, StoreError> {
        if !self.root.join("oci-layout").exists() {
            return Ok(Some(Swept::default()));
        }
        let Some(_alone) = Lock::try_exclusive(&self.ingest_lock())? else {
            return Ok(None);
        };
        let mut names = self.names()?;
        let mut swept = Swept::default();
        self.sweep_tmp();
        self.sweep_partials(&mut swept)?;
        let (needed, orphans) = Needed::of(self, names.entries())?;
        if !needed.is_unknown() {
            for gone in orphans.iter().filter(|digest| !self.blob_path(**digest).exists()) {
                let why = "it is not in the store; its entry in index.json is removed";
                self.notice(format!("statement {gone}"), why);
            }
            let named = |d: &Descriptor| d.annotations.contains_key(hone_image::media::REF_NAME);
            names.retain(|d| named(d) || !orphans.contains(&d.digest))?;
            self.sweep_blobs(&needed, &mut swept)?;
            self.sweep_cache()?;
        }
        Ok(Some(swept))
    }

    /// Removes what dead writers left, when no other writer is there.
    pub(crate) fn reap_temporaries(&self) -> Result<(), StoreError> {
        let Some(_alone) = Lock::try_exclusive(&self.ingest_lock())? else {
            return Ok(());
        };
        let Some(_names) = Lock::try_exclusive(&self.names_lock())? else {
            return Ok(());
        };
        self.sweep_tmp();
        Ok(())
    }

    /// What does not go is no reason not to work: it is told, and tried again the next time.
    fn sweep_tmp(&self) {
        let tmp = self.tmp();
        match files::names(&tmp) {
            Ok(names) => {
                for name in names {
                    self.removed(&tmp.join(name));
                }
            }
            Err(error) => self.notice(tmp.display().to_string(), chain(&error)),
        }
    }

    fn sweep_blobs(&self, needed: &Needed<'_>, swept: &mut Swept) -> Result<(), StoreError> {
        let dir = self.blobs();
        let names = files::names(&dir)?;
        swept.kept = needed.kept(&names);
        for name in names.iter().filter(|name| !needed.contains(name)) {
            let path = dir.join(name);
            let bytes = fs::metadata(&path).map_or(0, |m| m.len());
            if self.removed(&path) {
                swept.blobs.add(bytes);
            }
        }
        Ok(())
    }

    fn sweep_partials(&self, swept: &mut Swept) -> Result<(), StoreError> {
        let dir = self.root.join("partial");
        for name in files::names(&dir)? {
            let path = dir.join(name);
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            // A time to come is no age.
            let old = meta.modified().is_ok_and(|t| t.elapsed().is_ok_and(|age| age > KEPT_PARTIAL));
            if old && !in_use(&path) && self.removed(&path) {
                swept.partials.add(meta.len());
            }
        }
        Ok(())
    }

    fn removed(&self, path: &Path) -> bool {
        let removed = files::remove(path);
        if let Err(error) = &removed {
            self.notice(path.display().to_string(), chain(error));
        }
        removed.is_ok()
    }
}

/// Whether somebody writes the download: then they hold its lock. Nobody does who does not hold the store open, too, in
/// this release.
fn in_use(path: &Path) -> bool {
    open_regular(path).is_ok_and(|file| file.try_lock().is_err())
}
