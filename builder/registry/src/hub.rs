//! Models of a hub that speaks Hugging Face's API: `hf://org/name@revision`.
//!
//! A revision is resolved to a commit once; files are then taken from that commit only. Each file has a hash
//! that the hub names: a sha256 for large ones (LFS), git's own for the others.

pub use hone_image::hub::{File, GitVerified, Identity, Model, Name};
use hone_image::hub::{description_url, model};
use hone_image::oci::MAX_DOCUMENT_BYTES;
use ureq::http::{Method, header};

use crate::client::Client;
use crate::download::Download;
use crate::error::{Error, Peer};
use crate::parse;
use crate::wire::{Ask, Task};

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
        let text = format!("look up model {} at {}", name.id, name.revision());
        let task = Task { text, host: self.host.clone(), peer: Peer::Hub };
        let url = description_url(&self.endpoint, &name.id, name.revision());
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
