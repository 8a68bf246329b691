//! Finding and reading the Honefile.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hone_files::open_regular;
use hone_plan::{BuildPlan, MAX_HONEFILE};

use crate::failure::{Failure, because};

/// What a Honefile is called in its directory.
const NAME: &str = "Honefile";

/// The plan, and the directory that its paths are relative to.
pub fn read(path: &Path) -> Result<(PathBuf, BuildPlan), Failure> {
    // What the user names may be a pipe; what is found beside a model may be one, too, and nobody writes into it.
    let (file, open): (PathBuf, fn(&Path) -> io::Result<File>) = match path.is_dir() {
        true => (path.join(NAME), open_regular),
        false => (path.to_owned(), |path| File::open(path)),
    };
    let reading = || because(format!("read Honefile {}", file.display()));
    let mut text = String::new();
    let limit = MAX_HONEFILE as u64 + 1;
    open(&file).map_err(reading())?.take(limit).read_to_string(&mut text).map_err(reading())?;
    let plan = hone_plan::parse(&file.display().to_string(), &text)?;
    let dir = file.parent().map(Path::to_owned).unwrap_or_default();
    Ok((dir, plan))
}
