//! Where a model or a trainer comes from, as one word of the Honefile, and which platforms an image is for.

use hone_contract::reference::BadReference;
use hone_contract::{Digest, Pinned, quoted};
use hone_image::hub::{BadName, Name};
use hone_image::oci::Platform;
use hone_image::platform::{goarch, unwritten};
use hone_image::transport::{BadTransport, Place};

use crate::plan::ModelSource;

/// Longest address (bytes).
const MAX_ADDRESS: usize = 2048;

/// What `base.model` means; `Err` says what would do. An http(s) address needs the sha256 of what is there.
pub(crate) fn model(text: &str, sha256: Option<&str>) -> Result<ModelSource, String> {
    if text.is_empty() || text.contains('\0') || text.len() > MAX_ADDRESS {
        return Err("want a path or an address".to_owned());
    }
    let scheme = text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    match scheme.as_ref().map(|(scheme, rest)| (scheme.as_str(), *rest)) {
        Some(("http" | "https", rest)) => url(text, rest, sha256),
        Some(("hf", rest)) => hub(&format!("hf://{rest}")),
        Some(("oci", rest)) => reference(rest).map(|name| ModelSource::Registry { name, written: rest.to_owned() }),
        Some((other, _)) => Err(format!(
            "want a path, http://, https://, hf://, oci:// or oci:DIR; `{}://` is none of them",
            quoted(other)
        )),
        None => match text.strip_prefix("oci:") {
            Some(text) => layout(text).map(ModelSource::Layout),
            None => Ok(ModelSource::Path(text.to_owned())),
        },
    }
}

fn url(text: &str, rest: &str, sha256: Option<&str>) -> Result<ModelSource, String> {
    let name = rest.split(['?', '#']).next().unwrap_or_default().rsplit_once('/').map_or("", |(_, name)| name);
    if name.is_empty() || hone_image::tar::check_path(name).is_err() {
        return Err("the address must end in a file's name, e.g. https://host/model.gguf".to_owned());
    }
    if rest.split('/').next().is_some_and(|host| host.contains('@')) {
        return Err("an address with a password is not kept in a Honefile".to_owned());
    }
    let sha256 = sha256.ok_or("an http address needs base.sha256, the sha256 of the file, 64 hex digits")?;
    let digest: Digest = format!("sha256:{sha256}")
        .parse()
        .map_err(|_| format!("base.sha256 is not 64 hex digits: `{}`", quoted(sha256)))?;
    Ok(ModelSource::Url { url: text.to_owned(), name: name.to_owned(), sha256: digest })
}

/// `hf://org/name@revision`. The oldest models, which have no organisation, go by their new names.
fn hub(text: &str) -> Result<ModelSource, String> {
    let name: Name = text.parse().map_err(|error: BadName| error.to_string())?;
    if !name.id.contains('/') {
        return Err(BadName::of(text).to_string());
    }
    Ok(ModelSource::Hub { repository: name.id, revision: name.revision })
}

/// A registry's reference.
pub(crate) fn reference(text: &str) -> Result<Pinned, String> {
    text.parse().map_err(|error: BadReference| error.to_string())
}

/// `DIR` or `DIR:TAG`, as skopeo writes it after `oci:`.
pub(crate) fn layout(text: &str) -> Result<Place, String> {
    text.parse().map_err(|error: BadTransport| error.to_string())
}

/// `linux/arm64`, `linux/arm/v7`.
///
/// # Errors
/// With what would do.
pub fn platform(text: &str) -> Result<Platform, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let word = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let (architecture, variant) = match parts.as_slice() {
        ["linux", architecture] => (architecture, None),
        ["linux", architecture, variant] => (architecture, Some(*variant)),
        _ => return Err(format!("want linux/ARCHITECTURE, e.g. linux/arm64, got `{}`", quoted(text))),
    };
    // Go's names; what `uname -m` prints is the usual slip.
    let known = goarch(architecture);
    if known != *architecture {
        return Err(format!("want linux/{known}, as Go names it"));
    }
    if !parts.iter().all(word) {
        return Err(format!("want linux/ARCHITECTURE in lower case, e.g. linux/arm64, got `{}`", quoted(text)));
    }
    // Written or not, one platform.
    Ok(Platform::linux(known, variant.filter(|variant| unwritten(known) != Some(*variant))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_address_is_told_from_a_path() {
        let hex = "a".repeat(64);
        let kind = |text: &str| match model(text, Some(&hex)).expect(text) {
            ModelSource::Path(_) => "path",
            ModelSource::Url { .. } => "url",
            ModelSource::Hub { .. } => "hub",
            ModelSource::Registry { .. } => "registry",
            ModelSource::Layout(_) => "layout",
        };
        for (text, want) in [
            ("./m.gguf", "path"),
            ("/a/b:c", "path"),
            ("https://host/dir/m.gguf?download=true", "url"),
            ("hf://org/Name-1.5B", "hub"),
            ("hf://org/name@refs/pr/1", "hub"),
            ("oci://localhost:5000/a/b:c", "registry"),
            ("oci:layout:tag", "layout"),
            ("oci:/a/b", "layout"),
        ] {
            assert_eq!(kind(text), want, "{text}");
        }
        let place = |dir: &str, tag: Option<&str>| Ok(Place { dir: dir.into(), tag: tag.map(str::to_owned) });
        assert_eq!(layout("a/b:t"), place("a/b", Some("t")));
        assert_eq!(layout("a/b:name:t"), place("a/b", Some("name:t")));
        assert_eq!(layout("a"), place("a", None));
    }

    #[test]
    fn addresses_that_mean_nothing_are_refused() {
        for text in [
            "",
            "ftp://host/x",
            "https://host/",
            "https://host",
            "https://u:p@host/x",
            "hf://name",
            "hf://a/b/c",
            "hf://../b",
            "oci://UPPER:x",
            "oci://a@sha256:0",
            "oci:",
            "oci::tag",
            "a\0b",
        ] {
            assert!(model(text, Some(&"a".repeat(64))).is_err(), "{text:?}");
        }
        assert!(model("https://host/m.gguf", None).is_err());
        assert!(model("https://host/m.gguf", Some("abc")).is_err());
    }

    #[test]
    fn platforms_are_named_as_go_names_them() {
        let shown = |text: &str| platform(text).map(|p| p.to_string());
        assert_eq!(shown("linux/arm64/v8").as_deref(), Ok("linux/arm64"));
        assert_eq!(shown("linux/amd64/v1").as_deref(), Ok("linux/amd64"));
        assert_eq!(shown("linux/amd64/v2").as_deref(), Ok("linux/amd64/v2"));
        assert_eq!(shown("linux/arm/v7").as_deref(), Ok("linux/arm/v7"));
        for text in [
            "arm64",
            "windows/amd64",
            "linux/",
            "linux/AMD64",
            "linux/x86_64",
            "linux/aarch64",
            "linux/i686",
            "linux/a/b/c",
        ] {
            assert!(platform(text).is_err(), "{text}");
        }
    }
}
