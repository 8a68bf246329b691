//! Weight files: packed in one pass, shared with the source's blocks where the file system can, and not read again when
//! nothing changed.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use hone_contract::Digest;
use hone_files::open_regular;
use hone_image::tar::{END, TarError, WEIGHT_OFFSET, padding, weight_layer_len, weight_prefix};
use hone_image::{Layer, LayerKind, media};
use rustix::fs::{FallocateFlags, copy_file_range, fallocate, fstat, fstatfs};

use crate::cache::{Identity, Known};
use crate::pipeline::{Frame, Passed, pass};
use crate::weight_reader::Source;
use crate::{BlobWriter, Ingest, StoreError};

/// File systems that share blocks between files (statfs(2), f_type): btrfs, XFS, bcachefs.
const SHARING: [u64; 3] = [0x9123_683e, 0x5846_5342, 0xca45_1a4e];

/// A weight file on its way in.
#[derive(Debug, Clone, Copy)]
pub struct WeightFile<'a> {
    /// Its path in the image.
    pub path: &'a str,
    /// The file that holds its bytes.
    pub source: &'a Path,
    /// Where they begin in it.
    pub offset: u64,
    /// Their number.
    pub size: u64,
    /// Their sha256, where it is known: bytes that are not those are refused.
    pub digest: Option<Digest>,
}

/// A weight file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedWeight {
    /// Its layer.
    pub layer: Layer,
    /// sha256 of the file itself.
    pub file: Digest,
    /// Its size.
    pub size: u64,
    /// Whether the store had it: then the file was not read, or only hashed.
    pub known: bool,
}

impl Ingest<'_> {
    /// Packs a weight file as the layer with the one entry `path`: one pass, constant memory. A file that was packed
    /// before is recognised: by device, inode, size and times where those can be trusted, else by its content.
    /// `seen` is told the number of bytes done after each step.
    ///
    /// # Errors
    /// When the file ends early or changes, `path` is no plain path, or the disk refuses.
    pub fn weight(&self, weight: &WeightFile<'_>, seen: &dyn Fn(u64)) -> Result<PackedWeight, StoreError> {
        let opening = StoreError::at("open", weight.source);
        let file = open_regular(weight.source).map_err(opening)?;
        self.weight_of(file, weight, seen)
    }

    /// The same for a source that the caller has opened, who knows which file it means: its path is shown in errors, and
    /// not opened again.
    ///
    /// # Errors
    /// As [`Self::weight`].
    pub fn weight_of(
        &self,
        file: File,
        weight: &WeightFile<'_>,
        seen: &dyn Fn(u64),
    ) -> Result<PackedWeight, StoreError> {
        let reading = || StoreError::at("read", weight.source);
        let identity = Identity::of(&file, weight).map_err(reading())?;
        if let Some(known) = self.store.known(&identity, weight) {
            self.sync_names()?;
            seen(weight.size);
            return Ok(packed(weight, known, true));
        }
        let began = self.now()?;
        let unchanged = || match Identity::of(&file, weight).map_err(reading())? == identity {
            true => Ok(()),
            false => Err(StoreError::Changed(weight.source.to_owned())),
        };
        // Bytes of this size under this name were packed before: hashing tells whether these are they, and writes nothing.
        let hashed = match self.store.candidates(weight)? {
            true => self.hash_first(weight, &file, seen)?,
            false => None,
        };
        let (known, was_known) = match hashed {
            Some(known) => unchanged().map(|()| (known, true))?,
            None => (self.pack_file(weight, &file, &unchanged, seen)?, false),
        };
        self.store.remember(&identity, weight, &known, began)?;
        Ok(packed(weight, known, was_known))
    }

    /// The store's file system's own idea of the time: what a file that is made now carries.
    fn now(&self) -> Result<i64, StoreError> {
        let stat = fstat(self.scratch()?).map_err(|e| self.store.tmp_error()(e.into()))?;
        Ok(stat.st_mtime as i64)
    }

    /// What the file became before, if its bytes are still those.
    fn hash_first(
        &self,
        weight: &WeightFile<'_>,
        file: &File,
        seen: &dyn Fn(u64),
    ) -> Result<Option<Known>, StoreError> {
        let (prefix, pad) = (weight_prefix(weight.path, weight.size)?, padding(weight.size));
        let frame = Frame { prefix: &prefix, padding: pad };
        let source = Source::new(file, weight);
        let hashed =
            pass(&self.buffers, &source, &frame, None, seen).map_err(StoreError::at("read", weight.source))?;
        let known = self.checked(weight, &hashed)?;
        Ok(self.has_intact(known.layer, known.stored)?.then_some(known))
    }

    /// `unchanged` is asked before the layer gets its name.
    fn pack_file(
        &self,
        weight: &WeightFile<'_>,
        file: &File,
        unchanged: &dyn Fn() -> Result<(), StoreError>,
        seen: &dyn Fn(u64),
    ) -> Result<Known, StoreError> {
        let blob = self.blob()?;
        let passed = self.fill(weight, file, &blob, &share, seen)?;
        let known = self.checked(weight, &passed)?;
        unchanged()?;
        BlobWriter::finish_as(blob, known.layer, known.stored)?;
        Ok(known)
    }

    /// Writes the layer, and hashes what is in it. Blocks that are shared need no room, and are read where they are now:
    /// the source may have been written to since.
    fn fill(
        &self,
        weight: &WeightFile<'_>,
        file: &File,
        blob: &BlobWriter<'_>,
        share: &Share<'_>,
        seen: &dyn Fn(u64),
    ) -> Result<Passed, StoreError> {
        let (prefix, pad) = (weight_prefix(weight.path, weight.size)?, padding(weight.size));
        let frame = Frame { prefix: &prefix, padding: pad };
        let fill = || -> io::Result<Passed> {
            if share(file, weight, blob.file(), &frame)? {
                let shared = WeightFile { source: blob.path(), offset: WEIGHT_OFFSET, ..*weight };
                return pass(&self.buffers, &Source::new(blob.file(), &shared), &frame, None, seen);
            }
            reserve(blob.file(), weight_layer_len(weight.size))?;
            let source = Source::new(file, weight);
            pass(&self.buffers, &source, &frame, Some((blob.file(), blob.path())), seen)
        };
        fill().map_err(StoreError::at("pack", weight.path.as_ref()))
    }

    fn checked(&self, weight: &WeightFile<'_>, passed: &Passed) -> Result<Known, StoreError> {
        if passed.size != weight.size {
            return Err(TarError::Size { path: weight.path.to_owned(), got: passed.size, want: weight.size }.into());
        }
        match weight.digest {
            Some(want) if want != passed.file => {
                let (got, want) = (passed.file.to_string(), want.to_string());
                Err(StoreError::Content { path: weight.source.to_owned(), got, want })
            }
            _ => Ok(Known {
                file: passed.file,
                size: passed.size,
                layer: passed.tar,
                stored: weight_layer_len(weight.size),
            }),
        }
    }
}

fn packed(weight: &WeightFile<'_>, known: Known, was_known: bool) -> PackedWeight {
    let layer = Layer::tar(LayerKind::Weight, known.layer, known.stored)
        .annotated(media::WEIGHT_PATH, &format!("/{}", weight.path))
        .annotated(media::FILE_DIGEST, &known.file.to_string())
        .annotated(media::FILE_SIZE, &weight.size.to_string());
    PackedWeight { layer, file: known.file, size: weight.size, known: was_known }
}

/// Claims the space at once: a full disk is told before the first byte is read.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, len) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a layer of blocks that another file has, too, or says that it cannot.
type Share<'s> = dyn Fn(&File, &WeightFile<'_>, &File, &Frame<'_>) -> io::Result<bool> + 's;

/// Makes the layer out of the source's own blocks, where the file system can; `false` where it cannot, and nothing was
/// written. The data begins at a multiple of every usual block size for this ([`WEIGHT_OFFSET`]).
fn share(source: &File, weight: &WeightFile<'_>, out: &File, frame: &Frame<'_>) -> io::Result<bool> {
    let (from, to) = (fstat(source)?, fstat(out)?);
    let sharing = SHARING.contains(&(fstatfs(out)?.f_type as u64));
    if !sharing || from.st_dev != to.st_dev || !weight.offset.is_multiple_of(WEIGHT_OFFSET) || weight.size == 0 {
        return Ok(false);
    }
    let (mut read_at, mut write_at) = (weight.offset, WEIGHT_OFFSET);
    let end = weight.offset + weight.size;
    while read_at < end {
        let want = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        match copy_file_range(source, Some(&mut read_at), out, Some(&mut write_at), want) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => {
                out.set_len(0)?;
                return Ok(false);
            }
        }
    }
    let mut out = out;
    out.seek(SeekFrom::Start(0))?;
    out.write_all(frame.prefix)?;
    out.seek(SeekFrom::Start(write_at))?;
    out.write_all(&[frame.padding, &END].concat())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::empty_store as store;
    use std::io::Read as _;

    fn weight<'a>(source: &'a Path, size: u64) -> WeightFile<'a> {
        WeightFile { path: "models/m/w", source, offset: 0, size, digest: None }
    }

    fn data(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 7 % 253) as u8).collect()
    }

    /// A file whose times are long past: one that the cache may trust.
    fn old(path: &Path, bytes: &[u8]) {
        std::fs::write(path, bytes).expect("write");
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::options().write(true).open(path).expect("open").set_modified(past).expect("set time");
    }

    #[test]
    fn a_weight_is_one_uncompressed_entry() {
        let (dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        for size in [0usize, 1, 512, (1 << 20) - 1, (9 << 20) + 513] {
            let (bytes, path) = (data(size), dir.path().join(size.to_string()));
            std::fs::write(&path, &bytes).expect("write");
            let last = std::sync::atomic::AtomicU64::new(0);
            let seen = |n| last.store(n, std::sync::atomic::Ordering::Relaxed);
            let packed = ingest.weight(&weight(&path, size as u64), &seen).expect("pack");
            assert_eq!(last.into_inner(), size as u64);
            assert_eq!((packed.file, packed.size), (Digest::of(&bytes), size as u64));
            assert_eq!(packed.layer.diff_id, packed.layer.descriptor.digest);
            let mut tar = Vec::new();
            store
                .open_layer(&packed.layer, &crate::Budget::of_layer(&packed.layer))
                .expect("open")
                .read_to_end(&mut tar)
                .expect("verified");
            assert_eq!(tar.len() as u64, weight_layer_len(size as u64));
            assert_eq!(tar[4096..4096 + size], bytes);
        }
    }

    #[test]
    fn a_file_that_is_not_in_memory_gives_the_same_layer() {
        let (dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        for size in [4096usize, (9 << 20) + 513] {
            let (bytes, path) = (data(size), dir.path().join(size.to_string()));
            std::fs::write(&path, &bytes).expect("write");
            let file = File::open(&path).expect("open");
            file.sync_all().expect("sync");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("drop");
            let packed = ingest.weight(&weight(&path, size as u64), &|_| {}).expect("pack");
            assert_eq!(packed.file, Digest::of(&bytes));
            store.open_blob(packed.layer.diff_id, packed.layer.descriptor.size).expect("stored");
        }
    }

    #[test]
    fn a_file_inside_another_is_packed_from_its_place() {
        let (dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let path = dir.path().join("blob");
        std::fs::write(&path, [&[9; 100][..], &data(1000), &[9; 50]].concat()).expect("write");
        let inner = WeightFile { offset: 100, ..weight(&path, 1000) };
        assert_eq!(ingest.weight(&inner, &|_| {}).expect("pack").file, Digest::of(&data(1000)));
    }

    #[test]
    fn a_file_of_another_size_or_content_than_said_is_refused() {
        let (dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let path = dir.path().join("w");
        std::fs::write(&path, b"four").expect("write");
        let error = ingest.weight(&weight(&path, 5), &|_| {}).expect_err("short");
        assert!(matches!(error, StoreError::Tar(_)), "{error}");
        let other = WeightFile { digest: Some(Digest::of(b"five")), ..weight(&path, 4) };
        assert!(matches!(ingest.weight(&other, &|_| {}), Err(StoreError::Content { .. })));
        assert!(std::fs::read_dir(store.root().join("blobs/sha256")).expect("blobs").next().is_none());
    }

    /// Puts the bytes there as a file system does that shares blocks, and lets somebody write to the source afterwards.
    fn shared_then(write: impl Fn(&Path), source: &File, weight: &WeightFile<'_>, out: &File) -> io::Result<bool> {
        let mut bytes = vec![0; weight.size as usize];
        std::os::unix::fs::FileExt::read_exact_at(source, &mut bytes, weight.offset)?;
        let prefix = weight_prefix(weight.path, weight.size).map_err(io::Error::other)?;
        let mut out = out;
        out.write_all(&[&prefix[..], &bytes, padding(weight.size), &END].concat())?;
        write(weight.source);
        Ok(true)
    }

    #[test]
    fn blocks_that_are_shared_are_hashed_as_they_are_in_the_layer() {
        let (dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let rewrite = |path: &Path| std::fs::write(path, vec![1; 10_000]).expect("rewrite");
        let leave = |_: &Path| {};
        for (what, write) in [("rewritten", &rewrite as &dyn Fn(&Path)), ("left alone", &leave)] {
            let path = dir.path().join(what);
            std::fs::write(&path, data(10_000)).expect("write");
            let (weight, file) = (weight(&path, 10_000), File::open(&path).expect("open"));
            let blob = ingest.blob().expect("blob");
            let share: &Share<'_> = &|source, weight, out, _| shared_then(write, source, weight, out);
            let passed = ingest.fill(&weight, &file, &blob, share, &|_| {}).expect("pass");
            let tar = std::fs::read(blob.path()).expect("read");
            assert_eq!((passed.tar, passed.file), (Digest::of(&tar), Digest::of(&data(10_000))), "{what}");
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_gets_no_blob() {
        let (dir, store) = store();
        let ingest = store.ingest().expect("ingest");
        let path = dir.path().join("w");
        old(&path, &data(9 << 20));
        let rewrite = |_| drop(File::options().append(true).open(&path).and_then(|mut f| f.write_all(b"x")));
        let error = ingest.weight(&weight(&path, 9 << 20), &rewrite).expect_err("changed");
        assert!(matches!(error, StoreError::Changed(_)), "{error}");
        assert!(std::fs::read_dir(store.root().join("blobs/sha256")).expect("blobs").next().is_none());
        ingest.weight(&weight(&path, 9 << 20), &|_| {}).expect("left alone");
        // Hashed first, since a file of this name and size is known: the same.
        let error = ingest.weight(&weight(&path, 9 << 20), &rewrite).expect_err("changed");
        assert!(matches!(error, StoreError::Changed(_)), "{error}");
    }

    #[test]
    fn a_settled_file_is_read_once_and_a_changed_one_again() {
        let (dir, store) = store();
        let path = dir.path().join("w");
        old(&path, b"first");
        // Its ctime is now: too young to be trusted, so the second time it is hashed, and known by content.
        let pack = || store.ingest().expect("ingest").weight(&weight(&path, 5), &|_| {}).expect("pack");
        let first = pack();
        assert!(!first.known);
        assert_eq!(pack(), PackedWeight { known: true, ..first.clone() });
        old(&path, b"other");
        let other = pack();
        assert!(!other.known);
        assert_eq!(other.file, Digest::of(b"other"));
        assert_ne!(other.layer.diff_id, first.layer.diff_id);
    }
}
