//! What a training run came to, told to the user: the version, or why there is none and what is kept.

use std::path::{Path, PathBuf};

use hone_contract::run::{ExitRecord, Outcome};
use hone_contract::{Reference, size};
use hone_image::{Image, LayerKind};
use hone_store::Store;
use hone_store::staging::Staged;

use crate::error::RunError;
use crate::tell;

/// The code of a run whose training succeeded and whose commit did not.
const NOT_COMMITTED: u8 = 1;
const INTERRUPTED: [i32; 2] = [2, 15];

/// A training run that has ended.
pub(crate) struct Ended<'a> {
    pub store: &'a Store,
    pub image: &'a Image,
    pub run: &'a str,
    pub staging: &'a Path,
    pub commits: bool,
    pub code: u8,
}

/// Says what became of the run, and with which code to exit.
pub(crate) fn report(ended: &Ended<'_>) -> Result<u8, RunError> {
    let staged = Staged::read(ended.staging)?;
    let outcome = staged.as_ref().and_then(|staged| staged.outcome.clone());
    if let Some(reference) = committed(ended, outcome.as_ref())? {
        tell(&announce(ended, &reference)?);
        return Ok(ended.code);
    }
    if ended.code == 0 {
        let reason = match outcome {
            Some(Outcome::Refused { reason }) => reason,
            _ => format!("the commit did not finish; `hone commit {}` tries again", ended.run),
        };
        tell(&format!("not committed: {reason}"));
        if staged.is_some() {
            tell(&format!("what the trainer wrote is kept: {}", ended.staging.display()));
        }
        // What the Honefile asked for is no failure.
        return Ok(if ended.commits { NOT_COMMITTED } else { 0 });
    }
    tell(&stopped(ended, staged.and_then(|staged| staged.exit)));
    Ok(ended.code)
}

/// The version that this run became.
fn committed(ended: &Ended<'_>, outcome: Option<&Outcome>) -> Result<Option<String>, RunError> {
    if let Some(Outcome::Committed { reference, .. } | Outcome::Published { reference, .. }) = outcome {
        return Ok(Some(reference.clone()));
    }
    // The staging of a published version is gone; its record names the run.
    if outcome.is_some() || ended.code != 0 {
        return Ok(None);
    }
    Ok(ended.store.version_of_run(ended.run)?.map(|version| version.reference.to_string()))
}

fn announce(ended: &Ended<'_>, reference: &str) -> Result<String, RunError> {
    let parsed = reference.parse::<Reference>().ok();
    let version = match parsed {
        Some(parsed) => ended.store.version(&parsed)?,
        None => None,
    };
    let base = ended.image.layers().iter().filter(|layer| layer.kind != LayerKind::Adapter);
    let base = size(base.map(|layer| layer.descriptor.size).sum());
    Ok(match version {
        Some(version) => {
            format!("committed {reference} (adapter {} on a base of {base})", size(version.layer.size))
        }
        None => format!("committed {reference} (on a base of {base})"),
    })
}

fn stopped(ended: &Ended<'_>, exit: Option<ExitRecord>) -> String {
    let checkpoint = ended.staging.join("out/checkpoint");
    let interrupted = INTERRUPTED.iter().any(|signal| i32::from(ended.code) == 128 + signal);
    let why = match exit {
        Some(ExitRecord { oom: true, .. }) => "out of memory".to_owned(),
        _ if interrupted => "stopped".to_owned(),
        None => format!("the container did not run to its end (exit code {})", ended.code),
        _ => format!("the trainer exited with {}", ended.code),
    };
    match checkpoint.exists() {
        true => format!(
            "{why}; the checkpoint is in {}\nthe same command goes on from it, --fresh begins anew",
            checkpoint.display()
        ),
        false => format!("{why}; nothing was committed, what there is is kept: {}", ended.staging.display()),
    }
}

/// Removes what an earlier attempt left that would be taken for this one's.
pub(crate) fn forget_attempt(staging: &Path) -> Result<(), RunError> {
    let stale: [PathBuf; 3] = [hone_contract::run::EXIT_FILE, hone_contract::run::OUTCOME_FILE, "out/adapter"]
        .map(|name| staging.join(name));
    for path in stale {
        hone_files::remove(&path).map_err(RunError::io("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_attempt_is_forgotten_but_not_its_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["out/adapter", "out/checkpoint"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("exit.json"), "{}").unwrap();
        forget_attempt(dir.path()).unwrap();
        assert!(!dir.path().join("out/adapter").exists() && !dir.path().join("exit.json").exists());
        assert!(dir.path().join("out/checkpoint").exists());
        forget_attempt(dir.path()).unwrap();
    }
}
