//! The hub's description of a model: commit, licence and files (`GET /api/models/ID/revision/REV?blobs=true`).

use hone_image::digest::Digest;
use hone_image::oci::MAX_DOCUMENT_BYTES;
use hone_image::tar::check_path;
use serde::Deserialize;

use super::shown;
use crate::hub::{File, Identity, Model};

/// Most files of a model: more is not a model but a data set.
const MAX_FILES: usize = 20_000;

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
        serde_json::from_slice(body).map_err(|e| shown(&format!("the description: {e}"), 300))?;
    let commit = document.sha;
    if commit.len() != 40 || !commit.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(format!("the commit is {:?}, want 40 lowercase hex digits", shown(&commit, 60)));
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
    let lacks = |what: &str| format!("the file {:?} has no {what}", shown(&path, 300));
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
    named.or_else(tag).map(|l| shown(&l, 100)).filter(|l| !l.is_empty())
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
}
