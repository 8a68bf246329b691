//! Models of a hub that speaks Hugging Face's API: `hf://org/name@revision`.
//!
//! A revision is resolved to a commit once; files are then taken from that commit only. Each file has a hash
//! that the hub names: a sha256 for large ones (LFS), git's own for the others.

use std::str::FromStr;

pub use hone_image::hub::{File, GitVerified, Identity, Model};
use hone_image::hub::{MAIN, description_url, model};
use hone_image::oci::MAX_DOCUMENT_BYTES;
use ureq::http::{Method, header};

use crate::client::Client;
use crate::download::Download;
use crate::error::{Error, Peer};
use crate::parse;
use crate::wire::{Ask, Task};

/// A model's name: `hf://org/name@revision`, or `hf://name` for the oldest ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `org/name`.
    pub id: String,
    /// A branch, tag or commit; `main` if none is given.
    pub revision: String,
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::name("model", text, why);
        let rest = text.strip_prefix("hf://").ok_or_else(|| bad("want hf://ORG/NAME[@REVISION]"))?;
        let (id, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
        let word = |w: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !w.is_empty() && w.len() <= 96 && !w.starts_with('.') && w.bytes().all(plain)
        };
        if !id.split('/').all(word) || id.split('/').count() > 2 {
            return Err(bad("want ORG/NAME of letters, digits and . _ -"));
        }
        let revised = |b: u8| b.is_ascii_graphic() && !b"?#%\\".contains(&b);
        if revision.is_empty() || revision.len() > 200 || revision.contains("..") || !revision.bytes().all(revised) {
            return Err(bad("want a branch, tag or commit after @"));
        }
        Ok(Self { id: id.to_owned(), revision: revision.to_owned() })
    }
}

/// A hub, and who we are there.
#[derive(Debug, Clone)]
pub struct Hub {
    client: Client,
    endpoint: String,
    host: String,
    token: Option<String>,
}

impl Hub {
    pub(crate) fn new(client: Client, endpoint: &str, token: Option<String>) -> Result<Self, Error> {
        let trimmed = endpoint.trim_end_matches('/');
        let host = parse::authority(trimmed).filter(|_| !trimmed.contains(['?', '#']));
        let host = host.ok_or_else(|| Error::name("hub", endpoint, "want https://HOST"))?.to_owned();
        let token = token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        if token.as_ref().is_some_and(|t| !t.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::name("hub", endpoint, "the token has characters that none has; correct HF_TOKEN"));
        }
        Ok(Self { client, endpoint: trimmed.to_owned(), host, token })
    }

    /// What a model is made of at its revision's commit.
    ///
    /// # Errors
    /// When the hub does not say, or says what cannot be trusted.
    pub fn model(&self, name: &Name) -> Result<Model, Error> {
        let text = format!("look up model {} at {}", name.id, name.revision);
        let task = Task { text, host: self.host.clone(), peer: Peer::Hub };
        let url = description_url(&self.endpoint, &name.id, &name.revision);
        let mut ask = Ask::new(Method::GET, url).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            ask = ask.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let wire = &self.client.wire;
        let (answer, body) = task.document(&wire.retry, MAX_DOCUMENT_BYTES, || wire.steady(&task, &ask))?;
        if answer.status() != 200 {
            return Err(task.refused(answer));
        }
        model(&name.id, &body).map_err(|why| task.protocol(&format!("describes the model wrongly: {why}")))
    }

    /// A file of a model.
    ///
    /// # Errors
    /// When its path makes no URL.
    pub fn file(&self, model: &Model, file: &File) -> Result<Download, Error> {
        Download::of_hub(self.client.wire.clone(), &model.url(&self.endpoint, file), self.token.clone(), file.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_an_optional_revision() {
        let name: Name = "hf://org/a-b.c_1@refs/pr/2".parse().expect("name");
        assert_eq!((name.id.as_str(), name.revision.as_str()), ("org/a-b.c_1", "refs/pr/2"));
        assert_eq!("hf://gpt2".parse::<Name>().expect("name").revision, "main");
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
    }
}
