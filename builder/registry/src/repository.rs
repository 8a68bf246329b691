//! One repository of a registry: its manifests and blobs (OCI distribution-spec 1.1).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hone_contract::digest::Digest;
use hone_contract::reference::Reference;
use hone_image::media;
use hone_image::oci::{Descriptor, MAX_DOCUMENT_BYTES};
use ureq::http::{HeaderName, Method, header};

use crate::answer::Answer;
use crate::auth::Auth;
use crate::error::{Error, Peer};
use crate::reach::Reach;
use crate::session::Session;
use crate::source::Source;
use crate::wire::{Ask, Task};

/// What a registry says the digest of its answer's content is.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The manifests that we take, in the order of our liking.
const ACCEPT: [&str; 4] = [media::INDEX, media::MANIFEST, media::DOCKER_INDEX, media::DOCKER_MANIFEST];

/// A repository; see the module. Threads may share it.
#[derive(Clone)]
pub struct Repository {
    pub(crate) session: Arc<Session>,
    domain: String,
    path: String,
}

/// A manifest or index as a registry gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the registry calls it.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest: computed here, equal to the one asked for and to the one the registry names.
    pub digest: Digest,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Repository {
    pub(crate) fn new(reach: Arc<Reach>, reference: &Reference, files: Vec<PathBuf>) -> Self {
        let (domain, path) = (reference.domain().to_owned(), reference.path().to_owned());
        let auth = Auth::new(&domain, &path, files);
        Self { session: Arc::new(Session::new(reach, auth)), domain, path }
    }

    /// `registry/name`, as in messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name within its registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The registry.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.session.reach.base(), self.path)
    }

    pub(crate) fn task(&self, operation: &str) -> Task {
        Task { text: operation.to_owned(), host: self.domain.clone(), peer: Peer::Registry }
    }

    pub(crate) fn pull(&self) -> String {
        format!("repository:{}:pull", self.path)
    }

    pub(crate) fn push(&self) -> String {
        format!("repository:{}:pull,push", self.path)
    }

    /// The manifest or index under a tag or digest, verified.
    ///
    /// # Errors
    /// When it is not there, is not had, is too large, or is not what its digest says.
    pub fn manifest(&self, target: &str) -> Result<Fetched, Error> {
        let task = self.task(&format!("pull manifest {}@{target}", self.name()));
        self.fetch_manifest(&task, target)?.map_err(|answer| task.refused(answer))
    }

    /// The same; `Err` within `Ok` is the answer that is none.
    pub(crate) fn fetch_manifest(&self, task: &Task, target: &str) -> Result<Result<Fetched, Answer>, Error> {
        let target = target_of(target)?;
        let ask =
            Ask::new(Method::GET, self.url(&format!("manifests/{target}"))).header(header::ACCEPT, ACCEPT.join(", "));
        let call = || self.session.call(task, &self.pull(), &ask);
        let (answer, bytes) = task.document(self.session.retry(), MAX_DOCUMENT_BYTES, call)?;
        if !answer.is_success() {
            return Ok(Err(answer));
        }
        let digest = Digest::of(&bytes);
        check_digest(task, digest, target.parse().ok())?;
        check_digest(task, digest, said_digest(&answer))?;
        let media_type = answer.text(&header::CONTENT_TYPE).and_then(|t| t.split(';').next()).unwrap_or_default();
        Ok(Ok(Fetched { media_type: media_type.trim().to_owned(), bytes, digest }))
    }

    /// Whether the repository has this blob, and no other of another size.
    pub(crate) fn holds_blob(&self, task: &Task, scope: &str, blob: &Descriptor) -> Result<bool, Error> {
        let url = self.url(&format!("blobs/{}", blob.digest));
        let answer = self.session.call(task, scope, &Ask::new(Method::HEAD, url))?;
        match answer.status() {
            404 => Ok(false),
            200 => {
                let size: Option<u64> = answer.text(&header::CONTENT_LENGTH).and_then(|t| t.parse().ok());
                match size {
                    Some(size) if size != blob.size => {
                        Err(task.protocol(&format!("has it with {size} bytes, want {}", blob.size)))
                    }
                    _ => Ok(true),
                }
            }
            _ => Err(task.refused(answer)),
        }
    }

    /// A blob from the offset `from` on, as a stream that survives its connection. It ends at the blob's
    /// size; its digest is for the caller to verify.
    ///
    /// # Errors
    /// When the blob is not had or has another size.
    pub fn blob(&self, blob: &Descriptor, from: u64) -> Result<Source, Error> {
        let task = self.task(&format!("pull blob {} of {}", blob.digest, self.name()));
        if from > blob.size {
            return Err(task.protocol(&format!("has {} bytes of it, want those from {from} on", blob.size)));
        }
        let (session, scope, asked) = (self.session.clone(), self.pull(), task.clone());
        let open = Box::new(move |ask: &Ask<'_>| session.once(&asked, &scope, ask));
        let url = self.url(&format!("blobs/{}", blob.digest));
        let bounds = (self.session.retry(), self.session.pace());
        Source::new(task, url, from, Some(blob.size), bounds, open).connected()
    }

    /// Stores a manifest or index under a tag or its digest; everything it names must be there.
    ///
    /// A manifest with a `subject` is entered into the subject's list of referrers where the registry keeps
    /// none itself.
    ///
    /// # Errors
    /// When the registry refuses, or stored something else.
    pub fn push_manifest(&self, target: &str, media_type: &str, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        let task = self.task(&format!("push manifest {}@{target}", self.name()));
        let target = target_of(target)?;
        check_digest(&task, digest, target.parse().ok())?;
        let ask = Ask {
            body: Some(bytes),
            ..Ask::new(Method::PUT, self.url(&format!("manifests/{target}"))).header(header::CONTENT_TYPE, media_type)
        };
        let answer = self.session.call(&task, &self.push(), &ask)?;
        if !answer.is_success() {
            return Err(task.refused(answer));
        }
        check_digest(&task, digest, said_digest(&answer))?;
        self.list_referrer(&answer, media_type, bytes, digest)?;
        Ok(digest)
    }
}

/// A tag or digest that may stand in a URL.
fn target_of(target: &str) -> Result<&str, Error> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let tag = target.bytes().next().is_some_and(word) && target.bytes().all(|b| word(b) || b".-".contains(&b));
    let valid = target.parse::<Digest>().is_ok() || (tag && target.len() <= 128);
    valid
        .then_some(target)
        .ok_or_else(|| Error::name("tag or digest", target, "want a tag or sha256:<64 hex digits>"))
}

fn said_digest(answer: &Answer) -> Option<Digest> {
    answer.text(&CONTENT_DIGEST)?.parse().ok()
}

fn check_digest(task: &Task, got: Digest, want: Option<Digest>) -> Result<(), Error> {
    match want {
        Some(want) if want != got => {
            Err(Error::Digest { task: task.text.clone(), host: task.host.clone(), got, want })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_may_share_a_repository_and_take_a_stream_along() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>() {}
        shared::<Repository>();
        shared::<crate::Client>();
        sent::<Source>();
    }

    #[test]
    fn targets_are_tags_or_digests() {
        for good in ["v1", "a_b.c-D", &Digest::of(b"x").to_string(), &format!("sha256-{}", Digest::of(b"x").hex())] {
            assert!(target_of(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "..", "a b", "a%2fb", "sha256:zz", &"x".repeat(129)] {
            assert!(target_of(bad).is_err(), "{bad}");
        }
    }
}
