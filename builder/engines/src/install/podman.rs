//! podman: a drop-in of Hone's own that names a launcher, and the launcher.
//!
//! podman takes only paths for a runtime, no arguments, so ROOT/libexec/hone-podman adds them.

use std::path::PathBuf;

use super::{Install, files};
use crate::error::Error;

/// The first line of the drop-in: by it Hone knows its own file.
const MARK: &str = "# Written by `hone install podman`; `hone uninstall podman` removes it.";

pub(super) fn install(install: &Install) -> Result<bool, Error> {
    let launcher = launcher(install);
    let now = files::read(install.config())?;
    ours(install, now.as_deref())?;
    let script = format!(
        "#!/bin/sh\nexec {} --hone-root {} --hone-engine podman \"$@\"\n",
        shell(&install.runtime.to_string_lossy()),
        shell(&install.root.to_string_lossy()),
    );
    let quoted = serde_json::Value::from(launcher.to_string_lossy());
    let text = format!("{MARK}\n[engine.runtimes]\nhone = [{quoted}]\n");
    let changed = files::read(&launcher)?.as_deref() != Some(&script) || now.as_deref() != Some(&text);
    if changed {
        files::write(&launcher, &script, 0o755)?;
        files::write(install.config(), &text, 0o644)?;
    }
    Ok(changed)
}

pub(super) fn uninstall(install: &Install) -> Result<bool, Error> {
    let now = files::read(install.config())?;
    ours(install, now.as_deref())?;
    files::remove(install.config())?;
    files::remove(&launcher(install))?;
    Ok(now.is_some())
}

/// Refuses a drop-in that somebody else has written.
fn ours(install: &Install, text: Option<&str>) -> Result<(), Error> {
    match text {
        Some(text) if !text.trim().is_empty() && !text.starts_with(MARK) => {
            let reason = "not written by hone; move it away or name another file with --config".to_owned();
            Err(Error::Config { path: install.config().to_owned(), reason })
        }
        _ => Ok(()),
    }
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

    use super::super::Target;
    use super::*;

    fn at(dir: &tempfile::TempDir, root: &str) -> Install {
        Install {
            target: Target::Podman,
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
}
