//! What install found and left: ROOT/install/ENGINE.json, by which uninstall gives back exactly that.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Install, files};
use crate::error::Error;

/// One file that was changed.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    config: PathBuf,
    /// Its text; `None` when there was no such file.
    pub(super) before: Option<String>,
    pub(super) after: String,
    /// Directories that were made, outermost first.
    #[serde(default)]
    made: Vec<PathBuf>,
}

fn path(install: &Install, engine: &str) -> PathBuf {
    install.root.join("install").join(engine).with_extension("json")
}

impl Record {
    /// The record of this configuration file, however its path is spelled. One that cannot be read is as good as none.
    pub(super) fn read(install: &Install, engine: &str) -> Result<Option<Self>, Error> {
        let text = files::read(&path(install, engine))?;
        let record = text.and_then(|text| serde_json::from_str(&text).ok());
        Ok(record.filter(|r: &Self| files::canonical(&r.config) == files::canonical(install.config())))
    }

    /// Writes down, before it is done, that `before` becomes `after`, and which directories are made for that and for
    /// `others`.
    pub(super) fn write(
        install: &Install,
        engine: &str,
        before: Option<String>,
        after: &str,
        others: &[PathBuf],
    ) -> Result<(), Error> {
        let path = path(install, engine);
        let earlier = Self::read(install, engine)?;
        // A second install with other arguments must not take the first one's work for the user's.
        let before = match &earlier {
            Some(earlier) if Some(&earlier.after) == before.as_ref() => earlier.before.clone(),
            _ => before,
        };
        let mut made = earlier.map(|earlier| earlier.made).unwrap_or_default();
        let files = [path.as_path(), install.config()].into_iter().chain(others.iter().map(PathBuf::as_path));
        made.extend(files.flat_map(files::missing));
        // Outermost first, whoever needed it.
        made.sort();
        made.dedup();
        let record = Self { config: files::canonical(install.config()), before, after: after.to_owned(), made };
        files::write(&path, &serde_json::json!(record).to_string(), 0o600)
    }

    /// Removes it, and the directories that were made and are empty now. Another file's record stays.
    pub(super) fn forget(record: Option<Self>, install: &Install, engine: &str) -> Result<(), Error> {
        let path = path(install, engine);
        let is_record = |text: String| serde_json::from_str::<Self>(&text).is_ok();
        if record.is_some() || !files::read(&path)?.is_some_and(is_record) {
            files::remove(&path)?;
        }
        // Of Hone's own name, whoever made them.
        let own = [install.root.join("install"), install.root.join("libexec")];
        files::remove_empty(own.iter())?;
        files::remove_empty(record.map(|record| record.made).unwrap_or_default().iter())
    }
}
