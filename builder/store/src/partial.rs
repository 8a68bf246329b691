//! Downloads that go on where they ended: `partial/<hex>`, named by the digest they must come to.
//!
//! What is there is hashed when a download goes on, so that the whole earns its digest, whoever wrote the beginning. Who
//! downloads holds an flock on the file, and changes or removes only a file that is still the one under its name: a file
//! may have become a blob between being opened and being locked. What another user left here and we may not open, they may
//! be writing: it stays, and our own is `partial/<hex>-<uid>`.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Sink, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hone_contract::{Digest, Hashing, chain, quoted_path};
use hone_image::oci::Descriptor;
use rustix::fs::fstatvfs;
use rustix::process::geteuid;

use self::held::{is_at, lock, locked, options};
use crate::garbage::Removed;
use crate::weight::reserve;
use crate::{Ingest, Store, StoreError, files};

mod held;

/// Most of a download whose size nobody knows (bytes): more than any model in one file that is run on a device.
const MOST: u64 = 256 << 30;
/// What such a download leaves free on the disk: a twentieth of it, at most so much (bytes).
const SPARED: u64 = 1 << 30;
/// How much of it is written until the disk's room is looked at again (bytes).
const STRIDE: u64 = 64 << 20;

/// Why a download cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PartialError {
    /// Another process has it.
    #[error("download {0}: somebody else is downloading it; wait for them")]
    Busy(Digest),
    /// The disk was full in its middle.
    #[error(
        "write {}: no space left; the {kept} bytes that came are kept there: free some space and run this again, it goes \
         on from them", path.display()
    )]
    Full {
        /// Where it is.
        path: PathBuf,
        /// Bytes that are there.
        kept: u64,
    },
    /// Its size is not known, and it takes more room than such a one may.
    #[error(
        "download {digest}: the server does not say its size, and it has more than {came} bytes: {why}; nothing of it is kept"
    )]
    Endless {
        /// What was to be had.
        digest: Digest,
        /// Bytes that came.
        came: u64,
        /// The bound.
        why: &'static str,
    },
}

/// A download that is being written. Dropped before [`Partial::finish`], it leaves what came, for the next attempt.
#[derive(Debug)]
pub struct Partial<'a> {
    ingest: &'a Ingest<'a>,
    path: PathBuf,
    file: File,
    came: Hashing<Sink>,
    digest: Digest,
    size: Option<u64>,
    /// Without a size: up to where the disk is known to have room, and the bound in all.
    roomy: u64,
    most: u64,
    after: After,
}

/// What is to become of the file when the handle goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Kept,
    Removed,
    /// It has another name, or none.
    Gone,
}

impl Ingest<'_> {
    /// Begins or goes on with the download of this content.
    ///
    /// # Errors
    /// When somebody else is downloading it, or the disk refuses or has no room for it.
    pub fn partial(&self, descriptor: &Descriptor) -> Result<Partial<'_>, StoreError> {
        self.partial_of(descriptor.digest, Some(descriptor.size))
    }

    /// The same where the size may not be known before.
    ///
    /// # Errors
    /// As [`Ingest::partial`].
    pub fn partial_of(&self, digest: Digest, size: Option<u64>) -> Result<Partial<'_>, StoreError> {
        let (path, mut file) = self.beginning(digest)?;
        let mut begun = || -> io::Result<Hashing<Sink>> {
            // More than there can be is no beginning of it.
            if size.is_some_and(|size| file.metadata().is_ok_and(|m| m.len() > size)) {
                file.set_len(0)?;
            }
            Hashing::all(&mut file)
        };
        let came = begun().map_err(StoreError::at("read", &path))?;
        let (roomy, most, after) = (came.size(), MOST, After::Kept);
        let mut partial = Partial { ingest: self, path, file, came, digest, size: None, roomy, most, after };
        size.map_or(Ok(()), |size| partial.announce(size))?;
        Ok(partial)
    }

    /// The file of a download, locked.
    fn beginning(&self, digest: Digest) -> Result<(PathBuf, File), StoreError> {
        let path = self.store.root.join("partial").join(digest.hex());
        let denied = match locked(&path, digest) {
            Err(denied @ StoreError::Denied { .. }) => denied,
            result => return result.map(|file| (path, file)),
        };
        let own = path.with_file_name(format!("{}-{}", digest.hex(), geteuid().as_raw()));
        match locked(&own, digest) {
            // It is not only the one file.
            Err(StoreError::Denied { .. }) => Err(denied),
            result => result.map(|file| (own, file)),
        }
    }
}

impl Partial<'_> {
    /// Bytes that are there: where to go on.
    pub fn done(&self) -> u64 {
        self.came.size()
    }

    /// Whether all of it is there, and only [`Partial::finish`] is left to do.
    pub fn is_complete(&self) -> bool {
        self.size == Some(self.done())
    }

    /// Notes the size of the whole, unless it is known, and claims the space: a full disk is told before the first byte.
    ///
    /// # Errors
    /// When there is no room; what is there is then as it was.
    pub fn announce(&mut self, size: u64) -> Result<(), StoreError> {
        if self.size.is_none() && self.done() < size {
            let fits = i64::try_from(size).map_err(|_| io::ErrorKind::StorageFull.into());
            let claimed = fits.and_then(|_| reserve(&self.file, size));
            claimed.map_err(StoreError::at("download to", &self.path))?;
        }
        self.size = self.size.or(Some(size));
        Ok(())
    }

    /// Adds what comes next.
    ///
    /// # Errors
    /// When it is more than announced, or than a download without a size may be, or the disk refuses.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let end = self.done() + bytes.len() as u64;
        match self.size {
            Some(size) if end > size => {
                let (got, want) = ("more bytes than announced".to_owned(), format!("{size} bytes"));
                return Err(StoreError::Content { path: self.path.clone(), got, want });
            }
            Some(_) => {}
            None => self.bounded(end)?,
        }
        self.file.write_all(bytes).map_err(|source| self.unwritten(source))?;
        self.came.update(bytes);
        Ok(())
    }

    /// Throws away what is there and begins anew.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let restarted = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        restarted.map_err(StoreError::at("write", &self.path))?;
        (self.came, self.roomy) = (Hashing::new(io::sink()), 0);
        Ok(())
    }

    /// Makes it a blob, if it is the content that was asked for; what is not is removed.
    ///
    /// # Errors
    /// When it is other content, too short, or the disk refuses.
    pub fn finish(mut self) -> Result<Digest, StoreError> {
        if let Some(size) = self.size.filter(|size| *size != self.done()) {
            let (got, want) = (format!("{} bytes", self.done()), format!("{size} bytes"));
            return Err(StoreError::Content { path: self.path.clone(), got, want });
        }
        let got = self.came.digest();
        if got != self.digest {
            files::remove(&self.path)?;
            self.after = After::Gone;
            let (got, want) = (got.to_string(), self.digest.to_string());
            return Err(StoreError::Content { path: self.path.clone(), got, want });
        }
        let to = self.ingest.store.blob_path(got);
        self.publish(&to).map_err(StoreError::at("write blob", &to))?;
        self.ingest.store.vouch(&self.file, got);
        Ok(got)
    }

    /// Syncs it, which may take long, and only then seals it: whoever is killed in between leaves a file to write to.
    fn publish(&mut self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        self.file.set_permissions(PermissionsExt::from_mode(0o444))?;
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        self.after = After::Gone;
        let root = &self.ingest.store.root;
        files::sync_dir(&root.join("blobs/sha256"))?;
        files::sync_dir(&root.join("partial"))
    }

    /// Whether a download of unknown size may come to `end` bytes.
    fn bounded(&mut self, end: u64) -> Result<(), StoreError> {
        if end > self.most {
            return Err(self.endless("want less, or a server that says it"));
        }
        if end <= self.roomy {
            return Ok(());
        }
        let disk = fstatvfs(&self.file).map_err(|e| StoreError::io("stat the disk of", &self.path, e.into()))?;
        // Some file systems in user space do not say how large they are; what they have not they refuse.
        let spared = (disk.f_blocks.saturating_mul(disk.f_frsize) / 20).min(SPARED);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(spared);
        let free = if disk.f_blocks == 0 { u64::MAX } else { free };
        if end - self.done() > free {
            return Err(self.endless("the disk has no room for more"));
        }
        self.roomy = self.done().saturating_add(free.min(STRIDE)).max(end);
        Ok(())
    }

    fn unwritten(&mut self, source: io::Error) -> StoreError {
        match StoreError::io("write", &self.path, source) {
            StoreError::Full { .. } if self.size.is_none() => self.endless("the disk has no room for more"),
            StoreError::Full { path, .. } => PartialError::Full { path, kept: self.done() }.into(),
            other => other,
        }
    }

    fn endless(&mut self, why: &'static str) -> StoreError {
        self.after = After::Removed;
        PartialError::Endless { digest: self.digest, came: self.done(), why }.into()
    }
}

impl Drop for Partial<'_> {
    /// What does not work here is met again by the next attempt, or by [`Store::drop_partials`].
    fn drop(&mut self) {
        match self.after {
            After::Gone => {}
            After::Kept if self.done() > 0 => drop(self.file.set_len(self.done())),
            After::Kept | After::Removed => drop(fs::remove_file(&self.path)),
        }
    }
}

impl Store {
    /// Removes the beginnings of downloads that nobody is going on with; how many, and the room that they took. What cannot
    /// be removed is noticed ([`Store::problems`]) and stays.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn drop_partials(&self) -> Result<Removed, StoreError> {
        let dir = self.root.join("partial");
        let mut removed = Removed::default();
        for name in files::names(&dir)? {
            let path = dir.join(name);
            match discard(&path) {
                Ok(Some(bytes)) => removed.add(bytes),
                Ok(None) => {}
                Err(StoreError::Denied { .. }) => {
                    let why = "it is another user's, who may be writing it, and stays; if nobody is, remove the file";
                    self.notice(quoted_path(&path).to_string(), why);
                }
                Err(error) => self.notice(quoted_path(&path).to_string(), chain(&error)),
            }
        }
        Ok(removed)
    }
}

/// Removes a file unless somebody writes it; the room that it took.
fn discard(path: &Path) -> Result<Option<u64>, StoreError> {
    let failed = || StoreError::at("remove", path);
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(failed())?,
    };
    let _lock = if meta.is_file() {
        let file = options().read(true).open(path).map_err(failed())?;
        match lock(&file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            result => result.map_err(failed())?,
        }
        if !is_at(&file, path).map_err(failed())? {
            return Ok(None);
        }
        Some(file)
    } else {
        None
    };
    files::remove(path)?;
    // Space that was claimed lies behind the end.
    Ok(Some(meta.len().max(meta.blocks() * 512)))
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;
