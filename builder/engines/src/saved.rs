//! An image that an engine saved into a file, as an archive.

use std::path::Path;

use crate::archive::Archive;
use crate::error::Error;
use crate::watch::Patience;

/// For a program that saves an image there: engines write beside the file first, or the file itself.
pub(crate) fn writing(file: &Path) -> Patience {
    Patience::growing(file.parent().unwrap_or(file))
}

/// Has `save` write a file in `dir`, and reads it. The file is gone with the archive, however that ends.
pub(crate) fn saved(
    reference: &str,
    dir: &Path,
    save: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<Archive, Error> {
    let failed = |source| Error::SaveIn { reference: reference.to_owned(), dir: dir.to_owned(), source };
    // A directory, because engines want to make the file themselves.
    let own = tempfile::Builder::new().prefix("hone-save-").tempdir_in(dir).map_err(failed)?;
    let path = own.path().join("image.tar");
    save(&path)?;
    let archive = Archive::at(&path).map_err(|source| Error::Saved { reference: reference.to_owned(), source });
    own.close().map_err(failed)?;
    archive
}
