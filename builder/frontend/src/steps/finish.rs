//! `finish`: writes the job into an image's files, and makes every directory of the model and of the contract what it is
//! in an image of `hone build`: owner 0:0, mode 0755, times 0.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use hone_image::job::JOB_PATH;

use super::tree::zero_times;
use super::{StepError, document};
use crate::exchange::{DIRS, JOB};

/// Finishes the image's files in `image`.
pub fn finish(request: &Path, image: &Path) -> Result<(), StepError> {
    let dirs: Vec<String> = document(&request.join(DIRS))?;
    for dir in &dirs {
        let path = image.join(dir);
        make_dir(&path).map_err(StepError::at("make directory", &path))?;
    }
    let job = image.join(JOB_PATH.trim_start_matches('/'));
    let from = request.join(JOB);
    let bytes = fs::read(&from).map_err(StepError::at("read", &from))?;
    fs::write(&job, bytes).map_err(StepError::at("write", &job))?;
    settle(&job, 0o644)?;
    dirs.iter().try_for_each(|dir| settle(&image.join(dir), 0o755))
}

/// A link in the trainer's image would lead elsewhere.
fn make_dir(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::other("the trainer's image has something else there")),
        Err(_) => fs::create_dir(path),
    }
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

    #[test]
    fn a_link_where_a_directory_belongs_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        std::os::unix::fs::symlink("/etc", dir.path().join("hone")).expect("link");
        assert!(make_dir(&dir.path().join("hone")).is_err());
        assert!(make_dir(&dir.path().join("models")).is_ok());
        assert!(make_dir(&dir.path().join("models")).is_ok());
    }
}
