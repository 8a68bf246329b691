//! What install found and left: ROOT/install/ENGINE.json, by which uninstall gives back exactly that. It is a list, because
//! an engine may have several configuration files, of which each is told and given back by itself.

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
    /// Those of all files. A list that cannot be read is as good as none.
    fn all(install: &Install, engine: &str) -> Result<Vec<Self>, Error> {
        let text = files::read(&path(install, engine))?.unwrap_or_default();
        // It was one record before it was a list.
        let one = || serde_json::from_str(&text).map(|one| vec![one]);
        Ok(serde_json::from_str(&text).or_else(|_| one()).unwrap_or_default())
    }

    fn is_of(&self, install: &Install) -> bool {
        files::canonical(&self.config) == files::canonical(install.config())
    }

    /// The record of this configuration file, however its path is spelled.
    pub(super) fn read(install: &Install, engine: &str) -> Result<Option<Self>, Error> {
        Ok(Self::all(install, engine)?.into_iter().find(|record| record.is_of(install)))
    }

    /// The configuration files that there are records of.
    pub(super) fn configs(install: &Install, engine: &str) -> Result<Vec<PathBuf>, Error> {
        Ok(Self::all(install, engine)?.into_iter().map(|record| record.config).collect())
    }

    /// The other configuration files that there are records of.
    pub(super) fn others(install: &Install, engine: &str) -> Result<Vec<PathBuf>, Error> {
        let others = Self::all(install, engine)?.into_iter().filter(|record| !record.is_of(install));
        Ok(others.map(|record| record.config).collect())
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
        let (earlier, mut all): (Vec<_>, Vec<_>) =
            Self::all(install, engine)?.into_iter().partition(|record| record.is_of(install));
        let earlier = earlier.into_iter().next();
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
        all.push(Self { config: files::canonical(install.config()), before, after: after.to_owned(), made });
        files::write(&path, &serde_json::json!(all).to_string(), 0o600)
    }

    /// Removes it, and the directories that were made and are empty now. Those of other files stay, as long as the files
    /// are there.
    pub(super) fn forget(record: Option<Self>, install: &Install, engine: &str) -> Result<(), Error> {
        let path = path(install, engine);
        let (mut rest, gone): (Vec<_>, Vec<_>) =
            Self::all(install, engine)?.into_iter().partition(|other| !other.is_of(install) && other.config.exists());
        let mut made: Vec<_> = gone.into_iter().chain(record).flat_map(|record| record.made).collect();
        made.sort();
        made.dedup();
        match rest.last_mut() {
            None => files::remove(&path)?,
            Some(heir) => {
                // What is in use still goes with the last.
                heir.made.extend(made.iter().filter(|dir| dir.exists()).cloned());
                heir.made.sort();
                heir.made.dedup();
                files::write(&path, &serde_json::json!(rest).to_string(), 0o600)?;
            }
        }
        // Of Hone's own name, whoever made them.
        let own = [install.root.join("install"), install.root.join("libexec")];
        files::remove_empty(own.iter())?;
        files::remove_empty(made.iter())
    }
}
