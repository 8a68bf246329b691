//! Whether the bytes of a blob that is there are still those of its name.
//!
//! A disk that lost a block, a power cut and a careless hand leave a file of the right name and size. So a writer whose
//! content seems to be there already looks whether that was hashed since it was last changed: `cache/<hex>.blob` has the
//! blob's inode, size, mtime and ctime from when it was. Whatever is not known so is hashed again, and what is not the
//! content is written anew. A reader that meets other bytes removes the record, which is worth nothing but time.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use hone_contract::Digest;
use hone_files::open_regular;
use rustix::fs::fstat;
use serde::{Deserialize, Serialize};

use crate::{Ingest, Store, StoreError, Verified, files};

/// How the name of a record ends.
pub(crate) const ENDING: &str = ".blob";
/// Bytes that are hashed at a time.
const CHUNK: usize = 1 << 20;
/// A name given this short before a sync may have come after it, in the same tick of the file system's clock, which counts
/// in ten milliseconds at most.
const RACY: Duration = Duration::from_millis(50);

/// What a blob's file was when it was hashed. The device is left out: its number may change when the machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl State {
    fn of(file: &File) -> io::Result<Self> {
        let stat = fstat(file)?;
        Ok(Self {
            inode: stat.st_ino,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        })
    }
}

/// When the directory of blobs was last changed before it was last synced: the names that it had then are durable.
#[derive(Debug, Default)]
pub(crate) struct Synced(Mutex<Option<(i64, i64)>>);

impl Ingest<'_> {
    /// Whether this content is stored already, with the bytes that its name stands for, and durably, whoever stored it:
    /// then it need not be written.
    ///
    /// # Errors
    /// When the directory of blobs cannot be synced.
    pub fn has_intact(&self, digest: Digest, size: u64) -> Result<bool, StoreError> {
        Ok(self.store.intact(digest, size) && self.sync_names().map(|()| true)?)
    }

    /// Refuses a blob that is not there, or not what its name says.
    pub(crate) fn present(&self, digest: Digest, size: u64) -> Result<(), StoreError> {
        if !self.store.has(digest, size) {
            return Err(StoreError::NoBlob(digest));
        }
        if !self.has_intact(digest, size)? {
            let got = "other bytes".to_owned();
            return Err(StoreError::Corrupt { digest, got, want: format!("the {size} bytes that it stands for") });
        }
        Ok(())
    }

    /// Makes the names of blobs that are there durable: another writer may have given one and not synced it yet.
    pub(crate) fn sync_names(&self) -> Result<(), StoreError> {
        let path = self.store.blobs();
        let sync = || -> io::Result<()> {
            let dir = File::open(&path)?;
            let stat = fstat(&dir)?;
            let changed = (stat.st_mtime as i64, stat.st_mtime_nsec as i64);
            let mut synced = self.synced.0.lock().unwrap_or_else(PoisonError::into_inner);
            if *synced != Some(changed) {
                dir.sync_all()?;
                *synced = settled(changed).then_some(changed);
            }
            Ok(())
        };
        sync().map_err(StoreError::at("sync", &path))
    }
}

/// Whether this moment, in seconds and nanoseconds since 1970, is past.
fn settled((seconds, nanoseconds): (i64, i64)) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else { return false };
    let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    changed.elapsed().is_ok_and(|age| age > RACY)
}

impl Store {
    /// Whether the blob was hashed since it was last changed.
    pub(crate) fn vouched(&self, digest: Digest, size: u64) -> bool {
        open_regular(&self.blob_path(digest)).is_ok_and(|file| self.known_state(&file, digest, size))
    }

    fn known_state(&self, file: &File, digest: Digest, size: u64) -> bool {
        let Ok(Some(known)) = files::read_json::<State>(&record(self, digest)) else { return false };
        known.size == size && State::of(file).is_ok_and(|state| state == known)
    }

    /// Whether the blob is there with the bytes of its name: as it was when it was last hashed, or hashed now.
    pub(crate) fn intact(&self, digest: Digest, size: u64) -> bool {
        if !self.has(digest, size) {
            return false;
        }
        let look = || -> io::Result<bool> {
            let file = open_regular(&self.blob_path(digest))?;
            if self.known_state(&file, digest, size) {
                return Ok(true);
            }
            let state = State::of(&file)?;
            drain(Verified::new(&file, digest, Some(size)))?;
            // Who wrote it, and whether they synced it, is not known.
            file.sync_all()?;
            self.note_state(digest, state);
            Ok(true)
        };
        // Bytes that cannot be read are not there; whoever asks writes them anew.
        look().unwrap_or(false)
    }

    /// Remembers that a blob's bytes, which are synced, are those of its name. The file has that name already: a rename
    /// counts as a change.
    pub(crate) fn vouch(&self, file: &File, digest: Digest) {
        if let Ok(state) = State::of(file) {
            self.note_state(digest, state);
        }
    }

    fn note_state(&self, digest: Digest, state: State) {
        let note = || -> io::Result<()> {
            let mut file = files::temporary(&self.tmp())?;
            serde_json::to_writer(&mut file, &state)?;
            file.persist(record(self, digest)).map(drop).map_err(|e| e.error)
        };
        // Without the record the blob is hashed once more the next time: slower, and nothing worse.
        let _ = note();
    }

    /// Removes records of blobs that are not there.
    pub(crate) fn sweep_states(&self) -> Result<(), StoreError> {
        let cache = self.root.join("cache");
        for name in files::names(&cache)? {
            if name.strip_suffix(ENDING).is_some_and(|hex| !self.blobs().join(hex).exists()) {
                files::remove(&cache.join(name))?;
            }
        }
        Ok(())
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }
}

/// The record's place. It may be removed at any time.
pub(crate) fn record(store: &Store, digest: Digest) -> PathBuf {
    store.root.join("cache").join(format!("{}{ENDING}", digest.hex()))
}

/// Forgets that a blob was as it should be, since it is not. In a store that this user may not change it is not theirs to
/// write the blob anew, either.
pub(crate) fn doubt(record: &Path) {
    let _ = std::fs::remove_file(record);
}

/// Reads to the end: a verified reader fails there when the bytes are others.
pub(crate) fn drain(mut reader: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(n) => size += n as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::empty_store as store;
    use hone_image::oci::Descriptor;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    /// Other bytes in the same file, of the same size, with the modification time that it had.
    fn damage(store: &Store, digest: Digest) {
        let path = store.blob_path(digest);
        let time = fs::metadata(&path).expect("stat").modified().expect("time");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
        let mut file = File::options().write(true).open(&path).expect("open");
        file.write_all(b"X").expect("write");
        file.set_modified(time).expect("time");
    }

    #[test]
    fn whatever_writes_content_that_is_damaged_mends_it() {
        let (dir, store) = store();
        let other = Store::at(dir.path().join("other"));
        let ingest = store.ingest().expect("ingest");
        let bytes = vec![7; 5000];
        let digest = ingest.put(&bytes).expect("put");
        let descriptor = Descriptor::of("x", digest, 5000);
        other.ingest().expect("ingest").put(&bytes).expect("put");
        let source = dir.path().join("w");
        fs::write(&source, &bytes).expect("write");
        let written = || {
            let mut blob = ingest.blob().expect("blob");
            blob.write_all(&bytes).expect("write");
            blob.finish().map(drop)
        };
        type Write<'a> = (&'a str, &'a dyn Fn() -> Result<(), StoreError>);
        let writes: [Write<'_>; 5] = [
            ("put", &|| ingest.put(&bytes).map(drop)),
            ("put_all", &|| ingest.put_all(&[&bytes])),
            ("copy", &|| ingest.copy(&descriptor, &bytes[..])),
            ("take", &|| ingest.take(&descriptor, &other)),
            ("blob", &written),
        ];
        for (what, write) in writes {
            damage(&store, digest);
            assert!(store.read_blob(digest, 5000).is_err(), "{what}");
            write().expect(what);
            assert_eq!(store.read_blob(digest, 5000).expect(what), bytes, "{what}");
            // The twin: nothing is wrong, and nothing is written.
            let inode = || State::of(&File::open(store.blob_path(digest)).expect("open")).expect("state").inode;
            let before = inode();
            write().expect(what);
            assert_eq!(inode(), before, "{what}");
        }
    }

    #[test]
    fn a_damaged_weight_layer_is_packed_again_however_well_its_source_is_known() {
        let (dir, store) = store();
        let source = dir.path().join("w");
        fs::write(&source, [9; 9000]).expect("write");
        let weight = crate::WeightFile { path: "m/w", source: &source, offset: 0, size: 9000, digest: None };
        let known = crate::WeightFile { digest: Some(Digest::of(&[9; 9000])), ..weight };
        for weight in [weight, known] {
            let pack = || store.ingest().expect("ingest").weight(&weight, &|_| {}).expect("pack");
            let layer = pack().layer.descriptor;
            assert!(pack().known);
            damage(&store, layer.digest);
            assert!(store.packed_before("m/w", Digest::of(&[9; 9000])).is_none(), "its bytes are not the content");
            assert!(!pack().known);
            drain(store.open_blob(layer.digest, layer.size).expect("open")).expect("whole");
            assert!(pack().known);
        }
    }

    #[test]
    fn a_reader_that_meets_other_bytes_is_not_overruled_by_the_record() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let digest = ingest.put(b"content").expect("put");
        damage(&store, digest);
        // What a disk does behind the file system's back leaves all times as they were.
        store.vouch(&File::open(store.blob_path(digest)).expect("open"), digest);
        ingest.put(b"content").expect("nothing is seen of it");
        assert!(drain(store.open_blob(digest, 7).expect("open")).is_err());
        ingest.put(b"content").expect("put");
        assert_eq!(store.read_blob(digest, 7).expect("mended"), b"content");
    }

    #[test]
    fn a_blob_of_another_tool_is_hashed_once_and_then_known() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let digest = Digest::of(b"content");
        fs::write(store.blob_path(digest), b"content").expect("write");
        assert!(!store.vouched(digest, 7));
        assert!(ingest.has_intact(digest, 7).expect("look"));
        assert!(store.vouched(digest, 7));
        fs::write(store.blob_path(digest), b"CONTENT").expect("write");
        assert!(!ingest.has_intact(digest, 7).expect("look"));
        assert!(!ingest.has_intact(Digest::of(b"absent"), 7).expect("look"));
    }
}
