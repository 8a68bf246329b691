//! What an image's labels say of its lineage, and what it takes to believe them.
//!
//! Labels are the words of whoever made the image, and `docker build FROM` hands them on to images that are something
//! else. They are believed when nothing of it has to be taken from them: the image is called as the version would be that
//! it says it is, the base is there under the name that goes with it, and the layers are that base's and one more.

use hone_contract::quoted;

use crate::digest::Digest;
use crate::job::AdapterSpec;
use crate::media;
use crate::oci::ImageConfig;
use crate::reference::Reference;

/// Versions of one lineage that anybody makes; who says more does not mean a number.
const MOST_VERSIONS: u64 = 1_000_000;

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

    /// Whether an image of the layers `layers` is the one of configuration `base` and layers `below`, and one layer more.
    pub fn holds(&self, layers: &[Digest], base: Digest, below: &[Digest]) -> bool {
        base == self.base && layers.len() == below.len() + 1 && layers.starts_with(below)
    }
}

/// What to tell the user of an image called `name` that is no version, when its labels say that it is one.
pub fn disbelieved(name: &Reference, config: &ImageConfig) -> Option<String> {
    let label = |name| config.config.label(name);
    let (version, base) = (label(media::LABEL_VERSION), label(media::LABEL_BASE_NAME));
    version.or(base)?;
    let (version, base) = (quoted(version.unwrap_or("?")).at_most(20), quoted(base.unwrap_or("?")));
    Some(format!(
        "{name} says that it is version {version} of {base}, which its name and its layers do not bear out: it is taken as a \
         base of its own"
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
        assert!(claim.holds(&ids[..3], base, &ids[..2]));
        assert!(!claim.holds(&ids[..4], base, &ids[..2]), "one layer too many");
        assert!(!claim.holds(&ids[..2], base, &ids[..2]), "none");
        assert!(!claim.holds(&[ids[1], ids[0], ids[2]], base, &ids[..2]), "other layers");
        assert!(!claim.holds(&ids[..3], ids[0], &ids[..2]), "another base");
    }
}
