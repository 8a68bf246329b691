//! Writing an OCI layout of one image: whole, or not at all.

use std::fs;
use std::path::Path;

use hone_store::{Ingest, Store};

use crate::failure::{Failure, because};

/// What a store has beside the layout.
const OF_STORE: [&str; 7] = ["cache", "partial", "lineages", "staging", "tmp", "lock", "ingest.lock"];

/// Writes a layout at `path` with what `fill` puts into it, beside it first; one that is there is replaced.
pub fn write_layout(path: &Path, fill: impl FnOnce(&Ingest<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let writing = || because(format!("write {}", path.display()));
    if path.exists() && !path.join("oci-layout").is_file() {
        return Err(format!("write {}: something else is there, not an OCI layout", path.display()).into());
    }
    fs::create_dir_all(parent).map_err(writing())?;
    let work = tempfile::Builder::new().prefix(".hone-layout-").tempdir_in(parent).map_err(writing())?;
    let new = work.path().join("new");
    {
        let store = Store::at(&new);
        fill(&store.ingest()?)?;
    }
    for name in OF_STORE {
        let extra = new.join(name);
        let removed = if extra.is_dir() { fs::remove_dir(&extra) } else { fs::remove_file(&extra) };
        removed.map_err(writing())?;
    }
    set_modes(&new).map_err(writing())?;
    if path.exists() {
        fs::rename(path, work.path().join("old")).map_err(writing())?;
    }
    fs::rename(&new, path).map_err(writing())
}

/// A store is private, a layout is to be given away.
fn set_modes(layout: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (name, mode) in
        [("", 0o755), ("blobs", 0o755), ("blobs/sha256", 0o755), ("index.json", 0o644), ("oci-layout", 0o644)]
    {
        fs::set_permissions(layout.join(name), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
