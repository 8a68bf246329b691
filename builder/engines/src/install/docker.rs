//! dockerd's daemon.json: the member `runtimes.hone`, beside whatever else the user has there.
//!
//! ROOT/install/docker.json keeps the file as it was found, and as it was left. As long as nobody has changed it
//! since, uninstall puts back those very bytes; afterwards it removes the one member.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Install, files, json};
use crate::error::Error;

const PATH: [&str; 2] = ["runtimes", "hone"];

/// What install found and left.
#[derive(Serialize, Deserialize)]
struct Record {
    config: PathBuf,
    before: Option<String>,
    after: String,
}

pub(super) fn install(install: &Install, host: &str) -> Result<bool, Error> {
    let before = files::read(install.config())?;
    let value = checked(install, before.as_deref())?;
    let entry = json!({
        "path": install.runtime,
        "runtimeArgs": ["--hone-root", install.root, "--hone-engine", format!("docker={host}")],
    });
    if value.pointer("/runtimes/hone") == Some(&entry) {
        return Ok(false);
    }
    let after = json::set(before.as_deref().unwrap_or(""), &PATH, &entry.to_string());
    // A second install with other arguments must not take the first one's work for the user's.
    let found = match record(install)? {
        Some(record) if record.config == install.config() && Some(&record.after) == before.as_ref() => record.before,
        _ => before,
    };
    let record = Record { config: install.config().to_owned(), before: found, after: after.clone() };
    files::write(&record_path(install), &json!(record).to_string(), 0o600)?;
    files::write(install.config(), &after, 0o644)?;
    Ok(true)
}

pub(super) fn uninstall(install: &Install) -> Result<bool, Error> {
    let now = files::read(install.config())?;
    let value = checked(install, now.as_deref())?;
    let record = record(install)?.filter(|record| record.config == install.config());
    let changed = value.pointer("/runtimes/hone").is_some();
    match (record, now) {
        (Some(Record { before, after, .. }), Some(now)) if after == now => match before {
            Some(before) => files::write(install.config(), &before, 0o644)?,
            None => files::remove(install.config())?,
        },
        (_, Some(now)) if changed => files::write(install.config(), &json::remove(&now, &PATH), 0o644)?,
        _ => {}
    }
    files::remove(&record_path(install))?;
    Ok(changed)
}

/// The file as a value; an object, or an error that says where it is not.
fn checked(install: &Install, text: Option<&str>) -> Result<Value, Error> {
    let text = text.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("{}");
    let refused = |reason: String| Error::Config { path: install.config().to_owned(), reason };
    let value: Value = serde_json::from_str(text).map_err(|error| refused(format!("not JSON: {error}")))?;
    if !value.is_object() {
        return Err(refused("want a JSON object".to_owned()));
    }
    match value.get("runtimes") {
        Some(runtimes) if !runtimes.is_object() => Err(refused("runtimes: want a JSON object".to_owned())),
        _ => Ok(value),
    }
}

fn record_path(install: &Install) -> PathBuf {
    install.root.join("install/docker.json")
}

fn record(install: &Install) -> Result<Option<Record>, Error> {
    // A record that cannot be read is as good as none: the member is then removed by name.
    Ok(files::read(&record_path(install))?.and_then(|text| serde_json::from_str(&text).ok()))
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
        assert_eq!(value, json!({ "debug": true, "runtimes": {} }));
    }

    #[test]
    fn a_file_that_docker_would_refuse_is_refused_and_left_alone() {
        for (text, reason) in [
            ("{\"a\": }", "not JSON: expected value at line 1 column 7"),
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
}
