//! Finding and reading the Honefile.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use hone_files::open_regular;
use hone_image::oci::Platform;
use hone_plan::{BuildPlan, MAX_HONEFILE};

use crate::error::{BuildError, io_at};

/// What a Honefile is called in its directory.
const NAME: &str = "Honefile";
/// Bytes that are read of it: in UTF-16 two a character, and one more than is allowed, so that the parser sees what is too
/// long.
const MOST: u64 = 2 * (MAX_HONEFILE as u64 + 2);

/// The plan, and the directory that its paths are relative to. It is for these platforms, each once, where there are any,
/// whatever the file says.
pub fn read(path: &Path, platforms: &[Platform]) -> Result<(PathBuf, BuildPlan), BuildError> {
    let (file, inside) = if path.is_dir() { (path.join(NAME), true) } else { (path.to_owned(), false) };
    let reading = || io_at(format!("read Honefile {}", file.display()));
    // What is in a directory may be anybody's, and nobody waits for its other end; a path that was given may be a pipe.
    let opened = if inside { open_regular(&file) } else { File::open(&file) };
    let mut bytes = Vec::new();
    opened.map_err(reading())?.take(MOST).read_to_end(&mut bytes).map_err(reading())?;
    let shown = file.display().to_string();
    let mut plan = hone_plan::parse(&shown, &hone_plan::text(&shown, &bytes)?)?;
    if !platforms.is_empty() {
        plan.platforms.clear();
    }
    for platform in platforms {
        if !plan.platforms.contains(platform) {
            plan.platforms.push(platform.clone());
        }
    }
    let dir = file.parent().map(Path::to_owned).unwrap_or_default();
    Ok((dir, plan))
}
