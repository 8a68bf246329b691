//! podman: a drop-in of Hone's own that names a launcher, and the launcher.
//!
//! podman takes only paths for a runtime, no arguments, so ROOT/libexec/hone-podman adds them. Where CONTAINERS_CONF names a
//! file podman reads no drop-ins (containers-common, containers.conf(5)): then that file gets a line.

use std::path::{Path, PathBuf};

use super::record::Record;
use super::{Install, Target, files, toml};
use crate::error::Error;

const ENGINE: &str = "podman";
/// The first line of the drop-in: by it Hone knows its own file.
const MARK: &str = "# Written by `hone install podman`; `hone uninstall podman` removes it.";

pub(super) fn install(install: &Install, last: Option<&Path>) -> Result<bool, Error> {
    refuse_other(last)?;
    let launcher = launcher(install);
    let before = files::read(install.config())?;
    ours(install, before.as_deref())?;
    let script = format!(
        "#!/bin/sh\nexec {} --hone-root {} --hone-engine podman \"$@\"\n",
        shell(&install.runtime.to_string_lossy()),
        shell(&install.root.to_string_lossy()),
    );
    let value = format!("[{}]", serde_json::Value::from(launcher.to_string_lossy()));
    let text = match before.as_deref().filter(|text| is_others(text)) {
        None => format!("{MARK}\n[engine.runtimes]\nhone = {value}\n"),
        Some(text) => {
            toml::add(text, &value).map_err(|reason| Error::Config { path: install.config().to_owned(), reason })?
        }
    };
    let changed = files::read(&launcher)?.as_deref() != Some(&script) || before.as_deref() != Some(&text);
    if changed {
        Record::write(install, ENGINE, before, &text, std::slice::from_ref(&launcher))?;
        files::write(&launcher, &script, 0o755)?;
        files::write(install.config(), &text, 0o644)?;
    }
    Ok(changed)
}

pub(super) fn uninstall(install: &Install) -> Result<bool, Error> {
    let now = files::read(install.config())?;
    ours(install, now.as_deref())?;
    let record = Record::read(install, ENGINE)?;
    let left = match (&record, &now) {
        (Some(Record { before, after, .. }), Some(now)) if after == now => before.clone(),
        // Changed since, or nobody knows what was there: what others wrote stays.
        (_, Some(now)) if is_others(now) => Some(toml::remove(now)),
        _ => None,
    };
    let changed = now.is_some() && now != left;
    match left {
        Some(text) if changed => files::write(install.config(), &text, 0o644)?,
        None if changed => files::remove(install.config())?,
        _ => {}
    }
    files::remove(&launcher(install))?;
    Record::forget(record, install, ENGINE)?;
    Ok(changed)
}

/// Refuses a drop-in that somebody else has written. A file that podman reads alone is the user's, and gets a line.
fn ours(install: &Install, text: Option<&str>) -> Result<(), Error> {
    let alone = matches!(&install.target, Target::Podman { alone: Some(_), .. }) && install.config.is_none();
    if !alone && text.is_some_and(is_others) {
        let reason = "not written by hone; move it away or name another file with --config".to_owned();
        return Err(Error::Config { path: install.config().to_owned(), reason });
    }
    Ok(())
}

fn is_others(text: &str) -> bool {
    !text.trim().is_empty() && !text.starts_with(MARK)
}

/// Refuses to register what podman would not take: of a runtime that is there twice it takes the last.
fn refuse_other(last: Option<&Path>) -> Result<(), Error> {
    let Some(path) = last else { return Ok(()) };
    if files::read(path)?.is_some_and(|text| toml::has_other(&text)) {
        let reason = "CONTAINERS_CONF_OVERRIDE names it, and podman would take its own runtime hone".to_owned();
        return Err(Error::Config { path: path.to_owned(), reason });
    }
    Ok(())
}

fn launcher(install: &Install) -> PathBuf {
    install.root.join("libexec/hone-podman")
}

/// `text` as one word of sh.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn at(dir: &tempfile::TempDir, root: &str) -> Install {
        Install {
            target: Target::Podman { alone: None, last: None },
            root: dir.path().join(root),
            runtime: "/bin/echo".into(),
            config: Some(dir.path().join("etc/50-hone.conf")),
        }
    }

    #[test]
    fn the_launcher_adds_the_arguments_whatever_the_root_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let install = at(&dir, "it's a root");
        assert!(install.install().unwrap().changed);
        assert!(!install.install().unwrap().changed);
        let out = Command::new(launcher(&install)).args(["state", "x y"]).output().unwrap();
        let want = format!("--hone-root {} --hone-engine podman state x y\n", install.root.display());
        assert_eq!(String::from_utf8(out.stdout).unwrap(), want);
        assert!(install.uninstall().unwrap().changed);
        assert!(!install.config().exists() && !launcher(&install).exists());
        assert!(!install.uninstall().unwrap().changed);
    }

    #[test]
    fn somebody_elses_drop_in_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let install = at(&dir, "root");
        fs::create_dir_all(install.config().parent().unwrap()).unwrap();
        fs::write(install.config(), "[engine]\n").unwrap();
        assert!(install.install().unwrap_err().to_string().contains("not written by hone"));
        assert!(install.uninstall().is_err());
        assert_eq!(fs::read_to_string(install.config()).unwrap(), "[engine]\n");
    }

    #[test]
    fn what_install_made_is_gone_whatever_the_path_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let mut install = at(&dir, "new/root");
        install.install().unwrap();
        std::os::unix::fs::symlink("etc", dir.path().join("link")).unwrap();
        install.config = Some(dir.path().join("new/../link/50-hone.conf"));
        install.root = dir.path().join("etc/../new/root");
        assert!(install.uninstall().unwrap().changed);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["link"]);
        // What was there is not taken for Hone's.
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::create_dir_all(dir.path().join("new/root")).unwrap();
        install.install().unwrap();
        install.uninstall().unwrap();
        assert!(dir.path().join("etc").exists() && dir.path().join("new/root").exists());
    }

    #[test]
    fn the_file_that_podman_reads_alone_gets_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("mine.conf");
        let text = "[engine]\nruntime = \"crun\"\n\n[engine.runtimes]\ncrun = [\"/usr/bin/crun\"]\n";
        let alone = Target::Podman { alone: Some(conf.clone()), last: None };
        let install = Install { target: alone, config: None, ..at(&dir, "root") };
        for before in [Some(text), None, Some("")] {
            if let Some(text) = before {
                fs::write(&conf, text).unwrap();
            }
            let done = install.install().unwrap();
            assert!(done.changed && done.config == conf && done.next.contains("CONTAINERS_CONF"), "{done:?}");
            let with = fs::read_to_string(&conf).unwrap();
            assert!(with.contains("hone = [") && with.contains(&launcher(&install).display().to_string()), "{with}");
            assert!(!install.install().unwrap().changed);
            assert!(install.uninstall().unwrap().changed);
            assert_eq!(fs::read_to_string(&conf).ok().as_deref(), before);
            let _ = fs::remove_file(&conf);
        }
        // Changed meanwhile: only the line goes.
        fs::write(&conf, text).unwrap();
        install.install().unwrap();
        let with = fs::read_to_string(&conf).unwrap();
        fs::write(&conf, format!("# mine\n{with}")).unwrap();
        install.uninstall().unwrap();
        assert_eq!(fs::read_to_string(&conf).unwrap(), format!("# mine\n{text}"));
        // A runtime of this name that comes last, or is there already, is told.
        let last = dir.path().join("last.conf");
        fs::write(&last, "[engine.runtimes]\nhone = [\"/other\"]\n").unwrap();
        let over = Install { target: Target::Podman { alone: None, last: Some(last.clone()) }, ..at(&dir, "root") };
        assert!(over.install().unwrap_err().to_string().contains("CONTAINERS_CONF_OVERRIDE names it"));
        let taken =
            Install { target: Target::Podman { alone: Some(last), last: None }, config: None, ..at(&dir, "root") };
        assert!(taken.install().unwrap_err().to_string().contains("has a runtime hone already"));
    }
}
