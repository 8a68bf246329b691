//! Files behind http and https URLs, as streams that are resumed and never spliced.

use std::sync::Arc;

use hone_contract::quoted;
use ureq::http::header;

use crate::error::{Error, Peer};
use crate::parse;
use crate::source::Source;
use crate::wire::{Ask, Task, Wire};

/// A file at a URL; what it should be is the caller's to know and to verify.
#[derive(Debug, Clone)]
pub struct Download {
    wire: Arc<Wire>,
    task: Task,
    url: String,
    token: Option<String>,
    size: Option<u64>,
}

impl Download {
    pub(crate) fn new(wire: Arc<Wire>, url: &str) -> Result<Self, Error> {
        let url = url.split('#').next().unwrap_or(url);
        let host = parse::authority(url)
            .ok_or_else(|| Error::name("URL", url, "want http://HOST/... or https://HOST/..."))?;
        // A query may be a signature: it stays out of messages.
        let shown = url.split('?').next().unwrap_or(url);
        let task = Task { text: format!("download {}", quoted(shown)), host: host.to_owned(), peer: Peer::Web };
        Ok(Self { wire, task, url: url.to_owned(), token: None, size: None })
    }

    /// A file of a hub, of a size that is known, for those who show `token`.
    pub(crate) fn of_hub(wire: Arc<Wire>, url: &str, token: Option<String>, size: u64) -> Result<Self, Error> {
        let plain = Self::new(wire, url)?;
        let task = Task { peer: Peer::Hub, ..plain.task.clone() };
        Ok(Self { task, token, size: Some(size), ..plain })
    }

    /// The file from the offset `from` on; connected, so that its size is known where the server says it.
    ///
    /// # Errors
    /// When it is not had.
    pub fn open(&self, from: u64) -> Result<Source, Error> {
        let (wire, task, token) = (self.wire.clone(), self.task.clone(), self.token.clone());
        let open = Box::new(move |ask: &Ask<'_>| match &token {
            // To the hub only: redirects to its storage lose it.
            Some(token) => wire.follow(&task, &ask.clone().header(header::AUTHORIZATION, format!("Bearer {token}"))),
            None => wire.follow(&task, ask),
        });
        let bounds = (&self.wire.retry, &self.wire.pace);
        let source = Source::new(self.task.clone(), self.url.clone(), from, self.size, bounds, open);
        // A hub's files are those of a commit.
        if self.task.peer == Peer::Hub { source.connected() } else { source.mutable().connected() }
    }
}
