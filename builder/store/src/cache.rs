//! Which weight file became which layer, so that an unchanged file is not read again.
//!
//! A file is known by device, inode, size, mtime and ctime, as git's index knows one, and by what the index's authors
//! learned: a file that may have been written in the same tick as it was read is not trusted (git's "racy" entries), and
//! neither is one on a file system whose inodes and clock are somebody else's. Whoever is not trusted is hashed. Every
//! record names a blob and is worth nothing without it, whole: the whole directory may be removed at any time.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use hone_contract::Digest;
use rustix::fs::{fstat, fstatfs};
use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, WeightFile, files, intact};

/// File systems that are on this machine, under this kernel's clock, with inodes that stay (statfs(2), f_type):
/// ext2-4, XFS, btrfs, bcachefs, tmpfs, f2fs, overlayfs, ZFS, erofs, squashfs.
const LOCAL: [u64; 10] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xca45_1a4e,
    0x0102_1994,
    0xf2f5_2010,
    0x794c_7630,
    0x2fc1_2fc1,
    0xe0f5_e1e2,
    0x7371_7368,
];
/// A file changed this short before it was read may have changed in the same tick (seconds): FAT counts in twos.
const RACY: i64 = 2;

/// What a file is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    trusted: bool,
}

/// What a weight file became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// sha256 of the file.
    pub file: Digest,
    /// Its bytes.
    pub size: u64,
    /// Of its layer.
    pub layer: Digest,
    /// Bytes of the layer.
    pub stored: u64,
}

impl Identity {
    pub(crate) fn of(file: &File, weight: &WeightFile<'_>) -> io::Result<Self> {
        let stat = fstat(file)?;
        let end = weight.offset.saturating_add(weight.size);
        let whole = stat.st_size as u64 >= end;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            trusted: whole && LOCAL.contains(&(fstatfs(file)?.f_type as u64)),
        })
    }

    /// Whether the file was last changed well before `began`. ctime cannot be set back, mtime can be set forward.
    fn settled(&self, began: i64) -> bool {
        self.trusted && began.saturating_sub(self.mtime.0.max(self.ctime.0)) > RACY
    }

    fn key(&self, weight: &WeightFile<'_>) -> String {
        let Self { device, inode, size, mtime, ctime, .. } = self;
        let WeightFile { path, offset, size: len, .. } = weight;
        let text = format!("stat {device} {inode} {size} {mtime:?} {ctime:?} {offset} {len} {path}");
        Digest::of(text.as_bytes()).hex()
    }
}

impl Store {
    /// What this file became, when it is certainly the same and its layer is still there.
    pub(crate) fn known(&self, identity: &Identity, weight: &WeightFile<'_>) -> Option<Known> {
        if let Some(digest) = weight.digest {
            return self.intact_record(&content_key(weight.path, digest)).filter(|known| known.size == weight.size);
        }
        identity.trusted.then(|| self.intact_record(&identity.key(weight))).flatten()
    }

    /// Where the bytes of the content `digest` are, when they were packed before under the name `path`: the file that
    /// holds them, their offset and their number. Then the file itself need not be here.
    pub fn packed_before(&self, path: &str, digest: Digest) -> Option<(PathBuf, u64, u64)> {
        let known = self.intact_record(&content_key(path, digest))?;
        Some((self.blob_path(known.layer), hone_image::tar::WEIGHT_OFFSET, known.size))
    }

    /// Whether a file of this size was packed under this name before: then its bytes may be known.
    pub(crate) fn candidates(&self, weight: &WeightFile<'_>) -> Result<bool, StoreError> {
        Ok(self.cache(&size_key(weight.path, weight.size)).exists())
    }

    /// Remembers what a file became. By its times only when it had settled before it was read.
    pub(crate) fn remember(
        &self,
        identity: &Identity,
        weight: &WeightFile<'_>,
        known: &Known,
        began: i64,
    ) -> Result<(), StoreError> {
        let write = |key: String| self.note(&key, known);
        if identity.settled(began) {
            write(identity.key(weight))?;
        }
        write(content_key(weight.path, known.file))?;
        write(size_key(weight.path, weight.size))
    }

    fn note(&self, key: &str, known: &Known) -> Result<(), StoreError> {
        let path = self.cache(key);
        let bytes =
            serde_json::to_vec(known).map_err(|e| StoreError::Record { path: path.clone(), why: e.to_string() })?;
        // Not synced: a record that a power cut takes, or leaves half written, is one that does not parse.
        let replace = || -> io::Result<()> {
            let mut file = files::temporary(&self.tmp())?;
            io::Write::write_all(&mut file, &bytes)?;
            file.persist(&path).map(drop).map_err(|e| e.error)
        };
        replace().map_err(StoreError::at("write", &path))
    }

    /// A record whose layer is still what it was.
    fn intact_record(&self, key: &str) -> Option<Known> {
        self.record(key).filter(|known| self.intact(known.layer, known.stored))
    }

    fn record(&self, key: &str) -> Option<Known> {
        let bytes = files::read(&self.cache(key)).ok()??;
        let known: Known = serde_json::from_slice(&bytes).ok()?;
        self.has(known.layer, known.stored).then_some(known)
    }

    fn cache(&self, key: &str) -> PathBuf {
        self.root.join("cache").join(format!("{key}.json"))
    }

    /// Removes records whose layer or blob is gone.
    pub(crate) fn sweep_cache(&self) -> Result<(), StoreError> {
        self.sweep_states()?;
        for name in files::names(&self.root.join("cache"))?.iter().filter(|name| !name.ends_with(intact::ENDING)) {
            let key = name.trim_end_matches(".json");
            if self.record(key).is_none() {
                files::remove(&self.root.join("cache").join(name))?;
            }
        }
        Ok(())
    }
}

fn content_key(path: &str, digest: Digest) -> String {
    Digest::of(format!("content {digest} {path}").as_bytes()).hex()
}

fn size_key(path: &str, size: u64) -> String {
    Digest::of(format!("size {size} {path}").as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(mtime: i64, ctime: i64) -> Identity {
        Identity { device: 1, inode: 2, size: 3, mtime: (mtime, 0), ctime: (ctime, 0), trusted: true }
    }

    #[test]
    fn a_racy_time_is_never_trusted() {
        assert!(identity(100, 100).settled(103));
        assert!(!identity(100, 100).settled(102), "the same two seconds");
        assert!(!identity(0, 100).settled(101), "mtime was set back, ctime tells");
        assert!(!identity(500, 100).settled(200), "a time to come");
        assert!(!Identity { trusted: false, ..identity(0, 0) }.settled(1000), "a file system of somebody else");
    }

    #[test]
    fn every_part_of_an_identity_and_the_name_make_the_key() {
        let weight = WeightFile { path: "m/w", source: "x".as_ref(), offset: 0, size: 3, digest: None };
        let base = identity(1, 1);
        let others = [
            (Identity { device: 9, ..base.clone() }, weight),
            (Identity { inode: 9, ..base.clone() }, weight),
            (Identity { size: 9, ..base.clone() }, weight),
            (identity(9, 1), weight),
            (identity(1, 9), weight),
            (base.clone(), WeightFile { path: "m/v", ..weight }),
            (base.clone(), WeightFile { offset: 1, ..weight }),
            (base.clone(), WeightFile { size: 2, ..weight }),
        ];
        for (other, weight_of) in others {
            assert_ne!(other.key(&weight_of), base.key(&weight), "{other:?} {weight_of:?}");
        }
    }
}
