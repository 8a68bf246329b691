//! Fields that only differ in case from one that matters.
//!
//! Go's reader does not look at the case of a field's name and takes the last of two: `"cmd"` beside `"Cmd"` is what an
//! engine starts and this program does not see. Such a document is refused, wherever one that others name by its digest is
//! read: indexes, manifests and configurations.

use std::collections::BTreeMap;

use hone_contract::quoted;
use serde_json::Value;

use crate::oci::{Descriptor, DocumentError, ImageConfig};

/// Of indexes and manifests.
const OF_DOCUMENT: [&str; 8] =
    ["schemaVersion", "mediaType", "artifactType", "manifests", "config", "layers", "subject", "annotations"];
const OF_DESCRIPTOR: [&str; 8] =
    ["mediaType", "digest", "size", "artifactType", "platform", "annotations", "urls", "data"];
const OF_PLATFORM: [&str; 5] = ["architecture", "os", "variant", "os.version", "os.features"];
const OF_CONFIG: [&str; 9] =
    ["created", "architecture", "variant", "os", "os.version", "os.features", "config", "rootfs", "history"];
const OF_ROOT: [&str; 2] = ["type", "diff_ids"];
/// Of the `config` in a configuration: what docker, podman and containerd go by.
const OF_RUNTIME: [&str; 14] = [
    "User",
    "Env",
    "Entrypoint",
    "Cmd",
    "WorkingDir",
    "Labels",
    "Volumes",
    "ExposedPorts",
    "StopSignal",
    "StopTimeout",
    "Healthcheck",
    "Shell",
    "OnBuild",
    "ArgsEscaped",
];

type Rest = BTreeMap<String, Value>;

/// Refuses an index or a manifest, `rest` of whose fields and these descriptors of which are read in two ways.
pub(crate) fn document<'d>(
    what: &'static str,
    rest: &Rest,
    descriptors: impl IntoIterator<Item = &'d Descriptor>,
) -> Result<(), DocumentError> {
    let of_descriptor = |descriptor: &'d Descriptor| {
        let platform = descriptor.platform.iter().map(|platform| (&platform.rest, &OF_PLATFORM[..]));
        platform.chain([(&descriptor.rest, &OF_DESCRIPTOR[..])])
    };
    refuse(what, [(rest, &OF_DOCUMENT[..])].into_iter().chain(descriptors.into_iter().flat_map(of_descriptor)))
}

/// Refuses a configuration that is read in two ways.
pub(crate) fn config(what: &'static str, config: &ImageConfig) -> Result<(), DocumentError> {
    let objects: [(&Rest, &[&'static str]); 3] =
        [(&config.rest, &OF_CONFIG), (&config.config.rest, &OF_RUNTIME), (&config.rootfs.rest, &OF_ROOT)];
    refuse(what, objects)
}

fn refuse<'d>(
    what: &'static str,
    objects: impl IntoIterator<Item = (&'d Rest, &'d [&'static str])>,
) -> Result<(), DocumentError> {
    match objects.into_iter().find_map(|(rest, known)| misspelled(rest, known)) {
        None => Ok(()),
        Some((field, like)) => {
            let why = format!("some programs take its field {} for {like}", quoted(field));
            Err(DocumentError::Ambiguous { what, why })
        }
    }
}

/// The first unknown field that Go's reader takes for one of `known` (encoding/json, foldName): letters of any case, the
/// long s and the sign of the kelvin.
fn misspelled<'a>(rest: &'a Rest, known: &[&'static str]) -> Option<(&'a str, &'static str)> {
    let folded = |field: &str| field.replace('\u{17f}', "s").replace('\u{212a}', "k");
    rest.keys().find_map(|field| {
        let like = known.iter().find(|like| field != *like && like.eq_ignore_ascii_case(&folded(field)))?;
        Some((field.as_str(), *like))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document;
    use crate::oci::Sealed;

    fn parse(value: &Value) -> Result<Sealed<ImageConfig>, DocumentError> {
        Sealed::parse("config", value.to_string().into_bytes())
    }

    /// As docker's builder writes it.
    fn docker_s() -> Value {
        json!({
            "architecture": "amd64", "os": "linux", "author": "a", "container": "c", "docker_version": "20.10",
            "container_config": {"Hostname": "h", "Cmd": ["/bin/sh"], "cmd": 1}, "created": "2024-01-01T00:00:00Z",
            "config": {"Hostname": "", "Domainname": "", "AttachStdin": false, "Cmd": ["/good"], "Env": [], "User": "",
                "Image": "sha256:0", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null,
                "Labels": {"cmd": "a label", "CMD": "another"}},
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [{"created_by": "x", "comment": "y"}],
            "moby.buildkit.buildinfo.v1": "x", "os.version": "1", "id": "x", "parent": "y", "Size": 1,
        })
    }

    #[test]
    fn configurations_that_go_reads_otherwise_are_refused() {
        assert!(parse(&docker_s()).is_ok());
        for (object, field) in [
            ("", "Config"),
            ("", "RootFS"),
            ("", "Architecture"),
            ("", "OS"),
            ("", "o\u{17f}"),
            ("", "History"),
            ("", "Variant"),
            ("/config", "cmd"),
            ("/config", "ENV"),
            ("/config", "entrypoint"),
            ("/config", "wor\u{212a}ingDir"),
            ("/config", "labels"),
            ("/config", "user"),
            ("/config", "volumes"),
            ("/rootfs", "Diff_IDs"),
            ("/rootfs", "Type"),
        ] {
            let mut value = docker_s();
            value.pointer_mut(object).expect("object")[field] = json!(["/evil"]);
            let error = parse(&value).expect_err(field);
            assert!(matches!(error, DocumentError::Ambiguous { .. }), "{field}: {error}");
        }
    }

    #[test]
    fn platforms_that_go_reads_otherwise_are_refused() {
        let index = |platform: Value| {
            let digest = format!("sha256:{}", "0".repeat(64));
            let entry = json!({"mediaType": "x", "digest": digest, "size": 1, "platform": platform});
            document::index(None, json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes())
        };
        let usual =
            json!({"architecture": "amd64", "os": "linux", "os.version": "1", "os.features": [], "features": []});
        assert!(index(usual.clone()).is_ok());
        for field in ["Architecture", "OS", "Variant", "o\u{17f}"] {
            let mut platform = usual.clone();
            platform[field] = json!("arm64");
            let error = index(platform).expect_err(field);
            assert!(matches!(error, DocumentError::Ambiguous { .. }), "{field}: {error}");
        }
    }
}
