//! Blobs: written once, under the digest their bytes earned; read bounded, and verified to the end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use hone_contract::{Digest, Hashing};
use hone_files::open_regular;
use hone_image::oci::Descriptor;
use tempfile::NamedTempFile;

use crate::{Ingest, Store, StoreError, files, intact};

/// A blob on its way in. Dropped before [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    ingest: &'a Ingest<'a>,
    file: Hashing<NamedTempFile>,
}

impl Ingest<'_> {
    /// Begins a blob.
    ///
    /// # Errors
    /// When no file can be made.
    pub fn blob(&self) -> Result<BlobWriter<'_>, StoreError> {
        let tmp = self.store.tmp();
        let file = files::temporary(&tmp).map_err(StoreError::at("make temporary file in", &tmp))?;
        Ok(BlobWriter { ingest: self, file: Hashing::new(file) })
    }

    /// A file without a name, on the store's own disk; it goes when it is closed.
    ///
    /// # Errors
    /// When none can be made.
    pub fn scratch(&self) -> Result<File, StoreError> {
        let tmp = self.store.tmp();
        tempfile::tempfile_in(&tmp).map_err(StoreError::at("make temporary file in", &tmp))
    }

    /// A directory on the store's own disk, which goes with its handle.
    ///
    /// # Errors
    /// When none can be made.
    pub fn scratch_dir(&self) -> Result<tempfile::TempDir, StoreError> {
        let tmp = self.store.tmp();
        tempfile::tempdir_in(&tmp).map_err(StoreError::at("make temporary directory in", &tmp))
    }

    /// Stores these bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.has_intact(digest, bytes.len() as u64)? {
            return Ok(digest);
        }
        let mut writer = self.blob()?;
        let path = writer.path().to_owned();
        writer.write_all(bytes).map_err(StoreError::at("write blob", &path))?;
        Ok(writer.finish()?.0)
    }

    /// Stores several small blobs, and syncs the directory once for all of them.
    ///
    /// # Errors
    /// When they cannot be written; those that came before are stored.
    pub fn put_all(&self, all: &[&[u8]]) -> Result<(), StoreError> {
        let dir = self.store.blobs();
        let mut new = false;
        for bytes in all {
            let digest = Digest::of(bytes);
            if self.has_intact(digest, bytes.len() as u64)? {
                continue;
            }
            let path = self.store.blob_path(digest);
            let mut writer = self.blob()?;
            let write = writer.write_all(bytes).and_then(|()| self.store.publish(writer.file.into_inner(), digest));
            write.map_err(StoreError::at("write blob", &path))?;
            new = true;
        }
        if new { files::sync_dir(&dir).map_err(StoreError::at("sync", &dir)) } else { Ok(()) }
    }

    /// Takes a blob over from another store or layout, verified: what is hashed is what is written.
    ///
    /// # Errors
    /// When it is not there, is not what its name says, or the disk refuses.
    pub fn take(&self, descriptor: &Descriptor, from: &Store) -> Result<(), StoreError> {
        self.copy(descriptor, from.open_blob(descriptor.digest, descriptor.size)?)
    }

    /// Stores what `reader` gives, which must be the content that `descriptor` claims.
    ///
    /// # Errors
    /// When it is not, or cannot be written.
    pub fn copy(&self, descriptor: &Descriptor, reader: impl Read) -> Result<(), StoreError> {
        if self.has_intact(descriptor.digest, descriptor.size)? {
            return Ok(());
        }
        let mut verified = Verified::new(reader, descriptor.digest, Some(descriptor.size));
        let mut writer = self.blob()?;
        let path = writer.path().to_owned();
        let copied = io::copy(&mut verified, &mut writer);
        copied.map_err(|source| corrupt_or_io(source, descriptor.digest, "write blob", path))?;
        writer.finish().map(drop)
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobWriter<'_> {
    /// The file under its temporary name.
    pub(crate) fn file(&self) -> &File {
        self.file.inner().as_file()
    }

    /// Its temporary name.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.file.inner().path()
    }

    /// Syncs the bytes, which were written past this writer and hashed by whoever did, and gives them that name.
    pub(crate) fn finish_as(self, digest: Digest, size: u64) -> Result<(), StoreError> {
        let store = self.ingest.store;
        // What is there and not known to be good is replaced: these bytes are.
        if store.vouched(digest, size) {
            return self.ingest.sync_names();
        }
        let stored = store.publish(self.file.into_inner(), digest).and_then(|()| files::sync_dir(&store.blobs()));
        stored.map_err(StoreError::at("write blob", &store.blob_path(digest)))
    }

    /// Syncs the bytes and gives them their name: digest and size.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left then.
    pub fn finish(self) -> Result<(Digest, u64), StoreError> {
        let (digest, size) = (self.file.digest(), self.file.size());
        self.finish_as(digest, size)?;
        Ok((digest, size))
    }
}

impl Store {
    /// Syncs a file that was hashed and gives it its name. The name is durable once its directory is synced.
    fn publish(&self, file: NamedTempFile, digest: Digest) -> io::Result<()> {
        file.as_file().set_permissions(PermissionsExt::from_mode(0o444))?;
        file.as_file().sync_all()?;
        let file = file.persist(self.blob_path(digest)).map_err(|e| e.error)?;
        self.vouch(&file, digest);
        log::debug!("blob {digest} is stored");
        Ok(())
    }

    /// Gives the error of a write to a [`BlobWriter`] or a scratch file its meaning.
    pub fn tmp_error(&self) -> impl FnOnce(io::Error) -> StoreError + use<> {
        let tmp = self.tmp();
        move |source| StoreError::io("write temporary file in", &tmp, source)
    }

    /// Whether a blob of this name and size is there. Its bytes are verified when they are read; whether they need to be
    /// written anew, [`Ingest::has_intact`] says.
    pub fn has(&self, digest: Digest, size: u64) -> bool {
        std::fs::metadata(self.blob_path(digest)).is_ok_and(|meta| meta.is_file() && meta.len() == size)
    }

    /// Where a blob lies.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Opens a blob; the reader fails at the end when the bytes are not those of the digest.
    ///
    /// # Errors
    /// When it is not there or has another size.
    pub fn open_blob(&self, digest: Digest, size: u64) -> Result<Verified<File>, StoreError> {
        let path = self.blob_path(digest);
        let file = match open_regular(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::NoBlob(digest)),
            result => result.map_err(StoreError::at("open blob", &path))?,
        };
        let got = file.metadata().map_err(StoreError::at("stat blob", &path))?.len();
        if got != size {
            let (got, want) = (format!("{got} bytes"), format!("{size} bytes"));
            return Err(StoreError::Corrupt { digest, got, want });
        }
        Ok(Verified { record: Some(intact::record(self, digest)), ..Verified::new(file, digest, Some(size)) })
    }

    /// Reads a whole small blob, verified. `limit` bounds it when its size is not known beforehand.
    ///
    /// # Errors
    /// When it is absent, larger than `limit`, or not what its name says.
    pub fn read_blob(&self, digest: Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let size = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(StoreError::NoBlob(digest)),
            result => result.map_err(StoreError::at("stat blob", &path))?.len(),
        };
        if size > limit {
            let (got, want) = (format!("{size} bytes"), format!("at most {limit} bytes"));
            return Err(StoreError::Corrupt { digest, got, want });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        let read = self.open_blob(digest, size)?.read_to_end(&mut bytes);
        read.map_err(|source| corrupt_or_io(source, digest, "read blob", path))?;
        Ok(bytes)
    }
}

/// A reader that fails at its end unless it gave the bytes of `digest`, and before it gives more than their
/// number.
#[derive(Debug)]
pub struct Verified<R> {
    inner: Hashing<R>,
    digest: Digest,
    size: Option<u64>,
    /// Says that the bytes were good once; it goes when they are not.
    record: Option<PathBuf>,
}

/// What a [`Verified`] reader answers when the bytes are wrong.
#[derive(Debug, thiserror::Error)]
#[error("content {digest}: got {got}, want {want}")]
struct Mismatch {
    digest: Digest,
    got: String,
    want: String,
}

impl<R: Read> Verified<R> {
    /// Verifies `inner` against a digest, and against a size where it is known.
    pub fn new(inner: R, digest: Digest, size: Option<u64>) -> Self {
        Self { inner: Hashing::new(inner), digest, size, record: None }
    }

    fn mismatch(&self, got: String, want: String) -> io::Error {
        if let Some(record) = &self.record {
            intact::doubt(record);
        }
        io::Error::new(io::ErrorKind::InvalidData, Mismatch { digest: self.digest, got, want })
    }

    fn end(&mut self) -> io::Result<()> {
        let read = self.inner.size();
        if let Some(size) = self.size.filter(|size| *size != read) {
            return Err(self.mismatch(format!("{read} bytes"), format!("{size} bytes")));
        }
        let got = self.inner.digest();
        if got == self.digest { Ok(()) } else { Err(self.mismatch(got.to_string(), self.digest.to_string())) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buffer)?;
        if n == 0 {
            return self.end().map(|()| 0);
        }
        match self.size.filter(|size| self.inner.size() > *size) {
            Some(size) => Err(self.mismatch("more bytes".to_owned(), format!("{size} bytes"))),
            None => Ok(n),
        }
    }
}

pub(crate) fn corrupt_or_io(source: io::Error, digest: Digest, op: &'static str, path: PathBuf) -> StoreError {
    let mismatch = source.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>());
    match mismatch {
        Some(m) => StoreError::Corrupt { digest, got: m.got.clone(), want: m.want.clone() },
        None => StoreError::io(op, &path, source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::empty_store as store;

    #[test]
    fn what_is_put_is_read_back() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        for size in [0usize, 1, 511, 8192, 100_001] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let digest = ingest.put(&bytes).expect("put");
            assert_eq!(digest, Digest::of(&bytes));
            assert_eq!(ingest.put(&bytes).expect("put again"), digest);
            assert_eq!(store.read_blob(digest, 1 << 20).expect("read"), bytes);
        }
        assert_eq!(files::names(&store.tmp()).expect("tmp"), Vec::<String>::new());
    }

    #[test]
    fn an_abandoned_blob_leaves_nothing() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let mut writer = ingest.blob().expect("blob");
        writer.write_all(b"half").expect("write");
        drop(writer);
        assert!(files::names(&store.tmp()).expect("tmp").is_empty());
        assert!(files::names(&store.root.join("blobs/sha256")).expect("blobs").is_empty());
    }

    #[test]
    fn a_changed_blob_is_not_believed() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let digest = ingest.put(b"content").expect("put");
        let path = store.blob_path(digest);
        std::fs::remove_file(&path).expect("remove");
        std::fs::write(&path, b"CONTENT").expect("write");
        let error = store.read_blob(digest, 100).expect_err("corrupt");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        std::fs::write(&path, b"cont").expect("write");
        let error = store.open_blob(digest, 7).expect_err("short");
        assert!(error.to_string().contains("4 bytes, want 7 bytes"), "{error}");
    }

    #[test]
    fn a_copy_that_lies_is_refused_and_leaves_nothing() {
        let (_dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let claim = |size| Descriptor::of("x", Digest::of(b"content"), size);
        for (size, bytes) in [(7u64, &b"CONTENT"[..]), (7, b"content and more"), (7, b"con"), (3, b"content")] {
            let error = ingest.copy(&claim(size), bytes).expect_err("a lie");
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
        assert!(files::names(&store.root.join("blobs/sha256")).expect("blobs").is_empty());
        ingest.copy(&claim(7), &b"content"[..]).expect("the truth");
    }
}
