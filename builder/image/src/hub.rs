//! Models of a hub that speaks Hugging Face's API: what its description of one says, where their files are, and whether
//! those are the ones described. Pure, total and bounded; fetching is its callers' affair.

use std::io::{self, Read};
use std::str::FromStr;

use hone_contract::{Digest, quoted};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha1::Digest as _;

use crate::oci::MAX_DOCUMENT_BYTES;
use crate::tar::check_path;

/// The hub, when nobody names another.
pub const ENDPOINT: &str = "https://huggingface.co";
/// The revision of a name that has none.
pub const MAIN: &str = "main";
/// What is escaped in a part of a URL: all but letters, digits and `-._~` (RFC 3986, 2.3).
pub const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path, whose slashes stay.
pub const PATH: &AsciiSet = &UNRESERVED.remove(b'/');
/// Endings of files that a fine-tune base needs; a hub's repository has many more.
const WANTED: [&str; 7] = ["gguf", "jinja", "json", "md", "model", "safetensors", "txt"];
/// Most files of a model: more is not a model but a data set.
const MAX_FILES: usize = 20_000;

/// A model's name: `hf://ORG/NAME@REVISION`, or `hf://NAME` for the oldest ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `ORG/NAME`.
    pub id: String,
    /// A branch, tag or commit, when one is given.
    pub revision: Option<String>,
}

/// What names no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("want hf://ORG/NAME or hf://ORG/NAME@REVISION, got `{got}`")]
pub struct BadName {
    got: String,
}

impl BadName {
    /// Says so of `text`.
    pub fn of(text: &str) -> Self {
        Self { got: quoted(text).to_string() }
    }
}

impl Name {
    /// The revision, the hub's own one when none is given.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let rest = text.strip_prefix("hf://").ok_or_else(|| BadName::of(text))?;
        let (id, revision) = rest.split_once('@').map_or((rest, None), |(id, revision)| (id, Some(revision)));
        let word = |word: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !word.is_empty() && !word.starts_with('.') && word.bytes().all(plain)
        };
        let named = id.split('/').all(|part| word(part) && part.len() <= 96) && id.split('/').count() <= 2;
        let revised = revision.is_none_or(|revision| revision.split('/').all(word) && revision.len() <= 200);
        match named && revised {
            true => Ok(Self { id: id.to_owned(), revision: revision.map(str::to_owned) }),
            false => Err(BadName::of(text)),
        }
    }
}

/// A model at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// `org/name`.
    pub id: String,
    /// The commit: 40 hex digits.
    pub commit: String,
    /// Its licence as the model's card names it.
    pub licence: Option<String>,
    /// Its files.
    pub files: Vec<File>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Path in the model; a plain relative one.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Hash.
    pub identity: Identity,
}

/// The hash that a hub has of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Of its bytes.
    Sha256(Digest),
    /// Git's blob id: the sha1 of `blob SIZE`, a NUL and the bytes.
    GitBlob([u8; 20]),
}

#[derive(Deserialize)]
struct Document {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(rename = "cardData", default)]
    card: Option<serde_json::Value>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    blob_id: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

/// Reads the description of the model `id`.
///
/// # Errors
/// Why it is not one that can be trusted to name files: a bad commit, name, size or hash, or too many files.
pub fn model(id: &str, body: &[u8]) -> Result<Model, String> {
    if body.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err("the description is larger than 8 MiB".into());
    }
    let document: Document =
        serde_json::from_slice(body).map_err(|e| format!("the description: {}", quoted(&e.to_string())))?;
    let commit = document.sha;
    if commit.len() != 40 || !commit.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(format!("the commit is {}, want 40 lowercase hex digits", quoted(&commit).at_most(60)));
    }
    if document.siblings.len() > MAX_FILES {
        return Err(format!("{} files, want at most {MAX_FILES}", document.siblings.len()));
    }
    let files = document.siblings.into_iter().map(file).collect::<Result<Vec<File>, String>>()?;
    Ok(Model { id: id.to_owned(), commit, licence: licence(document.card.as_ref(), &document.tags), files })
}

fn file(sibling: Sibling) -> Result<File, String> {
    check_path(&sibling.rfilename).map_err(|e| e.to_string())?;
    let path = sibling.rfilename;
    let lacks = |what: &str| format!("the file {} has no {what}", quoted(&path));
    let (size, identity) = match (sibling.lfs, sibling.blob_id) {
        (Some(lfs), _) => {
            let hex = lfs.sha256.strip_prefix("sha256:").unwrap_or(&lfs.sha256);
            let digest: Digest = format!("sha256:{hex}").parse().map_err(|_| lacks("sha256 that is one"))?;
            (lfs.size, Identity::Sha256(digest))
        }
        (None, Some(blob)) => {
            let mut sha1 = [0; 20];
            hex::decode_to_slice(&blob, &mut sha1).map_err(|_| lacks("git blob id that is one"))?;
            (sibling.size.ok_or_else(|| lacks("size"))?, Identity::GitBlob(sha1))
        }
        (None, None) => return Err(lacks("hash")),
    };
    Ok(File { path, size, identity })
}

/// The licence the model's card names, or else the one among its tags.
fn licence(card: Option<&serde_json::Value>, tags: &[String]) -> Option<String> {
    let named = match card.and_then(|c| c.get("license")) {
        Some(serde_json::Value::String(one)) => Some(one.clone()),
        Some(serde_json::Value::Array(several)) => {
            let names: Vec<&str> = several.iter().filter_map(serde_json::Value::as_str).take(8).collect();
            (!names.is_empty()).then(|| names.join(" OR "))
        }
        _ => None,
    };
    let tag = || tags.iter().find_map(|t| t.strip_prefix("license:")).map(str::to_owned);
    named.or_else(tag).map(|l| quoted(&l).at_most(100).to_string()).filter(|l| !l.is_empty())
}

/// Where the description of a model is.
pub fn description_url(endpoint: &str, id: &str, revision: &str) -> String {
    format!("{endpoint}/api/models/{id}/revision/{}?blobs=true", utf8_percent_encode(revision, UNRESERVED))
}

impl Model {
    /// Where a file of it is.
    pub fn url(&self, endpoint: &str, file: &File) -> String {
        format!("{endpoint}/{}/resolve/{}/{}", self.id, self.commit, utf8_percent_encode(&file.path, PATH))
    }

    /// Those of its files that a fine-tune base needs: weights of one kind, and small files at the top.
    pub fn wanted(&self) -> Vec<&File> {
        let ending = |f: &File| f.path.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
        let plain = |f: &&File| !f.path.contains('/') && !f.path.starts_with('.') && WANTED.contains(&&*ending(f));
        let top: Vec<&File> = self.files.iter().filter(plain).collect();
        let safetensors = top.iter().any(|f| ending(f) == "safetensors");
        // A repository with both has the same model twice.
        top.into_iter().filter(|f| !(safetensors && ending(f) == "gguf")).collect()
    }
}

/// A reader that fails at its end unless it gave the bytes with this git blob id.
pub struct GitVerified<R> {
    inner: R,
    hasher: sha1::Sha1,
    left: u64,
    want: [u8; 20],
}

impl<R: Read> GitVerified<R> {
    /// Reads `size` bytes from `inner`, which is at the file's start.
    pub fn new(inner: R, size: u64, want: [u8; 20]) -> Self {
        let hasher = sha1::Sha1::new_with_prefix(format!("blob {size}\0"));
        Self { inner, hasher, left: size, want }
    }
}

impl<R: Read> Read for GitVerified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let n = self.inner.read(buf)?;
        let left = self.left;
        self.left = left.checked_sub(n as u64).ok_or_else(|| bad("more bytes than the file's size".into()))?;
        self.hasher.update(&buf[..n]);
        if n == 0 {
            let got: [u8; 20] = self.hasher.clone().finalize().into();
            if left > 0 || got != self.want {
                let want = hex::encode(self.want);
                let got = hex::encode(got);
                return Err(bad(match left {
                    0 => format!("got the git blob {got}, want {want}"),
                    _ => format!("it ended {left} bytes early, want the git blob {want}"),
                }));
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn described(files: &str) -> Result<Model, String> {
        model(
            "o/m",
            format!(r#"{{"sha":"{COMMIT}","cardData":{{"license":"mit"}},"siblings":[{files}]}}"#).as_bytes(),
        )
    }

    #[test]
    fn names_have_an_optional_revision() {
        let name: Name = "hf://org/a-b.c_1@refs/pr/2".parse().expect("name");
        assert_eq!((name.id.as_str(), name.revision()), ("org/a-b.c_1", "refs/pr/2"));
        assert_eq!("hf://gpt2".parse::<Name>().expect("name").revision(), "main");
        for bad in [
            "org/a",
            "hf://",
            "hf://a/b/c",
            "hf://a/../b",
            "hf://../b",
            "hf://a/b@",
            "hf://a/b@x?y",
            "hf://a b/c",
            "hf://a/b@../x",
            "hf:///b",
            "hf://a/",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        let said = "hf://\u{1b}[2J".parse::<Name>().expect_err("a bad name").to_string();
        assert_eq!(said, r"want hf://ORG/NAME or hf://ORG/NAME@REVISION, got `hf://\u{1b}[2J`");
    }

    #[test]
    fn files_have_a_size_and_a_hash() {
        let sha = "a".repeat(64);
        let model = described(&format!(
            r#"{{"rfilename":"config.json","size":3,"blobId":"{COMMIT}"}},
               {{"rfilename":"sub/m.safetensors","size":9,"blobId":"{COMMIT}","lfs":{{"sha256":"{sha}","size":9,"pointerSize":1}}}}"#
        ))
        .expect("model");
        assert_eq!(model.commit, COMMIT);
        assert_eq!(model.licence.as_deref(), Some("mit"));
        assert_eq!(model.files[0].size, 3);
        assert!(matches!(model.files[0].identity, Identity::GitBlob(_)));
        assert_eq!(model.files[1].path, "sub/m.safetensors");
        assert_eq!(model.files[1].identity, Identity::Sha256(format!("sha256:{sha}").parse().expect("digest")));
    }

    #[test]
    fn names_hashes_and_sizes_are_checked() {
        for bad in [
            r#"{"rfilename":"../x","size":1,"blobId":"0123456789abcdef0123456789abcdef01234567"}"#,
            r#"{"rfilename":"/x","size":1,"blobId":"0123456789abcdef0123456789abcdef01234567"}"#,
            r#"{"rfilename":"x","blobId":"0123456789abcdef0123456789abcdef01234567"}"#,
            r#"{"rfilename":"x","size":1,"blobId":"01"}"#,
            r#"{"rfilename":"x","size":1}"#,
            r#"{"rfilename":"x","lfs":{"sha256":"zz","size":1}}"#,
            r#"{"rfilename":"x","size":-1,"blobId":"0123456789abcdef0123456789abcdef01234567"}"#,
        ] {
            assert!(described(bad).is_err(), "{bad}");
        }
        assert!(model("o/m", br#"{"sha":"main"}"#).is_err());
        let hostile = [
            "{\"sha\":\"\u{9b}2J\u{202e}\"}".to_owned(),
            "{\"sha\":{\"\\u001b[2J\":0}}".to_owned(),
            format!("{{\"sha\":\"{}\"}}", "x".repeat(100_000)),
            format!("{{\"sha\":\"{COMMIT}\",\"siblings\":\"\u{9b}{}\"}}", "x".repeat(100_000)),
            format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{{\"rfilename\":\"\\u001b]0;{}\"}}]}}", "x".repeat(9000)),
        ];
        for body in hostile {
            let why = model("o/m", body.as_bytes()).expect_err("hostile");
            let obeyed = |c: char| c.is_control() || c == '\u{202e}';
            assert!(!why.contains(obeyed) && why.len() < 1000, "{why}");
        }
        assert!(model("o/m", b"[]").is_err());
    }

    #[test]
    fn a_licence_may_be_a_list_or_a_tag() {
        let read =
            |rest: &str| model("m", format!(r#"{{"sha":"{COMMIT}"{rest}}}"#).as_bytes()).expect("model").licence;
        assert_eq!(read(r#","cardData":{"license":["mit","apache-2.0"]}"#).as_deref(), Some("mit OR apache-2.0"));
        assert_eq!(read(r#","tags":["x","license:gemma"]"#).as_deref(), Some("gemma"));
        assert_eq!(read(r#","cardData":null"#), None);
    }

    #[test]
    fn git_ids_are_verified() {
        // `printf hello | git hash-object --stdin`
        let want: [u8; 20] =
            hex::decode("b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0").expect("hex").try_into().expect("20");
        let read = |bytes: &[u8], size| io::read_to_string(GitVerified::new(bytes, size, want));
        assert_eq!(read(b"hello", 5).expect("verified"), "hello");
        assert!(read(b"hellO", 5).is_err());
        assert!(read(b"hell", 5).is_err());
        assert!(read(b"hello!", 5).is_err());
    }

    #[test]
    fn escapes() {
        assert_eq!(utf8_percent_encode("a b/ü+c", PATH).to_string(), "a%20b/%C3%BC%2Bc");
        assert_eq!(utf8_percent_encode("refs/pr/1", UNRESERVED).to_string(), "refs%2Fpr%2F1");
    }

    #[test]
    fn of_a_repository_that_is_wanted_which_a_base_needs() {
        let blob = |name: &str| format!(r#"{{"rfilename":"{name}","size":1,"blobId":"{COMMIT}"}}"#);
        let wanted = |names: &[&str]| {
            let files: Vec<String> = names.iter().map(|name| blob(name)).collect();
            let model = described(&files.join(",")).expect("model");
            model.wanted().into_iter().map(|f| f.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            wanted(&["a.gguf", "x.bin", ".gitattributes", "onnx/m.onnx", "README.md"]),
            ["a.gguf", "README.md"]
        );
        assert_eq!(wanted(&["a.gguf", "b.safetensors", "sub/c.json"]), ["b.safetensors"]);
        let model = Model { id: "o/m".into(), commit: COMMIT.into(), licence: None, files: vec![] };
        let file = File { path: "a b.json".into(), size: 1, identity: Identity::GitBlob([0; 20]) };
        assert_eq!(model.url("http://h", &file), format!("http://h/o/m/resolve/{COMMIT}/a%20b.json"));
        assert_eq!(
            description_url("http://h", "o/m", "refs/pr/1"),
            "http://h/api/models/o/m/revision/refs%2Fpr%2F1?blobs=true"
        );
    }
}
