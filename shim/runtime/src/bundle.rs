//! Reading a bundle: `config.json` as engines write it, and where the root filesystem is.
//!
//! Engines send names that an older kernel or library does not know, and expect a warning: an unknown capability or
//! system call rule is dropped, not refused.

use std::path::{Path, PathBuf};

use hone_contract::{quoted, quoted_path};
use oci_spec::runtime::{Capability, Process, Spec};
use serde_json::Value;

use crate::error::{Result, RuntimeError};
use crate::log::Logger;

/// A configuration larger than this was not written by an engine (bytes).
const MAX_CONFIG: u64 = 64 << 20;
/// Characters that are shown of an unknown name, and how many names: Linux has some forty capabilities.
const NAME: usize = 64;
const MOST_NAMES: usize = 64;
/// Lists of capabilities.
const CAPABILITY_SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// Reads `config.json` of the bundle, with its paths made absolute.
///
/// # Errors
/// When it is missing or not a configuration.
pub fn read(bundle: &Path, log: &Logger) -> Result<Spec> {
    let path = bundle.join("config.json");
    let bytes = match read_bounded(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(RuntimeError::NoConfig),
        Err(error) => return Err(RuntimeError::io("read", path)(error)),
    };
    let parse = |source| RuntimeError::Json { path: path.clone(), source };
    let mut value: Value = serde_json::from_slice(&bytes).map_err(parse)?;
    if let Some(process) = value.get_mut("process") {
        drop_unknown_capabilities(process, log);
    }
    drop_unknown_seccomp(&mut value, log);
    let spec: Spec = serde_json::from_value(value).map_err(parse)?;
    check(&spec)?;
    absolute(spec, bundle)
}

/// Reads a process for `exec --process`.
///
/// # Errors
/// When it is missing or not a process.
pub fn read_process(path: &Path, log: &Logger) -> Result<Process> {
    let bytes = read_bounded(path).map_err(RuntimeError::io("read", path))?;
    let parse = |source| RuntimeError::Json { path: path.into(), source };
    let mut value: Value = serde_json::from_slice(&bytes).map_err(parse)?;
    drop_unknown_capabilities(&mut value, log);
    serde_json::from_value(value).map_err(parse)
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_CONFIG).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn drop_unknown_capabilities(process: &mut Value, log: &Logger) {
    let mut dropped: Vec<String> = Vec::new();
    for set in CAPABILITY_SETS {
        let Some(names) = process.pointer_mut(&format!("/capabilities/{set}")).and_then(Value::as_array_mut) else {
            continue;
        };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known {
                dropped.push(quoted(name.as_str().unwrap_or("?")).at_most(NAME).to_string());
            }
            known
        });
    }
    dropped.sort();
    dropped.dedup();
    if !dropped.is_empty() {
        let (first, more) = dropped.split_at(dropped.len().min(MOST_NAMES));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        log.warn(&format!("ignoring unknown or unavailable capabilities: [{}]{more}", first.join(" ")));
    }
}

/// Architectures, flags and rules whose names this library does not have.
fn drop_unknown_seccomp(spec: &mut Value, log: &Logger) {
    let Some(seccomp) = spec.pointer_mut("/linux/seccomp").filter(|s| s.is_object()) else { return };
    keep_known::<oci_spec::runtime::Arch>(seccomp, "architectures", log);
    keep_known::<oci_spec::runtime::LinuxSeccompFilterFlag>(seccomp, "flags", log);
}

fn keep_known<T: serde::de::DeserializeOwned>(seccomp: &mut Value, key: &str, log: &Logger) {
    let Some(values) = seccomp.get_mut(key).and_then(Value::as_array_mut) else { return };
    values.retain(|value| {
        let known = serde_json::from_value::<T>(value.clone()).is_ok();
        if !known {
            log.warn(&format!("ignoring unknown seccomp {key}: {}", quoted(&value.to_string())));
        }
        known
    });
}

fn check(spec: &Spec) -> Result<()> {
    let bad = |text: &str| Err(RuntimeError::Spec(text.into()));
    if !spec.version().starts_with("1.") {
        return bad(&format!("ociVersion \"{}\": want 1.x", quoted(spec.version())));
    }
    let Some(process) = spec.process() else { return bad("process property must not be empty") };
    if process.args().as_ref().is_none_or(|args| args.is_empty()) {
        return bad("args must not be empty");
    }
    if !process.cwd().is_absolute() {
        return bad(&format!("cwd must be an absolute path, got \"{}\"", quoted_path(process.cwd())));
    }
    if spec.root().is_none() {
        return bad("root must be specified");
    }
    if spec.linux().is_none() {
        return bad("linux must be specified");
    }
    Ok(())
}

/// The root filesystem and the sources of bind mounts may be given relative to the bundle.
fn absolute(mut spec: Spec, bundle: &Path) -> Result<Spec> {
    if let Some(root) = spec.root_mut() {
        let path = bundle.join(root.path());
        let real = std::fs::canonicalize(&path).map_err(RuntimeError::io("open root filesystem", &path))?;
        root.set_path(real);
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let options = mount.options().iter().flatten();
        let is_bind =
            options.into_iter().any(|o| o == "bind" || o == "rbind") || mount.typ().as_deref() == Some("bind");
        if let Some(source) = mount.source().clone().filter(|s| is_bind && s.is_relative()) {
            mount.set_source(Some(bundle.join(source)));
        }
    }
    Ok(spec)
}

/// The root filesystem of a configuration from [`read`].
pub fn rootfs(spec: &Spec) -> PathBuf {
    spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"linux":{},
        "process":{"cwd":"/","args":["sh"],"user":{"uid":0,"gid":0},
        "capabilities":{"bounding":["CAP_KILL","CAP_NOPE"]}},
        "mounts":[{"destination":"/x","type":"bind","source":"data","options":["rbind"]}]}"#;

    fn bundle(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(dir.path().join("rootfs")).expect("mkdir");
        std::fs::write(dir.path().join("config.json"), config).expect("write");
        dir
    }

    fn quiet(dir: &Path) -> Logger {
        Logger::new(Some(dir.join("log")), Default::default(), false)
    }

    #[test]
    fn unknown_capabilities_are_dropped_with_a_warning() {
        let dir = bundle(PLAIN);
        let spec = read(dir.path(), &quiet(dir.path())).expect("read");
        let process = spec.process().clone().expect("process");
        let bounding = process.capabilities().clone().and_then(|c| c.bounding().clone()).expect("bounding");
        assert_eq!(bounding.len(), 1);
        assert!(std::fs::read_to_string(dir.path().join("log")).expect("log").contains("CAP_NOPE"));
        let mounts = spec.mounts().clone().expect("mounts");
        assert_eq!(mounts[0].source().clone(), Some(dir.path().join("data")));
        assert!(rootfs(&spec).is_absolute());
    }

    #[test]
    fn values_without_end_are_cut_and_escaped() {
        let long = "\\u001bx".repeat(1 << 20);
        for (old, new) in [("\"cwd\":\"/\"", format!("\"cwd\":\"{long}\"")), ("1.0.2", long.clone())] {
            let dir = bundle(&PLAIN.replacen(old, &new, 1));
            let said = read(dir.path(), &quiet(dir.path())).expect_err("refused").to_string();
            assert!(said.len() < 3000 && !said.contains('\u{1b}'), "{} bytes: {said:.200}", said.len());
        }
        // Names that are dropped are told in the log.
        let names: Vec<String> = (0..10_000).map(|n| format!("\"CAP_{n}\"")).collect();
        let dir = bundle(&PLAIN.replacen("\"CAP_NOPE\"", &format!("{},\"{long}\"", names.join(",")), 1));
        read(dir.path(), &quiet(dir.path())).expect("read");
        let log = std::fs::read_to_string(dir.path().join("log")).expect("log");
        assert!(log.len() < 3000 && log.contains("CAP_1 ") && log.contains("and 9937 more"), "{} bytes", log.len());
        let relative = bundle(&PLAIN.replacen("\"cwd\":\"/\"", "\"cwd\":\"work\"", 1));
        let said = read(relative.path(), &quiet(relative.path())).expect_err("refused").to_string();
        assert_eq!(said, "read config.json: cwd must be an absolute path, got \"work\"");
    }

    #[test]
    fn what_is_missing_is_named() {
        let no_args = bundle(&PLAIN.replace("[\"sh\"]", "[]"));
        let error = read(no_args.path(), &quiet(no_args.path())).expect_err("no args");
        assert_eq!(error.to_string(), "read config.json: args must not be empty");
        let empty = tempfile::tempdir().expect("tempdir");
        let error = read(empty.path(), &quiet(empty.path())).expect_err("no config");
        assert_eq!(error.to_string(), "JSON specification file config.json not found");
    }
}
