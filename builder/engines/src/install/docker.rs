//! dockerd's daemon.json: the member `runtimes.hone`, beside whatever else the user has there.
//!
//! ROOT/install/docker.json keeps the file as it was found, and as it was left. As long as nobody has changed it
//! since, uninstall puts back those very bytes; afterwards it removes the one member, and the object made for it. A
//! runtime `hone` of somebody else is refused, and so is to take away the one that is docker's default: docker would not
//! start.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::record::Record;
use super::{DOCKER_HOST, Install, files, json};
use crate::error::Error;

pub(super) const ENGINE: &str = "docker";
const RUNTIMES: &str = "runtimes";
const POINTER: &str = "/runtimes/hone";
/// By this argument Hone knows its own entry.
const MARK: &str = "--hone-root";

pub(super) fn install(install: &Install, host: &str) -> Result<bool, Error> {
    let before = files::replaceable(install.config())?;
    let value = checked(install, before.as_deref())?;
    if value.pointer(POINTER).is_some_and(|entry| !is_ours(entry)) {
        let reason =
            "it has a runtime hone already, which is not of `hone install`; give that another name".to_owned();
        return Err(refused(install, reason));
    }
    let entry = json!({
        "path": install.runtime,
        "runtimeArgs": [MARK, install.root, "--hone-engine", format!("docker={host}")],
    });
    if value.pointer(POINTER) == Some(&entry) {
        return Ok(false);
    }
    let after = json::set(before.as_deref().unwrap_or(""), &[RUNTIMES], "hone", &entry);
    let after = after.map_err(|reason| refused(install, reason))?;
    Record::write(install, ENGINE, before, &after, &[])?;
    files::write(install.config(), &after, 0o644)?;
    Ok(true)
}

pub(super) fn uninstall(install: &Install) -> Result<bool, Error> {
    let now = files::read(install.config())?;
    let value = checked(install, now.as_deref())?;
    let record = Record::read(install, ENGINE)?;
    let changed = value.pointer(POINTER).is_some_and(is_ours);
    let left = match (&record, &now) {
        (Some(Record { before, after, .. }), Some(now)) if after == now => Some(before.clone()),
        (_, Some(now)) if changed => Some(without(install, now, record.as_ref())?),
        _ => None,
    };
    if let Some(Some(text)) = &left {
        refuse_default(install, text)?;
    }
    match left {
        Some(Some(text)) => files::write(install.config(), &text, 0o644)?,
        Some(None) => files::remove(install.config())?,
        None => {}
    }
    Record::forget(record, install, ENGINE)?;
    Ok(changed)
}

/// The program that the file names as Hone's, and the daemon that it was told for.
pub(super) fn registered(install: &Install) -> Result<Option<(PathBuf, String)>, Error> {
    let value = checked(install, files::read(install.config())?.as_deref())?;
    let Some(entry) = value.pointer(POINTER).filter(|entry| is_ours(entry)) else { return Ok(None) };
    let text = |pointer| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let host = text("/runtimeArgs/3").strip_prefix("docker=").unwrap_or(DOCKER_HOST);
    Ok(Some((text("/path").into(), host.to_owned())))
}

/// Whether `hone install` wrote this runtime.
fn is_ours(entry: &Value) -> bool {
    let args = entry.get("runtimeArgs").and_then(Value::as_array);
    args.is_some_and(|args| args.iter().any(|arg| arg == MARK))
}

/// Refuses to leave what docker does not start with: a default runtime that it does not know.
fn refuse_default(install: &Install, left: &str) -> Result<(), Error> {
    let value = checked(install, Some(left))?;
    if value.get("default-runtime").is_some_and(|name| name == "hone") && value.pointer(POINTER).is_none() {
        let reason = "default-runtime is hone, and docker would not start without that runtime; \
                      name another one there first, or remove the line"
            .to_owned();
        return Err(refused(install, reason));
    }
    Ok(())
}

/// The file without the member, and without what was made for it; `None` when that is all of it.
fn without(install: &Install, now: &str, record: Option<&Record>) -> Result<Option<String>, Error> {
    let before = record.and_then(|record| record.before.as_deref());
    let had = |text: Option<&str>| checked(install, text).is_ok_and(|value| value.get(RUNTIMES).is_some());
    let empty = |value: Option<&Value>| value.and_then(Value::as_object).is_some_and(|object| object.is_empty());
    let without =
        |text: &str, path: &[&str], name| json::remove(text, path, name).map_err(|reason| refused(install, reason));
    let mut text = without(now, &[RUNTIMES], "hone")?;
    if !had(before) && empty(checked(install, Some(&text))?.get(RUNTIMES)) {
        text = without(&text, &[], RUNTIMES)?;
    }
    let made = record.is_some_and(|record| record.before.is_none());
    let nothing = empty(Some(&checked(install, Some(&text))?));
    Ok(if made && nothing { None } else { Some(text) })
}

fn refused(install: &Install, reason: String) -> Error {
    Error::Config { path: install.config().to_owned(), reason }
}

/// The file as a value; an object, or an error that says where it is not.
fn checked(install: &Install, text: Option<&str>) -> Result<Value, Error> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("{}");
    let refused = |reason: &str| refused(install, reason.to_owned());
    let value: Value = serde_json::from_str(text).map_err(|error| refused(&format!("not JSON: {error}")))?;
    if !value.is_object() {
        return Err(refused("want a JSON object"));
    }
    match value.get(RUNTIMES) {
        Some(runtimes) if !runtimes.is_object() => Err(refused("runtimes: want a JSON object")),
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::Target;
    use super::*;

    fn at(dir: &tempfile::TempDir) -> Install {
        Install {
            target: Target::Docker { host: "unix:///run/d.sock".into() },
            root: dir.path().join("root"),
            runtime: "/usr/bin/hone-runtime".into(),
            config: Some(dir.path().join("etc/daemon.json")),
        }
    }

    #[test]
    fn install_merges_is_idempotent_and_uninstall_gives_the_bytes_back() {
        let dir = tempfile::tempdir().unwrap();
        let install = at(&dir);
        let config = install.config().to_owned();
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        let text =
            "{\n    \"log-driver\": \"local\",\n    \"runtimes\": {\"crun\": {\"path\": \"/usr/bin/crun\"}}\n}";
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
        let done = install.install().unwrap();
        assert!(done.changed && done.next.contains("reload"));
        let after = fs::read_to_string(&config).unwrap();
        let value: Value = serde_json::from_str(&after).unwrap();
        assert_eq!(value["runtimes"]["hone"]["path"], "/usr/bin/hone-runtime");
        assert_eq!(value["runtimes"]["hone"]["runtimeArgs"][3], "docker=unix:///run/d.sock");
        assert_eq!(value["runtimes"]["crun"]["path"], "/usr/bin/crun");
        assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!install.install().unwrap().changed);
        assert_eq!(fs::read_to_string(&config).unwrap(), after);
        assert!(install.uninstall().unwrap().changed);
        assert_eq!(fs::read_to_string(&config).unwrap(), text);
        assert!(!install.uninstall().unwrap().changed);
    }

    #[test]
    fn a_file_that_install_made_is_gone_after_uninstall_even_when_installed_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut install = at(&dir);
        install.install().unwrap();
        install.runtime = "/opt/hone-runtime".into();
        assert!(install.install().unwrap().changed);
        install.uninstall().unwrap();
        assert!(!install.config().exists());
    }

    #[test]
    fn what_the_user_added_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let install = at(&dir);
        install.install().unwrap();
        let text = fs::read_to_string(install.config()).unwrap().replacen('{', "{\n  \"debug\": true,", 1);
        fs::write(install.config(), text).unwrap();
        install.uninstall().unwrap();
        let value: Value = serde_json::from_str(&fs::read_to_string(install.config()).unwrap()).unwrap();
        assert_eq!(value, json!({ "debug": true }));
    }

    #[test]
    fn a_file_that_docker_would_refuse_is_refused_and_left_alone() {
        for (text, reason) in [
            ("{\"a\": }", "not JSON: expected value at line 1 column 7"),
            ("{} // mine", "not JSON: trailing characters at line 1 column 4"),
            ("{\"a\": 1,}", "not JSON: trailing comma at line 1 column 9"),
            ("[]", "want a JSON object"),
            ("{\"runtimes\": []}", "runtimes: want a JSON object"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let install = at(&dir);
            fs::create_dir_all(install.config().parent().unwrap()).unwrap();
            fs::write(install.config(), text).unwrap();
            let error = install.install().unwrap_err().to_string();
            assert_eq!(error, format!("read {}: {reason}; nothing was changed", install.config().display()));
            assert_eq!(fs::read_to_string(install.config()).unwrap(), text);
            assert!(!dir.path().join("root").exists());
        }
    }

    #[test]
    fn what_install_made_is_gone_whatever_the_path_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let mut install = at(&dir);
        install.install().unwrap();
        std::os::unix::fs::symlink("etc", dir.path().join("link")).unwrap();
        install.config = Some(dir.path().join("root/../link/./daemon.json"));
        install.root = dir.path().join("etc/../root");
        assert!(install.uninstall().unwrap().changed);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["link"]);
    }

    #[test]
    fn what_was_there_before_install_stays_empty_or_not() {
        for (before, added, want) in [
            (Some("{}"), "", Some("{}")),
            (Some("{\"runtimes\": {}}"), "", Some("{\"runtimes\": {}}")),
            (Some("{\"runtimes\": {}}"), "\"debug\": true, ", Some("{\"debug\": true, \"runtimes\": {}}")),
            (None, "\"debug\": true, ", Some("{\"debug\": true}")),
            (None, " ", None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let install = at(&dir);
            for made in ["etc", "root/install"] {
                fs::create_dir_all(dir.path().join(made)).unwrap();
            }
            if let Some(text) = before {
                fs::write(install.config(), text).unwrap();
            }
            install.install().unwrap();
            let text = fs::read_to_string(install.config()).unwrap();
            fs::write(install.config(), text.replacen('{', &format!("{{{added}"), 1)).unwrap();
            install.uninstall().unwrap();
            let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let now = fs::read_to_string(install.config()).ok();
            assert_eq!(now.as_deref().map(value), want.map(value), "{before:?} {added:?}");
            assert!(dir.path().join("etc").exists() && !dir.path().join("root/install").exists());
        }
    }

    /// A configuration as a user wrote it.
    fn with(dir: &tempfile::TempDir, text: &str) -> Install {
        let install = at(dir);
        fs::create_dir_all(install.config().parent().unwrap()).unwrap();
        fs::write(install.config(), text).unwrap();
        install
    }

    #[test]
    fn the_default_runtime_is_not_taken_away() {
        for before in [None, Some("{\"runtimes\": {\"crun\": {\"path\": \"/usr/bin/crun\"}}}")] {
            for (said, key) in
                [("hone", "default-runtime"), ("hone", "default\\u002druntime"), ("runc", "default-runtime")]
            {
                let dir = tempfile::tempdir().unwrap();
                let install = before.map_or_else(|| at(&dir), |text| with(&dir, text));
                install.install().unwrap();
                let text = fs::read_to_string(install.config()).unwrap();
                let text = text.replacen('{', &format!("{{\"{key}\": \"{said}\", "), 1);
                fs::write(install.config(), &text).unwrap();
                let done = install.uninstall();
                let now = fs::read_to_string(install.config()).unwrap();
                if said == "runc" {
                    assert!(done.unwrap().changed && !now.contains("hone"), "{now}");
                    continue;
                }
                let error = done.unwrap_err().to_string();
                assert!(
                    error.contains("default-runtime is hone") && error.ends_with("nothing was changed"),
                    "{error}"
                );
                assert_eq!(now, text);
                // Once it says another one, all is as it was.
                fs::write(install.config(), text.replacen(&format!("\"{key}\": \"hone\", "), "", 1)).unwrap();
                assert!(install.uninstall().unwrap().changed);
                assert_eq!(fs::read_to_string(install.config()).ok().as_deref(), before);
            }
        }
        // It stood there before: without the record, and with it.
        for lost in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let install = with(&dir, "{\"default-runtime\": \"hone\"}");
            install.install().unwrap();
            if lost {
                fs::remove_dir_all(&install.root).unwrap();
            }
            let text = fs::read_to_string(install.config()).unwrap();
            assert!(install.uninstall().unwrap_err().to_string().contains("default-runtime is hone"));
            assert_eq!(fs::read_to_string(install.config()).unwrap(), text);
        }
    }

    #[test]
    fn a_runtime_of_somebody_else_with_this_name_stays() {
        for entry in ["{\"path\": \"/opt/mine/hone\"}", "{\"path\": \"/m\", \"runtimeArgs\": [\"--root\"]}", "null"] {
            let dir = tempfile::tempdir().unwrap();
            let text = format!("{{\"runtimes\": {{\"hone\": {entry}}}}}");
            let install = with(&dir, &text);
            let error = install.install().unwrap_err().to_string();
            assert!(error.contains("it has a runtime hone already"), "{error}");
            assert!(!install.uninstall().unwrap().changed);
            assert_eq!(fs::read_to_string(install.config()).unwrap(), text);
            assert!(!install.root.exists());
        }
        // One that took the place of Hone's since is not Hone's either.
        let dir = tempfile::tempdir().unwrap();
        let install = at(&dir);
        install.install().unwrap();
        let text = "{\"runtimes\": {\"hone\": {\"path\": \"/opt/mine/hone\"}}}";
        fs::write(install.config(), text).unwrap();
        assert!(!install.uninstall().unwrap().changed);
        assert_eq!(fs::read_to_string(install.config()).unwrap(), text);
    }

    #[test]
    fn a_second_file_is_told_and_each_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let first = with(&dir, "{ }\n");
        let second = Install { config: Some(dir.path().join("new/daemon.json")), ..first.clone() };
        for install in [&first, &second] {
            assert!(install.install().unwrap().changed);
        }
        for install in [&first, &second] {
            assert!(install.uninstall().unwrap().changed);
        }
        assert_eq!(fs::read_to_string(first.config()).unwrap(), "{ }\n");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["etc"]);
    }

    #[test]
    fn a_lost_record_takes_no_more_than_the_member_and_its_object() {
        let dir = tempfile::tempdir().unwrap();
        let install = at(&dir);
        install.install().unwrap();
        fs::remove_dir_all(&install.root).unwrap();
        install.uninstall().unwrap();
        let value: Value = serde_json::from_str(&fs::read_to_string(install.config()).unwrap()).unwrap();
        assert_eq!(value, json!({}));
    }
}
