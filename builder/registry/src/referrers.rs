//! What refers to a manifest (distribution-spec 1.1, "Listing referrers"): the API, or the tag that stands in
//! for it where a registry has no such API.

use hone_contract::digest::Digest;
use hone_image::media;
use hone_image::oci::{Descriptor, MAX_DOCUMENT_BYTES};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::{HeaderName, Method, header};

use crate::answer::Answer;
use crate::error::Error;
use crate::parse;
use crate::repository::Repository;
use crate::wire::{Ask, Task};

/// What a registry says when it lists a manifest among its subject's referrers itself.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Most pages of one list.
const MAX_PAGES: usize = 100;
/// Most referrers of one list.
const MAX_REFERRERS: usize = 10_000;

/// What a pushed manifest says about itself, as far as a list of referrers needs it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referring {
    #[serde(default)]
    subject: Option<Subject>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Config>,
    #[serde(default)]
    annotations: Option<Value>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

impl Repository {
    /// What refers to the manifest `digest`.
    ///
    /// # Errors
    /// When the registry does not say, or its list is none.
    pub fn referrers(&self, digest: Digest) -> Result<Vec<Descriptor>, Error> {
        let task = self.task(&format!("list referrers of {}@{digest}", self.name()));
        let mut url = self.url(&format!("referrers/{digest}"));
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let ask = Ask::new(Method::GET, url.as_str()).header(header::ACCEPT, media::INDEX);
            let call = || self.session.call(&task, &self.pull(), &ask);
            let (answer, body) = task.document(self.session.retry(), MAX_DOCUMENT_BYTES, call)?;
            match answer.status() {
                200 => found.extend(parse::referrers(&body).map_err(|why| task.protocol(why))?),
                // No such API: the same list may be under a tag.
                404 | 405 if found.is_empty() => return self.tagged_referrers(&task, digest),
                _ => return Err(task.refused(answer)),
            }
            if found.len() > MAX_REFERRERS {
                return Err(task.protocol("lists more than 10,000 referrers"));
            }
            match answer.next_page() {
                None => return Ok(found),
                // Who was led elsewhere is not led back from there either: what the registry is asked is asked as us.
                Some(next)
                    if !answer.is_astray() && next.as_deref().and_then(parse::origin) == parse::origin(&url) =>
                {
                    url = next.unwrap_or_default();
                }
                Some(_) => return Err(task.protocol("continues its list at another host")),
            }
        }
        Err(task.protocol(&format!("lists referrers on more than {MAX_PAGES} pages")))
    }

    fn tagged_referrers(&self, task: &Task, digest: Digest) -> Result<Vec<Descriptor>, Error> {
        match self.fetch_manifest(task, &fallback_tag(digest))? {
            Ok(list) => parse::referrers(&list.bytes).map_err(|why| task.protocol(why)),
            Err(answer) if answer.status() == 404 => Ok(Vec::new()),
            Err(answer) => Err(task.refused(answer)),
        }
    }

    /// Enters a manifest that was just pushed into its subject's list, where the registry does not.
    pub(crate) fn list_referrer(
        &self,
        pushed: &Answer,
        media_type: &str,
        bytes: &[u8],
        digest: Digest,
    ) -> Result<(), Error> {
        let Ok(Referring { subject: Some(subject), artifact_type, config, annotations }) =
            serde_json::from_slice(bytes)
        else {
            return Ok(());
        };
        if pushed.text(&SUBJECT).is_some() {
            return Ok(());
        }
        let mut entry = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        if let Some(kind) = artifact_type.or(config.map(|c| c.media_type)) {
            entry["artifactType"] = kind.into();
        }
        if let Some(annotations) = annotations.filter(Value::is_object) {
            entry["annotations"] = annotations;
        }
        let task = self.task(&format!("list {digest} as a referrer of {}@{}", self.name(), subject.digest));
        let tag = fallback_tag(subject.digest);
        let known = match self.fetch_manifest(&task, &tag)? {
            Ok(list) => Some(list.bytes),
            Err(answer) if answer.status() == 404 => None,
            Err(answer) => return Err(task.refused(answer)),
        };
        match entered(known.as_deref(), &entry, digest).map_err(|why| task.protocol(why))? {
            Some(list) => self.push_manifest(&tag, media::INDEX, &list).map(drop),
            None => Ok(()),
        }
    }
}

/// The tag under which the referrers of a manifest are listed ("Referrers Tag Schema").
fn fallback_tag(digest: Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The list with `entry` in it; `None` when it is there already. Entries of others are kept as they are.
fn entered(known: Option<&[u8]>, entry: &Value, digest: Digest) -> Result<Option<Vec<u8>>, &'static str> {
    let bad = "has something under the referrers' tag that is no image index; remove that tag";
    let mut list = match known {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|_| bad)?,
        None => json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": []}),
    };
    // Go writes a list without an entry as null.
    let manifests = list.get_mut("manifests").ok_or(bad)?;
    if manifests.is_null() {
        *manifests = json!([]);
    }
    let manifests = manifests.as_array_mut().ok_or(bad)?;
    let name = digest.to_string();
    if manifests.iter().any(|m| m["digest"] == name.as_str()) {
        return Ok(None);
    }
    if manifests.len() >= MAX_REFERRERS {
        return Err("lists more than 10,000 referrers");
    }
    manifests.push(entry.clone());
    serde_json::to_vec(&list).map(Some).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referrer_is_entered_once_and_others_stay() {
        let digest = Digest::of(b"m");
        let entry = json!({"mediaType": "m", "digest": digest, "size": 1});
        let first = entered(None, &entry, digest).expect("list").expect("new");
        assert_eq!(entered(Some(&first), &entry, digest), Ok(None));
        let other = Digest::of(b"other");
        let second = json!({"mediaType": "m", "digest": other, "size": 1, "artifactType": "x"});
        let both = entered(Some(&first), &second, other).expect("list").expect("new");
        let listed = parse::referrers(&both).expect("referrers");
        assert_eq!(listed.iter().map(|r| r.digest).collect::<Vec<_>>(), [digest, other]);
        // As Go writes a list without an entry.
        let nil = br#"{"schemaVersion":2,"manifests":null}"#;
        let made = entered(Some(nil), &entry, digest).expect("list").expect("new");
        assert_eq!(entered(Some(&made), &entry, digest), Ok(None));
        assert!(entered(Some(br#"{"manifests":{}}"#), &entry, digest).is_err());
        assert!(entered(Some(b"{}"), &entry, digest).is_err());
        assert!(entered(Some(b"x"), &entry, digest).is_err());
    }
}
