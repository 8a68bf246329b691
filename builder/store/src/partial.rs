//! Downloads that go on where they ended: `partial/<hex>`, named by the digest they must come to.
//!
//! What is there is hashed when a download goes on, so that the whole earns its digest, whoever wrote the beginning.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use hone_image::Digest;
use hone_image::oci::Descriptor;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::{Ingest, StoreError, files};

/// How much is hashed at a time (bytes).
const CHUNK: usize = 1 << 20;

/// A download that is being written.
#[derive(Debug)]
pub struct Partial<'a> {
    ingest: &'a Ingest<'a>,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    done: u64,
    digest: Digest,
    size: Option<u64>,
}

impl Ingest<'_> {
    /// Begins or goes on with the download of this content.
    ///
    /// # Errors
    /// When somebody else is downloading it, or the disk refuses.
    pub fn partial(&self, descriptor: &Descriptor) -> Result<Partial<'_>, StoreError> {
        self.partial_of(descriptor.digest, Some(descriptor.size))
    }

    /// The same where the size is not known before.
    ///
    /// # Errors
    /// As [`Ingest::partial`].
    pub fn partial_of(&self, digest: Digest, size: Option<u64>) -> Result<Partial<'_>, StoreError> {
        let path = self.store.root.join("partial").join(digest.hex());
        let opening = || StoreError::at("open", &path);
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(opening())?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let why = "somebody else is downloading it; wait for them".to_owned();
            return Err(StoreError::Record { path, why });
        }
        // More than there can be is no beginning of it.
        if size.is_some_and(|size| file.metadata().is_ok_and(|m| m.len() > size)) {
            file.set_len(0).map_err(opening())?;
        }
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        loop {
            let n = file.read(&mut buffer).map_err(opening())?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            done += n as u64;
        }
        Ok(Partial { ingest: self, path, file, hasher, done, digest, size })
    }
}

impl Write for Partial<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size.is_some_and(|size| self.done + bytes.len() as u64 > size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than announced"));
        }
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.done += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Partial<'_> {
    /// Bytes that are there: where to go on.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Throws away what is there and begins anew.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let mut restart = || -> io::Result<()> {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0)).map(drop)
        };
        restart().map_err(StoreError::at("write", &self.path))?;
        self.hasher = Sha256::new();
        self.done = 0;
        Ok(())
    }

    /// Makes it a blob, if it is the content that was asked for; what is not is removed.
    ///
    /// # Errors
    /// When it is other content, too short, or the disk refuses.
    pub fn finish(self) -> Result<Digest, StoreError> {
        if let Some(size) = self.size.filter(|size| *size != self.done) {
            let (got, want) = (format!("{} bytes", self.done), format!("{size} bytes"));
            return Err(StoreError::Content { path: self.path, got, want });
        }
        let got = Digest::from_sha256(self.hasher.finalize().into());
        if got != self.digest {
            files::remove(&self.path)?;
            return Err(StoreError::Content { path: self.path, got: got.to_string(), want: self.digest.to_string() });
        }
        let store = self.ingest.store;
        let (to, dir) = (store.blob_path(got), store.root.join("blobs/sha256"));
        let publish = || -> io::Result<()> {
            self.file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
            self.file.sync_all()?;
            std::fs::rename(&self.path, &to)?;
            files::sync_dir(&dir)
        };
        publish().map_err(StoreError::at("write blob", &to))?;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn a_download_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::at(dir.path());
        let ingest = store.ingest().expect("ingest");
        let wanted = Descriptor::of("x", Digest::of(b"hello world"), 11);
        let mut first = ingest.partial(&wanted).expect("begin");
        first.write_all(b"hello").expect("write");
        assert!(ingest.partial(&wanted).is_err(), "two writers");
        drop(first);
        let mut second = ingest.partial(&wanted).expect("go on");
        assert_eq!(second.done(), 5);
        assert!(second.write_all(b" world and more").is_err());
        second.write_all(b" world").expect("write");
        assert_eq!(second.finish().expect("finish"), wanted.digest);
        assert_eq!(store.read_blob(wanted.digest, 100).expect("read"), b"hello world");
    }

    #[test]
    fn other_content_is_refused_and_not_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::at(dir.path());
        let ingest = store.ingest().expect("ingest");
        let wanted = Descriptor::of("x", Digest::of(b"good"), 4);
        let mut partial = ingest.partial(&wanted).expect("begin");
        partial.write_all(b"evil").expect("write");
        assert!(matches!(partial.finish(), Err(StoreError::Content { .. })));
        assert_eq!(ingest.partial(&wanted).expect("begin again").done(), 0);
        let mut short = ingest.partial(&wanted).expect("begin");
        short.write_all(b"go").expect("write");
        assert!(short.finish().is_err());
        assert_eq!(ingest.partial(&wanted).expect("go on").done(), 2, "what is there is kept");
    }
}
