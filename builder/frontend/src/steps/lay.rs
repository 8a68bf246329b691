//! `lay`: adds a layer's files to an image, as `hone build` packs them: owner 0:0, modes 0644 and 0755, times 0.
//!
//! The directories above a file are part of BuildKit's layer, with their times; so that the layer is the same from build
//! to build and on every platform, they are settled after the file is in.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::tree::zero_times;
use super::{StepError, document};
use crate::exchange::{LAID, Laid};

/// Adds to the files in `image` what `request` lists.
pub fn lay(request: &Path, image: &Path) -> Result<(), StepError> {
    let laid: Laid = document(&request.join(LAID))?;
    for dir in &laid.dirs {
        let path = image.join(dir);
        make_dir(&path).map_err(StepError::at("make directory", &path))?;
    }
    for file in &laid.files {
        let path = image.join(&file.path);
        copy(Path::new(&file.from), &path).map_err(StepError::at("write", &path))?;
        settle(&path, 0o644)?;
    }
    laid.dirs.iter().try_for_each(|dir| settle(&image.join(dir), 0o755))
}

/// A link in the trainer's image would lead elsewhere.
fn make_dir(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::other("the trainer's image has something else there")),
        Err(_) => fs::create_dir(path),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_file(to)?;
    }
    io::copy(&mut hone_files::open_regular(from)?, &mut fs::File::create(to)?).map(drop)
}

fn settle(path: &Path, mode: u32) -> Result<(), StepError> {
    let settled = chown(path, Some(0), Some(0))
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .and_then(|()| zero_times(path));
    settled.map_err(StepError::at("set owner, mode and times of", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_in_the_image_are_not_followed() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name);
        symlink("/etc", at("hone")).expect("link");
        assert!(make_dir(&at("hone")).is_err());
        assert!(make_dir(&at("models")).is_ok());
        assert!(make_dir(&at("models")).is_ok());
        fs::write(at("kept"), b"kept").expect("write");
        fs::write(at("new"), b"new").expect("write");
        symlink("kept", at("link")).expect("link");
        copy(&at("new"), &at("link")).expect("copy");
        assert_eq!(fs::read(at("kept")).expect("read"), b"kept");
        assert_eq!(fs::read(at("link")).expect("read"), b"new");
    }
}
