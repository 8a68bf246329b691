//! podman: a drop-in of Hone's own that names a launcher, and the launcher.
//!
//! podman takes only paths for a runtime, no arguments, so ROOT/libexec/hone-podman adds them. Where CONTAINERS_CONF names a
//! file podman reads no drop-ins (containers-common, containers.conf(5)): then that file gets a line.

use std::path::{Path, PathBuf};

use super::record::Record;
use super::{Install, Target, files, toml};
use crate::error::Error;

pub(super) const ENGINE: &str = "podman";
/// The first line of the drop-in: by it Hone knows its own file.
const MARK: &str = "# Written by `hone install podman`; `hone uninstall podman` removes it.";

pub(super) fn install(install: &Install, last: Option<&Path>) -> Result<bool, Error> {
    refuse_other(last)?;
    let launcher = launcher(install);
    let before = files::replaceable(install.config())?;
    ours(install, before.as_deref())?;
    let script = format!(
        "#!/bin/sh\nexec {} --hone-root {} --hone-engine podman \"$@\"\n",
        shell(&install.runtime.to_string_lossy()),
        shell(&install.root.to_string_lossy()),
    );
    let value = format!("[{}]", named(&launcher));
    // Its lines are marked each in a drop-in, too: whoever writes more into it makes it a file of others.
    let beside = before.as_deref().filter(|text| is_others(text));
    let text = toml::add(beside.unwrap_or(""), &value).map_err(refused(install.config()))?;
    let text = if beside.is_none() { format!("{MARK}\n{text}") } else { text };
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
    let record = Record::read(install, ENGINE)?;
    if record.is_none() {
        ours(install, now.as_deref())?;
    }
    let left = match (&record, &now) {
        (Some(Record { before, after, .. }), Some(now)) if after == now => before.clone(),
        // Changed since, or nobody knows what was there: what others wrote stays.
        (_, Some(now)) if is_others(now) => Some(toml::remove(now).map_err(refused(install.config()))?),
        _ => None,
    };
    let changed = now.is_some() && now != left;
    if let Some(text) = left.as_deref().filter(|_| changed) {
        refuse_default(install, text)?;
    }
    match left {
        Some(text) if changed => files::write(install.config(), &text, 0o644)?,
        None if changed => files::remove(install.config())?,
        _ => {}
    }
    if named_by(install)?.is_empty() {
        files::remove(&launcher(install))?;
    }
    Record::forget(record, install, ENGINE)?;
    Ok(changed)
}

/// The program that the launcher calls.
pub(super) fn registered(install: &Install) -> Result<Option<PathBuf>, Error> {
    let script = files::read(&launcher(install))?.unwrap_or_default();
    let word = script.split_once("exec '").and_then(|(_, rest)| rest.split_once("' --hone-root "));
    Ok(word.map(|(word, _)| word.replace(r"'\''", "'").into()))
}

/// Files that `hone install` has told of the launcher, and that name it still: without it podman would refuse them.
pub(super) fn named_by(install: &Install) -> Result<Vec<PathBuf>, Error> {
    let name = named(&launcher(install));
    let names = |path: &PathBuf| match files::read(path) {
        Ok(text) => text.is_some_and(|text| text.contains(&name)),
        // Nobody knows: what can be there stays of use.
        Err(_) => true,
    };
    let own = [install.config().to_owned()];
    Ok(own.into_iter().chain(Record::others(install, ENGINE)?).filter(names).collect())
}

/// A path as a string of TOML.
fn named(launcher: &Path) -> String {
    serde_json::Value::from(launcher.to_string_lossy()).to_string()
}

/// Refuses to leave what podman does not start with: a default runtime that it does not know.
fn refuse_default(install: &Install, left: &str) -> Result<(), Error> {
    let refused = refused(install.config());
    if !toml::is_default(left).map_err(&refused)? || toml::has_other(left).map_err(&refused)? {
        return Ok(());
    }
    let reason = "runtime in [engine] is hone, and podman would not start without that runtime; \
                  name another one there first, or remove the line"
        .to_owned();
    Err(refused(reason))
}

/// Refuses a drop-in that somebody else has written. A file that podman reads alone is the user's, and gets a line.
fn ours(install: &Install, text: Option<&str>) -> Result<(), Error> {
    let alone = matches!(&install.target, Target::Podman { alone: Some(_), .. }) && install.config.is_none();
    if !alone && text.is_some_and(is_others) {
        let reason = "not written by hone; move it away or name another file with --config".to_owned();
        return Err(refused(install.config())(reason));
    }
    Ok(())
}

fn is_others(text: &str) -> bool {
    !text.trim().is_empty() && !text.starts_with(MARK)
}

/// Refuses to register what podman would not take: of a runtime that is there twice it takes the last.
fn refuse_other(last: Option<&Path>) -> Result<(), Error> {
    let Some(path) = last else { return Ok(()) };
    let text = files::read(path)?.unwrap_or_default();
    if toml::has_other(&text).map_err(refused(path))? {
        let reason = "CONTAINERS_CONF_OVERRIDE names it, and podman would take its own runtime hone".to_owned();
        return Err(refused(path)(reason));
    }
    Ok(())
}

fn refused(path: &Path) -> impl Fn(String) -> Error {
    let path = path.to_owned();
    move |reason| Error::Config { path: path.clone(), reason }
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
    fn the_launcher_stays_while_another_file_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("own.conf");
        let text = "[engine]\nruntime = \"crun\"\n";
        fs::write(&conf, text).unwrap();
        let alone = Target::Podman { alone: Some(conf.clone()), last: None };
        let own = Install { target: alone, config: None, ..at(&dir, "root") };
        let usual = at(&dir, "root");
        for both in [false, true] {
            own.install().unwrap();
            if both {
                usual.install().unwrap();
            }
            let done = usual.uninstall().unwrap();
            assert_eq!(done.changed, both);
            let way = format!("{} names it still: hone uninstall podman --config {0}", conf.display());
            assert!(done.next.contains(&way), "{}", done.next);
            assert!(launcher(&usual).exists() && fs::read_to_string(&conf).unwrap().contains("hone = ["));
            // As it says.
            let named = Install { config: Some(conf.clone()), ..usual.clone() };
            let done = named.uninstall().unwrap();
            assert!(done.changed && done.next.is_empty(), "{done:?}");
            assert_eq!(fs::read_to_string(&conf).unwrap(), text);
            assert!(!usual.root.exists() && !usual.config().exists());
        }
        // A file that is gone, or names it no more, keeps nothing.
        for after in [None, Some("[engine]\n")] {
            fs::write(&conf, text).unwrap();
            own.install().unwrap();
            usual.install().unwrap();
            match after {
                Some(text) => fs::write(&conf, text).unwrap(),
                None => fs::remove_file(&conf).unwrap(),
            }
            assert!(usual.uninstall().unwrap().next.is_empty());
            assert!(!launcher(&usual).exists());
            own.uninstall().unwrap();
            assert!(!usual.root.exists());
        }
    }

    #[test]
    fn more_in_a_file_that_install_made_stays_and_the_launcher_goes_with_the_last_line() {
        for mark in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let install = at(&dir, "root");
            install.install().unwrap();
            let text = fs::read_to_string(install.config()).unwrap();
            // Whoever takes the marks out makes the line his.
            let text = if mark { text } else { text.replace(" # by `hone install podman`", "") };
            fs::write(install.config(), format!("# mine\n{text}")).unwrap();
            let done = install.uninstall().unwrap();
            let now = fs::read_to_string(install.config()).unwrap();
            assert_eq!(now.contains("hone-podman"), !mark, "{now}");
            assert_eq!((launcher(&install).exists(), done.next.contains("take its line out there")), (!mark, !mark));
            assert!(now.starts_with("# mine\n"));
        }
    }

    #[test]
    fn the_default_runtime_is_not_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("own.conf");
        let alone = Target::Podman { alone: Some(conf.clone()), last: None };
        let own = Install { target: alone, config: None, ..at(&dir, "root") };
        for (line, refused) in
            [("runtime = \"hone\"", true), ("runtime='hone' # mine", true), ("runtime = \"crun\"", false)]
        {
            fs::write(&conf, "").unwrap();
            own.install().unwrap();
            let text = format!("[engine]\n{line}\n{}", fs::read_to_string(&conf).unwrap());
            fs::write(&conf, &text).unwrap();
            let done = own.uninstall();
            assert_eq!(done.is_err(), refused, "{line}");
            if let Err(error) = done {
                assert!(error.to_string().contains("runtime in [engine] is hone"), "{error}");
                assert_eq!(fs::read_to_string(&conf).unwrap(), text);
                assert!(launcher(&own).exists());
                fs::write(&conf, text.replacen(line, "", 1)).unwrap();
                own.uninstall().unwrap();
            }
            assert!(!own.root.exists());
        }
    }

    #[test]
    fn a_link_to_nothing_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let podman = at(&dir, "root");
        let docker = Install { target: Target::Docker { host: "unix:///d.sock".into() }, ..podman.clone() };
        for install in [podman, docker] {
            std::os::unix::fs::symlink("nowhere", install.config()).unwrap();
            assert!(install.install().unwrap_err().to_string().contains("it is a link to nothing"));
            assert!(install.config().is_symlink() && !install.root.exists());
            assert!(!install.uninstall().unwrap().changed, "nothing was done");
            // Behind a link to a file, that file is changed.
            fs::write(dir.path().join("etc/nowhere"), "").unwrap();
            install.install().unwrap();
            assert!(install.config().is_symlink());
            assert!(fs::read_to_string(dir.path().join("etc/nowhere")).unwrap().contains("hone"));
            install.uninstall().unwrap();
            for gone in [install.config(), &dir.path().join("etc/nowhere")] {
                fs::remove_file(gone).unwrap();
            }
        }
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
            let done = install.uninstall().unwrap();
            assert!(done.changed && done.next.is_empty(), "{done:?}");
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

    #[test]
    fn a_file_that_is_no_toml_is_refused_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("mine.conf");
        let alone = Target::Podman { alone: Some(conf.clone()), last: None };
        let own = Install { target: alone, config: None, ..at(&dir, "root") };
        let broken = "[engine]\nruntime = crun\n";
        let refused = |text: &str, done: Result<super::super::Done, Error>| {
            let said = done.unwrap_err().to_string();
            assert!(
                said.contains("mine.conf: not TOML: line 2: ") && said.ends_with("nothing was changed"),
                "{said}"
            );
            assert_eq!(fs::read_to_string(&conf).unwrap(), text);
        };
        fs::write(&conf, broken).unwrap();
        refused(broken, own.install());
        assert!(!own.root.exists());
        // Broken since: what was added stays where it is, until the file is mended.
        fs::write(&conf, "[engine]\n").unwrap();
        own.install().unwrap();
        let with = fs::read_to_string(&conf).unwrap().replacen("[engine]\n", broken, 1);
        fs::write(&conf, &with).unwrap();
        refused(&with, own.uninstall());
        assert!(launcher(&own).exists());
        fs::write(&conf, with.replacen("= crun", "= 'crun'", 1)).unwrap();
        assert!(own.uninstall().unwrap().changed);
        assert_eq!(fs::read_to_string(&conf).unwrap(), "[engine]\nruntime = 'crun'\n");
        assert!(!own.root.exists());
    }
}
