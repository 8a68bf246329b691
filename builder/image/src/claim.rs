//! What an image's labels say of its lineage, and what it takes to believe them.
//!
//! Labels are the words of whoever made the image, and `docker build FROM` hands them on to images that are something
//! else. They are believed when nothing of it has to be taken from them: the image is called as the version would be that
//! it says it is, the base is there under the name that goes with it, the layers are that base's and one more, and what it
//! runs is what that base runs.

use hone_contract::quoted;
use serde_json::{Map, Value};

use crate::media;
use crate::oci::{ImageConfig, RuntimeConfig};
use hone_contract::digest::Digest;
use hone_contract::job::AdapterSpec;
use hone_contract::reference::Reference;

/// Versions of one lineage that anybody makes; who says more does not mean a number.
const MOST_VERSIONS: u64 = 1_000_000;
/// The labels that a version's configuration has beside its base's.
const OF_VERSIONS: [&str; 4] =
    [media::LABEL_VERSION, media::LABEL_BASE_NAME, media::LABEL_BASE_CONFIG, media::LABEL_PARENT];

/// Which version an image says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The base's tag.
    tag: String,
    /// The digest of the base's configuration.
    base: Digest,
    /// The number in its lineage.
    number: u64,
}

impl Claim {
    /// The claim of an image with this configuration; `None` when it makes none, or none that can be true.
    pub fn of(config: &ImageConfig) -> Option<Self> {
        let label = |name| config.config.label(name);
        let lineage: Reference = label(media::LABEL_BASE_NAME)?.parse().ok()?;
        let base = label(media::LABEL_BASE_CONFIG)?.parse().ok()?;
        let number = label(media::LABEL_VERSION)?.parse().ok().filter(|n| (1..=MOST_VERSIONS).contains(n))?;
        Some(Self { tag: lineage.tag().to_owned(), base, number })
    }

    /// The number that it says it has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The digest of its base's configuration, as it says.
    pub fn base(&self) -> Digest {
        self.base
    }

    /// The lineage, when the image that the caller calls `name` would be called so as this version of it: pushing and
    /// pulling may change the repository, so that is the caller's, not the label's.
    pub fn lineage(&self, name: &Reference, adapter: &AdapterSpec) -> Option<Reference> {
        let lineage = name.with_tag(&self.tag).ok()?;
        let called = adapter.version_name(&lineage, self.number).ok()?;
        (called == *name && lineage != *name).then_some(lineage)
    }

    /// Whether `version` is what [`version_config`](crate::image::version_config) makes of the base `below`, whose
    /// configuration has the digest `base`: its layers and one more, and the same processor, program and environment. What
    /// only people read is not looked at: an engine does not hand all of it on.
    pub fn holds(&self, version: &ImageConfig, base: Digest, below: &ImageConfig) -> bool {
        let (layers, under) = (&version.rootfs.diff_ids, &below.rootfs.diff_ids);
        let machine = |config: &ImageConfig| (config.architecture.clone(), config.os.clone());
        base == self.base
            && layers.len() == under.len() + 1
            && layers.starts_with(under)
            && machine(version) == machine(below)
            && runs(&version.config) == runs(&below.config)
    }
}

/// What a container of this configuration starts with, without what makes a version of a base. Engines write fields that
/// say nothing, or leave them out.
fn runs(config: &RuntimeConfig) -> Map<String, Value> {
    let mut config = config.clone();
    if let Some(labels) = &mut config.labels {
        labels.retain(|name, _| !OF_VERSIONS.contains(&name.as_str()));
    }
    // Of the type's own fields none fails to be written.
    let written = serde_json::to_value(&config).unwrap_or_default();
    let Value::Object(mut fields) = written else { return Map::new() };
    fields.retain(|_, value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    });
    fields
}

/// What to tell the user of an image called `name` that is no version, when its labels say that it is one.
pub fn disbelieved(name: &Reference, config: &ImageConfig) -> Option<String> {
    let label = |name| config.config.label(name);
    let (version, base) = (label(media::LABEL_VERSION), label(media::LABEL_BASE_NAME));
    version.or(base)?;
    let (version, base) = (quoted(version.unwrap_or("?")).at_most(20), quoted(base.unwrap_or("?")));
    Some(format!(
        "{name} says that it is version {version} of {base}, which its name, its layers and what it runs do not bear out: it is \
         taken as a base of its own"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(labels: &[(&str, &str)]) -> ImageConfig {
        let labels: serde_json::Map<String, serde_json::Value> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        serde_json::from_value(serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": { "Labels": labels },
            "rootfs": { "type": "layers", "diff_ids": [] },
        }))
        .expect("configuration")
    }

    fn claim(name: &str, base: &str, version: &str) -> Option<Claim> {
        let labels =
            [(media::LABEL_BASE_NAME, name), (media::LABEL_BASE_CONFIG, base), (media::LABEL_VERSION, version)];
        Claim::of(&config(&labels))
    }

    fn adapter(tag: &str) -> AdapterSpec {
        AdapterSpec { commit: true, tag: tag.to_owned(), tensors: None, max_bytes: 1 }
    }

    #[test]
    fn labels_that_cannot_be_true_are_no_claim() {
        let base = Digest::of(b"base").to_string();
        assert!(claim("a:base", &base, "1").is_some());
        for (name, base, version) in [
            ("a:base", &*base, "0"),
            ("a:base", &base, "-1"),
            ("a:base", &base, "4000000000"),
            ("a:base", &base, "18446744073709551616"),
            ("a:base", "sha256:abc", "1"),
            ("../../etc:base", &base, "1"),
            ("a:\u{1b}[2J", &base, "1"),
            ("", &base, "1"),
        ] {
            assert_eq!(claim(name, base, version), None, "{name:?} {base} {version}");
        }
        assert_eq!(Claim::of(&config(&[])), None);
    }

    #[test]
    fn the_caller_s_name_is_the_version_s_or_the_claim_is_nothing() {
        let base = Digest::of(b"base").to_string();
        let claim = claim("assistant:base", &base, "3").expect("claim");
        let lineage = |name: &str, tag: &str| {
            claim.lineage(&name.parse().expect("name"), &adapter(tag)).map(|lineage| lineage.to_string())
        };
        assert_eq!(lineage("assistant:base-v3", "{tag}-v{n}").as_deref(), Some("assistant:base"));
        assert_eq!(lineage("host:5000/team/a:base-v3", "{tag}-v{n}").as_deref(), Some("host:5000/team/a:base"));
        assert_eq!(lineage("a:3.0", "{n}.0").as_deref(), Some("a:base"));
        for other in ["evil:x", "assistant:base", "assistant:base-v4", "assistant:other-v3"] {
            assert_eq!(lineage(other, "{tag}-v{n}"), None, "{other}");
        }
        // A job of a stranger, whose every version would be called as the base is.
        assert_eq!(lineage("assistant:base", "{tag}"), None);
    }

    #[test]
    fn the_layers_are_the_base_s_and_one_more() {
        let ids: Vec<Digest> = (0u8..5).map(|n| Digest::of(&[n])).collect();
        let base = ids[4];
        let claim = claim("a:base", &base.to_string(), "1").expect("claim");
        let of = |layers: &[Digest]| {
            let mut config = config(&[]);
            config.rootfs.diff_ids = layers.to_vec();
            config
        };
        let below = of(&ids[..2]);
        assert!(claim.holds(&of(&ids[..3]), base, &below));
        assert!(!claim.holds(&of(&ids[..4]), base, &below), "one layer too many");
        assert!(!claim.holds(&of(&ids[..2]), base, &below), "none");
        assert!(!claim.holds(&of(&[ids[1], ids[0], ids[2]]), base, &below), "other layers");
        assert!(!claim.holds(&of(&ids[..3]), ids[0], &below), "another base");
    }

    /// A base's claim, the base, and a version of it.
    fn made() -> (Claim, Digest, ImageConfig, ImageConfig) {
        let id = Digest::of(b"base");
        let claim = claim("a:base", &id.to_string(), "1").expect("claim");
        let mut below = config(&[("mine", "x")]);
        below.config.cmd = Some(vec!["train".to_owned()]);
        below.config.env = Some(vec!["A=b".to_owned()]);
        below.config.rest.insert("Volumes".to_owned(), serde_json::json!({"/data": {}}));
        let lineage = crate::image::VersionOf { lineage: "a:base".to_owned(), base: id, parent: id, number: 1 };
        let adapter = crate::Layer::tar(crate::LayerKind::Adapter, Digest::of(b"adapter"), 1);
        let version = crate::image::version_config(&below, &lineage, &adapter).value().clone();
        (claim, id, below, version)
    }

    #[test]
    fn what_runs_is_the_base_s() {
        let (claim, id, below, version) = made();
        assert!(claim.holds(&version, id, &below));
        let edits: [(&str, Value); 10] = [
            ("Cmd", serde_json::json!(["/bin/evil"])),
            ("Entrypoint", serde_json::json!(["/bin/evil"])),
            ("Env", serde_json::json!(["A=b", "LD_PRELOAD=/evil.so"])),
            ("User", serde_json::json!("0")),
            ("WorkingDir", serde_json::json!("/evil")),
            ("Volumes", serde_json::json!({"/": {}})),
            ("ExposedPorts", serde_json::json!({"22/tcp": {}})),
            ("Healthcheck", serde_json::json!({"Test": ["CMD", "/bin/evil"]})),
            ("Labels", serde_json::json!({"mine": "y"})),
            ("ArgsEscaped", serde_json::json!(true)),
        ];
        for (field, value) in edits {
            let mut text = serde_json::to_value(&version).expect("written");
            text["config"][field] = value;
            let other: ImageConfig = serde_json::from_value(text).expect("configuration");
            assert!(!claim.holds(&other, id, &below), "{field}");
        }
        assert!(!claim.holds(&ImageConfig { architecture: "arm64".to_owned(), ..version.clone() }, id, &below));
    }

    #[test]
    fn fields_that_say_nothing_are_not_compared() {
        let (claim, id, below, version) = made();
        // As docker describes the same.
        let mut text = serde_json::to_value(&version).expect("written");
        for (field, value) in [
            ("Hostname", serde_json::json!("")),
            ("AttachStdin", serde_json::json!(false)),
            ("OnBuild", Value::Null),
            ("Entrypoint", serde_json::json!([])),
            ("User", serde_json::json!("")),
        ] {
            text["config"][field] = value;
        }
        let described: ImageConfig = serde_json::from_value(text).expect("configuration");
        assert!(claim.holds(&described, id, &below));
    }
}
