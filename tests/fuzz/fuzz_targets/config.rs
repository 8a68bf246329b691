//! Configuration files of engines, chosen by the first byte: containers.conf and daemon.json, to which a runtime is added
//! and from which it is taken again, and the files in which docker names its daemon.
#![no_main]

use std::ffi::OsString;
use std::fs;

use hone_engines::install::docker_host;
use libfuzzer_sys::fuzz_target;

// The editors are the installer's own affair: their modules are compiled in here.
#[path = "../../../builder/engines/src/install/json.rs"]
mod json;
#[allow(dead_code, reason = "the installer asks more of it")]
#[path = "../../../builder/engines/src/install/toml.rs"]
mod toml;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        b'd' => daemon_json(bytes),
        b'c' => context(bytes),
        _ => containers_conf(bytes),
    }
});

/// What was added is taken out again, and all else keeps its bytes; only a line break may be missed at a line's end.
fn containers_conf(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(before) = toml::remove(text) else { return };
    let Ok(with) = toml::add(text, "[\"/r/libexec/hone-podman\"]") else { return };
    assert_eq!(toml::add(&with, "[\"/r/libexec/hone-podman\"]").as_deref(), Ok(with.as_str()), "twice is once");
    assert_eq!(toml::has_other(&with), Ok(false));
    let after = toml::remove(&with).expect("TOML");
    if after != before {
        // Where the line went behind a line without an end.
        let broken = (0..=before.len()).filter(|at| before.is_char_boundary(*at));
        let mut mended = broken.map(|at| format!("{}\n{}", &before[..at], &before[at..]));
        assert!(mended.any(|mended| mended == after), "{before:?} became {after:?}");
    }
}

/// As the installer asks: only of a text that is a JSON object, whose runtimes are one, too.
fn daemon_json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(before) = serde_json::from_str::<serde_json::Value>(text) else { return };
    let runtimes = before.get("runtimes");
    if !before.is_object() || runtimes.is_some_and(|runtimes| !runtimes.is_object() || runtimes.get("hone").is_some())
    {
        return;
    }
    let with = json::set(text, &["runtimes"], "hone", &serde_json::json!({"path": "/x"})).expect("JSON");
    let value: serde_json::Value = serde_json::from_str(&with).expect("JSON");
    assert_eq!(value["runtimes"]["hone"]["path"], "/x");
    let without = json::remove(&with, &["runtimes"], "hone").expect("JSON");
    let mut after: serde_json::Value = serde_json::from_str(&without).expect("JSON");
    if runtimes.is_none() {
        let made = json::remove(&without, &[], "runtimes").expect("JSON");
        after = serde_json::from_str(&made).expect("JSON");
    }
    assert_eq!(after, before);
}

/// docker's config.json and, behind a byte of zeros, what describes the context `c`.
fn context(bytes: &[u8]) {
    /// sha256 of `c`, under which docker files it.
    const HASH: &str = "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6";
    let Ok(site) = tempfile::tempdir_in(if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" })
    else {
        return;
    };
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    fs::write(site.path().join("config.json"), parts.next().unwrap_or_default()).expect("file");
    let meta = site.path().join("contexts/meta").join(HASH);
    fs::create_dir_all(&meta).expect("directory");
    fs::write(meta.join("meta.json"), parts.next().unwrap_or_default()).expect("file");
    for chosen in [None, Some("c")] {
        let env = |name: &str| match name {
            "DOCKER_CONFIG" => Some(OsString::from(site.path())),
            "DOCKER_CONTEXT" => chosen.map(OsString::from),
            _ => None,
        };
        match docker_host(None, &env) {
            Ok(host) => assert!(host.starts_with("unix:///"), "{host:?}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
