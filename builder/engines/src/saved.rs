//! An image that an engine saved into a file, as an archive.

use std::path::Path;

use hone_archive::Archive;

use crate::error::Error;
use crate::watch::Patience;

/// For a program that saves an image of so many bytes there, beside the file first, or into the file itself. Before it
/// begins, docker writes all layers into its own temporary directory, and podman copies them to /var/tmp: what is stored
/// is stored twice.
pub(crate) fn writing(file: &Path, size: u64) -> Patience {
    Patience::growing(file.parent().unwrap_or(file)).storing(size.saturating_mul(2))
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::command::output_within;

    #[test]
    fn an_engine_that_gathers_a_large_image_first_is_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image.tar");
        let save = |script: &str, size: u64| {
            let patience = writing(&file, size).but(Duration::from_millis(300));
            output_within(Command::new("sh").args(["-c", script]).arg(&file), patience)
        };
        let gathers = "sleep 1.5; echo layers >$0";
        save(gathers, 4 << 20).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"layers\n");
        // A small one has no reason to take as long, and a large one none to take for ever.
        assert!(save(gathers, 100).unwrap_err().is_silence());
        assert!(save("sleep 50", 1 << 20).unwrap_err().is_silence());
        assert!(writing(&file, u64::MAX).quiet() > writing(&file, 1 << 40).quiet());
    }
}
