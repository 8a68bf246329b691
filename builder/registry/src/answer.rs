//! What came back: whose answer it is, its headers, and its body, bounded in bytes and in time.
//!
//! Only the host that was asked may ask who we are. A server that a redirect led to is another one, however it was
//! found: its challenge would name a realm of its own, and our password would go there (CVE-2020-15157 is the same
//! in containerd).

use std::io::Read;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderName, Response, header};
use ureq::{Body, BodyReader};

use crate::error::{Error, Peer, advice};
use crate::pace::{Pace, Paced};
use crate::parse::{self, Challenge};
use crate::retry::{Patience, Retry};
use crate::wire::Task;

/// Most of an error's body that is read (bytes).
const MAX_ERROR_BODY: u64 = 64 << 10;

/// An answer, and whose it is.
pub(crate) struct Answer {
    response: Box<Response<Body>>,
    /// Where it came from: after redirects not where it was asked for.
    url: String,
    /// Whether a redirect left the host that was asked, even if another one led back.
    astray: bool,
    pace: Pace,
}

impl Answer {
    pub(crate) fn new(response: Response<Body>, url: &str, pace: &Pace) -> Self {
        Self { response: Box::new(response), url: url.to_owned(), astray: false, pace: pace.clone() }
    }

    /// The same, after redirects that left the host that was asked.
    pub(crate) fn astray(self) -> Self {
        Self { astray: true, ..self }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// A header's value, where it is text.
    pub(crate) fn text(&self, name: &HeaderName) -> Option<&str> {
        let value = self.response.headers().get(name)?.to_str().ok()?;
        (value.len() <= parse::MAX_HEADER).then_some(value)
    }

    /// Where it points to, from where it came.
    pub(crate) fn location(&self) -> Option<String> {
        parse::join(&self.url, self.text(&header::LOCATION)?)
    }

    /// Whether redirects left the host that was asked.
    pub(crate) fn is_astray(&self) -> bool {
        self.astray
    }

    /// Where the next page of a list is.
    pub(crate) fn next_page(&self) -> Option<Option<String>> {
        self.text(&header::LINK).and_then(parse::next_link).map(|next| parse::join(&self.url, next))
    }

    /// How long the server wants us to wait.
    pub(crate) fn wish(&self) -> Option<Duration> {
        parse::retry_after(self.text(&header::RETRY_AFTER)?, SystemTime::now())
    }

    /// The challenges of a refusal for want of a proof who we are; `None` where it is not `origin` itself that asks.
    pub(crate) fn questions(&self, origin: &str) -> Option<Vec<Challenge>> {
        if self.status() != 401 || self.astray || parse::origin(&self.url).as_deref() != Some(origin) {
            return None;
        }
        let headers = self.response.headers().get_all(header::WWW_AUTHENTICATE);
        Some(headers.iter().take(8).filter_map(|v| v.to_str().ok()).flat_map(parse::challenges).collect())
    }

    /// Bytes of the body, where the server says them.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.response.body().content_length()
    }

    pub(crate) fn into_reader(self) -> Paced<BodyReader<'static>> {
        Paced::new(self.response.into_body().into_reader(), &self.pace)
    }

    /// Takes the body out; what is left has none.
    fn take_body(&mut self) -> Paced<BodyReader<'static>> {
        let nothing = Body::builder().data(Vec::new());
        Paced::new(std::mem::replace(self.response.body_mut(), nothing).into_reader(), &self.pace)
    }
}

impl Task {
    /// The error that an answer is.
    pub(crate) fn refused(&self, answer: Answer) -> Error {
        let status = answer.status();
        // Another host has other advice: to sign in at the one that was asked helps nobody.
        let (peer, host) = match parse::authority(&answer.url).filter(|_| answer.astray) {
            Some(other) => (Peer::Redirected, format!("{other}, where {} redirects to,", self.host)),
            None => (self.peer, self.host.clone()),
        };
        let mut body = Vec::new();
        // The status says enough when its explanation cannot be read.
        let _ = answer.into_reader().take(MAX_ERROR_BODY).read_to_end(&mut body);
        let error = parse::registry_error(&body);
        let advice = advice(peer, &self.host, status, &error);
        Error::Answer { task: self.text.clone(), host, status, error: Box::new(error), advice }
    }

    /// A whole document of at most `limit` bytes, asked for again when it breaks off.
    pub(crate) fn document(
        &self,
        retry: &Retry,
        limit: u64,
        mut ask: impl FnMut() -> Result<Answer, Error>,
    ) -> Result<(Answer, Vec<u8>), Error> {
        let mut patience = Patience::new(retry);
        loop {
            let mut answer = ask()?;
            let mut bytes = Vec::new();
            if !answer.is_success() {
                return Ok((answer, bytes));
            }
            let broken = match answer.take_body().take(limit + 1).read_to_end(&mut bytes) {
                Ok(_) if bytes.len() as u64 > limit => {
                    return Err(self.protocol(&format!("sends more than {limit} bytes")));
                }
                Ok(_) => return Ok((answer, bytes)),
                Err(broken) => broken,
            };
            if !patience.again(None) {
                let why = format!("breaks off in the middle of its answer again and again ({broken})");
                return Err(self.protocol(&why));
            }
        }
    }
}
