//! What an image is made of, as a bill of materials: one [`Inventory`], written as SPDX 2.3 or CycloneDX 1.6 JSON.
//!
//! Same inventory, same bytes, whatever order it was collected in: the documents' own names are made of digests, and
//! the date is the caller's. Nothing is guessed: what is not known is left out, or NOASSERTION where a field must be.
//!
//! This crate is pure: it touches no file, clock, network, environment or randomness.

mod cyclonedx;
mod license;
mod spdx;

use hone_contract::Digest;
use hone_contract::json::BadJson;
use hone_contract::pinned::split_digest;
use hone_contract::reference::split_tag;
use hone_image::hub::UNRESERVED;
use percent_encoding::utf8_percent_encode;
use serde::{Deserialize, Serialize};

pub use cyclonedx::cyclonedx;
pub use license::License;
pub use spdx::spdx;

/// Media type of [`spdx()`]'s document.
pub const SPDX_JSON: &str = "application/spdx+json";
/// Media type of [`cyclonedx()`]'s document.
pub const CYCLONEDX_JSON: &str = "application/vnd.cyclonedx+json";
/// Where a trainer's root filesystem says which crates its program links.
pub const CRATES_PATH: &str = "/hone/share/crates.json";
/// A list of crates larger than this is refused (bytes).
pub const MAX_CRATES: usize = 4 << 20;
/// The last second of the year 9999, after which a date has no four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// What went into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// The image.
    pub image: ImageName,
    /// The base model.
    pub model: Option<Model>,
    /// The tokenizer's files, when they are not the model's own.
    pub tokenizer: Vec<File>,
    /// `/hone/job.json`.
    pub job: Option<File>,
    /// The program that trains.
    pub trainer: Option<Trainer>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageName {
    /// Its reference, e.g. `assistant:base`.
    pub name: String,
    /// Of its manifest.
    pub digest: Digest,
}

/// A file, by its path in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct File {
    /// From the root: `/models/tiny/model.gguf`.
    pub path: String,
    /// Of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    /// What it is called.
    pub name: String,
    /// Over its files (docs/contract.md).
    pub identity: Digest,
    /// `gguf`, `safetensors`, ...
    pub format: String,
    /// As its source names it.
    pub license: Option<String>,
    /// Where it comes from, an address.
    pub source: Option<String>,
    /// Of the source.
    pub revision: Option<String>,
    /// Its files.
    pub files: Vec<File>,
}

/// A trainer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trainer {
    /// `onnx`, or what the user's own is called.
    pub name: String,
    /// Over its layers (docs/contract.md).
    pub digest: Digest,
    /// Executable files.
    pub programs: Vec<File>,
    /// Shared libraries.
    pub libraries: Vec<Library>,
    /// What its programs link, when they say so.
    pub crates: Vec<Crate>,
}

/// A shared library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Library {
    /// Its file.
    pub file: File,
    /// When known.
    pub version: Option<String>,
}

/// A Rust crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crate {
    /// On its registry.
    pub name: String,
    /// Exactly.
    pub version: String,
    /// As its manifest says.
    #[serde(default)]
    pub license: Option<String>,
}

/// A list of crates that is none.
#[derive(Debug, thiserror::Error)]
pub enum CratesError {
    /// Larger than [`MAX_CRATES`].
    #[error("read {CRATES_PATH}: {got} bytes, want at most {MAX_CRATES}")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
    },
    /// No JSON array of `{"name", "version", "license"}`.
    #[error("parse {CRATES_PATH}")]
    Json(#[source] BadJson),
}

/// Parses what lies at [`CRATES_PATH`].
///
/// # Errors
/// See [`CratesError`].
pub fn crates(bytes: &[u8]) -> Result<Vec<Crate>, CratesError> {
    match bytes.len() {
        got if got > MAX_CRATES => Err(CratesError::TooLarge { got }),
        _ => serde_json::from_slice(bytes).map_err(|error| CratesError::Json(error.into())),
    }
}

/// A date as both formats want it: `seconds` since 1970, in UTC, at most the end of the year 9999.
pub fn date(seconds: u64) -> String {
    let seconds = seconds.min(LAST_SECOND);
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time % 3600 / 60, time % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, days + 1)
}

impl Inventory {
    /// The same, in the one order that documents have, nothing twice.
    fn ordered(&self) -> Self {
        fn order<T: Ord>(list: &mut Vec<T>) {
            list.sort();
            list.dedup();
        }
        let mut all = self.clone();
        order(&mut all.tokenizer);
        if let Some(model) = &mut all.model {
            order(&mut model.files);
        }
        if let Some(trainer) = &mut all.trainer {
            order(&mut trainer.programs);
            order(&mut trainer.libraries);
            order(&mut trainer.crates);
        }
        all
    }

    /// What names a document about this, made at `created`: no other has the same content.
    fn identity(&self, created: &str) -> Digest {
        // A structure of strings and numbers serializes always; its field order is fixed.
        Digest::of(&serde_json::to_vec(&(self, created)).unwrap_or_default())
    }
}

/// A UUID of a digest (RFC 9562, version 8: what its maker put into it).
fn uuid(digest: Digest) -> String {
    let hex = digest.hex();
    let variant = ["8", "9", "a", "b"][usize::from(hex.as_bytes()[16] & 3)];
    format!("{}-{}-8{}-{variant}{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// The last part of a reference's name, and its tag: `registry/team/assistant:base` -> (`assistant`, `base`).
fn short(reference: &str) -> (&str, Option<&str>) {
    let (name, tag) = split_tag(split_digest(reference).0);
    (name.rsplit('/').next().unwrap_or(name), tag)
}

/// A package URL part: everything but what may stand in it as itself is written in hex (purl-spec, "Character encoding").
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// `pkg:oci/assistant@sha256%3A...?tag=base`.
fn image_purl(image: &ImageName) -> String {
    let (name, tag) = short(&image.name);
    let tag = tag.map_or_else(String::new, |tag| format!("?tag={}", encoded(tag)));
    format!("pkg:oci/{}@{}{tag}", encoded(&name.to_lowercase()), encoded(&image.digest.to_string()))
}

/// `pkg:cargo/serde@1.0.0`.
fn crate_purl(one: &Crate) -> String {
    format!("pkg:cargo/{}@{}", encoded(&one.name), encoded(&one.version))
}

/// An address that both formats take, or nothing.
fn address(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let plain = rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
    (plain && rest.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some(text)
}

#[cfg(test)]
mod tests;
