//! Adding an image to an OCI layout: one name is new or stands for something else, everything else stays as it is.
//!
//! Blobs come first and are synced, then index.json is replaced by a rename: whoever reads the layout, and whoever comes
//! after a kill, finds the names from before or those from after. What a failure leaves is taken away; what a kill
//! leaves, blobs that nothing names and files called `.hone-layout-*`, is used or removed by the next writer. Nothing is
//! removed that can be somebody else's.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hone_contract::{Digest, Reference};
use hone_image::oci::{Descriptor, Index};
use hone_image::{Artifact, media};
use hone_store::{Store, Verified, store_around};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{INDEX, LayoutError, MARK, MARKED, is_marked, is_temporary, small_file};
use crate::oci_shipment::IMAGE_NAME;

/// How our own files begin that are not in their place yet.
const OURS: &str = ".hone-layout-";
/// Bytes written at a time.
const BUFFER: usize = 1 << 20;

/// A layout while an image is added to it. Dropped before [`Adding::publish`], it leaves what was there before.
pub struct Adding {
    dir: PathBuf,
    entries: Vec<Value>,
    /// The index as it was read.
    before: Option<Value>,
    /// What was made, outermost first.
    made: Vec<PathBuf>,
    /// Held while anything is written: an flock of the directory, which puts no file into it.
    _lock: File,
}

/// Refuses a place where something else is than a layout, without a change to it.
///
/// # Errors
/// When it is such a place, or cannot be read.
pub fn check(dir: &Path) -> Result<(), LayoutError> {
    let failed = || LayoutError::at("write", dir);
    let refused = |why: &str| Err(LayoutError::Refused { path: dir.to_owned(), why: why.to_owned() });
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(dir) {
            Ok(_) => refused("it is a link to nothing"),
            Err(_) => Ok(()),
        },
        Err(error) => Err(failed()(error)),
        Ok(meta) if !meta.is_dir() => refused("something else is there, not an OCI layout"),
        // In this order: the mark is the first that another writer puts there.
        Ok(_) if is_empty(dir).map_err(failed())? => Ok(()),
        Ok(_) if is_marked(dir).map_err(failed())? => index(dir).map(drop).map_err(failed()),
        Ok(_) => refused("something else is there, not an OCI layout"),
    }
}

/// Removes from a layout what a writer left that was killed; whoever holds the lock is the only one.
fn remove_left(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        match is_temporary(&entry.file_name(), OURS) {
            true if kind.is_dir() => fs::remove_dir_all(entry.path())?,
            true if kind.is_file() => fs::remove_file(entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

/// Nothing is in it, but perhaps what a writer left that was killed in its first step: a beginning of the mark.
fn is_empty(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_ours = is_temporary(&entry.file_name(), OURS) && entry.file_type()?.is_file();
        // One that is gone again was another writer's, which has got further.
        if !is_ours || !small_file(&entry.path())?.is_none_or(|bytes| MARKED.as_bytes().starts_with(&bytes)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The index of a layout, with all that others wrote into it; whatever is no index is not to be replaced by one.
fn index(dir: &Path) -> io::Result<Option<Value>> {
    let path = dir.join(INDEX);
    let bad = |why: String| io::Error::other(format!("{INDEX}: {why}"));
    if path.is_symlink() {
        return Err(bad("it is a link, which would be replaced; name the layout where it leads".to_owned()));
    }
    let Some(bytes) = small_file(&path).map_err(|e| bad(e.to_string()))? else { return Ok(None) };
    let index: Value = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    // Of a layout without an image Go's tools write null.
    let manifests = index.get("manifests").is_some_and(|manifests| manifests.is_array() || manifests.is_null());
    match index["schemaVersion"] == json!(2) && manifests {
        true => Ok(Some(index)),
        false => Err(bad("it is no index of images".to_owned())),
    }
}

impl Adding {
    /// Begins at `dir`, which is a layout, empty, or not there; waits for others that write there.
    ///
    /// # Errors
    /// When something else is there, or the disk refuses.
    pub fn at(dir: &Path) -> Result<Self, LayoutError> {
        check(dir)?;
        let mut made = Vec::new();
        match Self::begin(dir, &mut made) {
            Ok((lock, before)) => {
                let entries = before.as_ref().and_then(|index| index["manifests"].as_array()).cloned();
                let entries = entries.unwrap_or_default();
                Ok(Self { dir: dir.to_owned(), entries, before, made, _lock: lock })
            }
            Err(error) => {
                undo(&made);
                Err(error)
            }
        }
    }

    fn begin(dir: &Path, made: &mut Vec<PathBuf>) -> Result<(File, Option<Value>), LayoutError> {
        let failed = || LayoutError::at("write", dir);
        let lock = lock(dir, made).map_err(failed())?;
        // Between the check and the lock somebody else may have been here.
        check(dir)?;
        prepare(dir, made).map_err(failed())?;
        if let Some(root) = store_around(&dir.join("blobs/sha256")) {
            let why = format!("its blobs are in the store {}", root.display());
            return Err(LayoutError::Refused { path: dir.to_owned(), why });
        }
        Ok((lock, index(dir).map_err(failed())?))
    }

    /// A directory on the layout's own disk, which goes with its handle.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn scratch(&self) -> Result<tempfile::TempDir, LayoutError> {
        let scratch = tempfile::Builder::new().prefix(OURS).tempdir_in(&self.dir);
        scratch.map_err(LayoutError::at("make temporary directory in", &self.dir))
    }

    /// Takes a blob over, verified.
    ///
    /// # Errors
    /// When it is not there, not what its digest says, or the disk refuses.
    pub fn take(&mut self, blob: &Descriptor, from: &Store) -> Result<(), LayoutError> {
        if self.holds(blob.digest, blob.size) {
            return Ok(());
        }
        let reader = from.open_blob(blob.digest, blob.size)?;
        self.write(blob.digest, reader)
    }

    /// Stores a document.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), LayoutError> {
        let digest = Digest::of(bytes);
        if self.holds(digest, bytes.len() as u64) {
            return Ok(());
        }
        self.write(digest, bytes)
    }

    fn blob(&self, digest: Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is there with these very bytes: a layout has been through many hands.
    fn holds(&self, digest: Digest, size: u64) -> bool {
        let path = self.blob(digest);
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == size) {
            return false;
        }
        let read = |file| {
            io::copy(
                &mut Verified::new(io::BufReader::with_capacity(BUFFER, file), digest, Some(size)),
                &mut io::sink(),
            )
        };
        File::open(&path).and_then(read).is_ok()
    }

    fn write(&mut self, digest: Digest, mut reader: impl Read) -> Result<(), LayoutError> {
        let path = self.blob(digest);
        let mut write = || -> io::Result<()> {
            let mut file = BufWriter::with_capacity(BUFFER, temporary(&self.dir)?);
            io::copy(&mut reader, &mut file)?;
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            if fs::symlink_metadata(&path).is_err() {
                self.made.push(path.clone());
            }
            place(file, &path, 0o444)
        };
        write().map_err(|source| LayoutError::Blob { digest, source })
    }

    /// Points a name of the layout at `descriptor`. `whole` is the image's name where the layout's says less.
    pub fn name(&mut self, name: &str, descriptor: &Descriptor, whole: Option<&Reference>) {
        let mut entry = descriptor.clone();
        entry.annotations.insert(media::REF_NAME.to_owned(), name.to_owned());
        if let Some(whole) = whole {
            entry.annotations.insert(IMAGE_NAME.to_owned(), whole.canonical());
        }
        let place = self.entries.iter().position(|old| has_name(old, name)).unwrap_or(self.entries.len());
        self.entries.retain(|old| !has_name(old, name));
        self.entries.insert(place, json!(entry));
    }

    /// Takes the name of a model away that went with an image which is there no more.
    pub fn unname_model(&mut self, name: &str) {
        let stale = |old: &Value| has_name(old, name) && old["artifactType"] == json!(media::MODEL_MANIFEST);
        self.entries.retain(|old| !stale(old));
    }

    /// Adds a statement about an image, in the place of those of its kind about the same image. Its blobs are taken.
    ///
    /// # Errors
    /// As [`Self::take`] and [`Self::put`].
    pub fn state(&mut self, artifact: &Artifact, from: &Store) -> Result<(), LayoutError> {
        let manifest = artifact.manifest.value();
        for blob in &manifest.layers {
            self.take(blob, from)?;
        }
        self.put(artifact.config.bytes())?;
        self.put(artifact.manifest.bytes())?;
        let entry = json!(Descriptor { platform: None, ..artifact.descriptor() });
        let here = Store::at(&self.dir);
        let is_old = |old: &Value| {
            let unnamed = old["annotations"][media::REF_NAME].is_null();
            unnamed && old["artifactType"] == entry["artifactType"] && subject_of(&here, old) == manifest.subject
        };
        self.entries.retain(|old| !is_old(old));
        self.entries.push(entry);
        Ok(())
    }

    /// Makes the names stand for what was added: from here on a reader finds them.
    ///
    /// # Errors
    /// When the disk refuses; the layout is then as it was.
    pub fn publish(mut self) -> Result<(), LayoutError> {
        let publish = |adding: &mut Self| -> io::Result<()> {
            for dir in ["blobs/sha256", "blobs", ""] {
                sync_dir(&adding.dir.join(dir))?;
            }
            // Made directories are found after a crash when the one above them knows them.
            for dir in adding.made.iter().filter(|path| path.is_dir()) {
                sync_dir(parent(dir))?;
            }
            let mut index = adding.before.clone().unwrap_or_else(|| json!(Index::new(Vec::new())));
            index["manifests"] = adding.entries.drain(..).collect();
            if adding.before.as_ref() != Some(&index) {
                let path = adding.dir.join(INDEX);
                let mode = fs::symlink_metadata(&path).map_or(0o644, |meta| meta.permissions().mode() & 0o7777);
                let mut file = temporary(&adding.dir)?;
                file.write_all(format!("{index:#}\n").as_bytes())?;
                place(file, &path, mode)?;
            }
            adding.made.clear();
            sync_dir(&adding.dir)
        };
        publish(&mut self).map_err(LayoutError::at("write", &self.dir.clone()))
    }
}

impl Drop for Adding {
    fn drop(&mut self) {
        undo(&self.made);
    }
}

/// Makes what every layout has, and removes what was left in it.
fn prepare(dir: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    if !is_marked(dir)? {
        let mark = dir.join(MARK);
        let mut file = temporary(dir)?;
        file.write_all(MARKED.as_bytes())?;
        place(file, &mark, 0o644)?;
        made.push(mark);
    }
    remove_left(dir)?;
    for name in ["blobs", "blobs/sha256"] {
        make_dir(&dir.join(name), Some(0o755), made)?;
    }
    Ok(())
}

/// Removes what was made. What cannot be removed, because somebody put something into it, stays.
fn undo(made: &[PathBuf]) {
    for path in made.iter().rev() {
        let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
    }
}

fn has_name(entry: &Value, name: &str) -> bool {
    entry["annotations"][media::REF_NAME] == name
}

/// What a statement is about; `None` when it cannot be read: then it is another one.
fn subject_of(layout: &Store, entry: &Value) -> Option<Descriptor> {
    let entry = Descriptor::deserialize(entry).ok()?;
    layout.manifest(&entry).ok()?.value().subject.clone()
}

/// The directory, made if need be, and a lock on it that is held until the file is closed.
fn lock(dir: &Path, made: &mut Vec<PathBuf>) -> io::Result<File> {
    loop {
        make_dir(dir, Some(0o755), made)?;
        let file = File::open(dir)?;
        while let Err(errno) = flock(&file, FlockOperation::LockExclusive) {
            if errno != rustix::io::Errno::INTR {
                return Err(errno.into());
            }
        }
        // Whoever held it before may have removed what it made.
        let (ours, there) = (file.metadata()?, fs::metadata(dir).ok());
        if there.is_some_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
}

/// Makes a directory, and those above it, unless they are there. A layout is to be given away, whatever the umask is.
fn make_dir(path: &Path, mode: Option<u32>, made: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    make_dir(parent(path), None, made)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        result => result?,
    }
    made.push(path.to_owned());
    mode.map_or(Ok(()), |mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file beside its place.
fn temporary(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(OURS).tempfile_in(dir)
}

/// Syncs a file and gives it its name. The name is durable once its directory is synced.
fn place(file: NamedTempFile, path: &Path, mode: u32) -> io::Result<()> {
    file.as_file().set_permissions(PermissionsExt::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
