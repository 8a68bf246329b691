//! One blob on its way to a registry, in one of three ways.
//!
//! First the whole in one `PATCH`, as docker sends it; where a server or a proxy before it refuses such a body,
//! in chunks; where it refuses `PATCH`, in one `PUT`. What breaks is taken up at the offset the registry
//! confirms. The data is read from its start or from such an offset, never held in memory.

use std::io::{self, Read};

use hone_image::hub::UNRESERVED;
use hone_image::oci::Descriptor;
use percent_encoding::utf8_percent_encode;
use ureq::http::{Method, header};

use crate::answer::Answer;
use crate::error::Error;
use crate::parse;
use crate::push::OpenAt;
use crate::repository::Repository;
use crate::retry::Patience;
use crate::wire::{Ask, Stream, Task, is_passing, passing};

/// A chunk, unless the registry wants larger or a proxy smaller ones (bytes).
const CHUNK: u64 = 16 << 20;
/// The smallest chunk we go down to (bytes).
const SMALLEST_CHUNK: u64 = 1 << 20;
/// Blobs up to this size go in one `PUT`: a request less (bytes).
const SMALL: u64 = 1 << 20;
/// Steps of one push without an end: far above what the largest blob in the smallest chunks needs.
const MAX_STEPS: u32 = 1 << 22;

/// How the bytes go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All in one `PATCH`.
    Whole,
    /// In `PATCH`es of this size.
    Chunks(u64),
    /// All in the closing `PUT`.
    Put,
}

/// The registry's side of an upload.
pub(crate) struct State {
    /// Where the next request goes.
    pub url: String,
    /// Bytes that are over.
    pub at: u64,
    /// The least chunk but for the last one.
    pub least: u64,
}

/// One blob on its way.
pub(crate) struct Upload<'a> {
    repository: &'a Repository,
    task: &'a Task,
    scope: String,
    blob: &'a Descriptor,
    way: Way,
    state: State,
    sent: u64,
    /// A refusal that may be due to what the registry has of it was met by a new upload: once.
    begun_again: bool,
    /// Whether to ask before large bodies.
    expect: bool,
    patience: Patience,
}

/// What a step led to.
enum Step {
    /// The blob is stored.
    Done,
    /// Some of it is over.
    On,
    /// It did not work; the registry knows how far it came.
    Broken(Failure),
}

/// A step that failed: with an answer or without.
enum Failure {
    Answer(Answer),
    Lost(Error),
    /// The registry knows us now.
    Introduced,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(repository: &'a Repository, task: &'a Task, blob: &'a Descriptor, state: State) -> Self {
        let way = if blob.size <= SMALL { Way::Put } else { Way::Whole };
        let (scope, patience) = (repository.push(), Patience::new(repository.session.retry()));
        Self { repository, task, scope, blob, way, state, sent: 0, begun_again: false, expect: true, patience }
    }

    /// Sends the blob; how many bytes went out.
    pub(crate) fn run(mut self, open: OpenAt<'_>, seen: &mut dyn FnMut(u64)) -> Result<u64, Error> {
        for _ in 0..MAX_STEPS {
            let step = if self.state.at == self.blob.size && self.blob.size > 0 {
                self.close()?
            } else {
                self.send(open, seen)?
            };
            match step {
                Step::Done => {
                    seen(self.blob.size);
                    return Ok(self.sent);
                }
                Step::On => {}
                Step::Broken(failure) => {
                    if self.recover(failure)? {
                        return Ok(self.sent);
                    }
                }
            }
        }
        Err(self.task.protocol("takes the blob in endless steps"))
    }

    /// Sends the next bytes.
    fn send(&mut self, open: OpenAt<'_>, seen: &mut dyn FnMut(u64)) -> Result<Step, Error> {
        let at = self.state.at;
        let left = self.blob.size - at;
        let (method, url, size) = match self.way {
            Way::Put => (Method::PUT, self.closing_url(), left),
            Way::Whole => (Method::PATCH, self.state.url.clone(), left),
            Way::Chunks(size) => (Method::PATCH, self.state.url.clone(), left.min(size.max(self.state.least))),
        };
        let mut ask = Ask::new(method, url).header(header::CONTENT_TYPE, "application/octet-stream");
        if matches!(self.way, Way::Chunks(_)) || at > 0 {
            ask = ask.header(header::CONTENT_RANGE, format!("{at}-{}", (at + size).saturating_sub(1)));
        }
        // A refusal comes before gigabytes do.
        if self.expect && size > CHUNK {
            ask = ask.header(header::EXPECT, "100-continue");
        }
        let source = open(at).map_err(|e| self.unread(e))?;
        let mut body = Counted { source, left: size, at, seen, failed: None };
        let result = self.repository.session.send(self.task, &self.scope, &ask, Stream { reader: &mut body, size });
        self.sent += body.at - at;
        if let Some(e) = body.failed.take() {
            return Err(self.unread(e));
        }
        match result {
            Ok(None) => Ok(Step::Broken(Failure::Introduced)),
            Ok(Some(answer)) => self.took(answer, at, size),
            Err(error) if is_passing(&error) => Ok(Step::Broken(Failure::Lost(error))),
            Err(error) => Err(error),
        }
    }

    /// Reads the answer to bytes that went over whole.
    fn took(&mut self, answer: Answer, at: u64, size: u64) -> Result<Step, Error> {
        match (self.way, answer.status()) {
            // Some registries close the upload with the last chunk.
            (_, 201) if at + size == self.blob.size => return Ok(Step::Done),
            (Way::Whole | Way::Chunks(_), 202 | 204) => {}
            _ => return Ok(Step::Broken(Failure::Answer(answer))),
        }
        let end = answer.text(&header::RANGE).and_then(parse::upload_offset).unwrap_or(at + size);
        if end > at + size {
            let why = format!("has {end} bytes of an upload of which {} were sent", at + size);
            return Err(self.task.protocol(&why));
        }
        self.moved(&answer)?;
        // `0-0` is also what an upload of one byte says.
        let end = if end == 0 && at + size == 1 { 1 } else { end };
        if end <= at {
            let error = self.task.protocol("confirms none of the bytes that were sent");
            return Ok(Step::Broken(Failure::Lost(error)));
        }
        self.state.at = end;
        self.patience.progress(end - at);
        Ok(Step::On)
    }

    /// Ends the upload under the blob's digest.
    fn close(&mut self) -> Result<Step, Error> {
        let ask = Ask::new(Method::PUT, self.closing_url()).header(header::CONTENT_TYPE, "application/octet-stream");
        // As a stream of nothing: a registry takes its time to digest what it has.
        match self.repository.session.send(self.task, &self.scope, &ask, Stream { reader: &mut io::empty(), size: 0 })
        {
            Ok(None) => Ok(Step::Broken(Failure::Introduced)),
            Ok(Some(answer)) if matches!(answer.status(), 201 | 204) => Ok(Step::Done),
            Ok(Some(answer)) => Ok(Step::Broken(Failure::Answer(answer))),
            Err(error) if is_passing(&error) => Ok(Step::Broken(Failure::Lost(error))),
            Err(error) => Err(error),
        }
    }

    fn closing_url(&self) -> String {
        let separator = if self.state.url.contains('?') { '&' } else { '?' };
        let digest = self.blob.digest.to_string();
        format!("{}{separator}digest={}", self.state.url, utf8_percent_encode(&digest, UNRESERVED))
    }

    /// After a failure: finds where the registry is and in which way to go on, or gives up. `Ok(true)`: the
    /// blob is stored after all.
    fn recover(&mut self, failure: Failure) -> Result<bool, Error> {
        let (status, wish) = match &failure {
            Failure::Answer(answer) => (answer.status(), answer.wish()),
            Failure::Lost(_) => (0, None),
            Failure::Introduced => (401, None),
        };
        let introduced = matches!(failure, Failure::Introduced);
        let hopeful = introduced || status == 0 || passing(status) || self.other_way(status);
        if !hopeful || !self.patience.again(wish) {
            return Err(match failure {
                Failure::Answer(answer) => self.task.refused(answer),
                Failure::Lost(error) => error,
                Failure::Introduced => self.task.protocol("asks again and again who we are"),
            });
        }
        let before = self.state.at;
        let refused_size = status == 413;
        if !self.resume()? {
            if self.repository.holds_blob(self.task, &self.scope, self.blob)? {
                return Ok(true);
            }
            self.state = self.repository.begin(self.task)?;
        }
        let stuck = self.state.at <= before && !introduced && status != 429;
        if refused_size || stuck {
            self.way = self.next_way(status);
        }
        Ok(false)
    }

    /// Whether going another way may get past a refusal.
    fn other_way(&mut self, status: u16) -> bool {
        match (self.way, status) {
            (_, 417) if self.expect => {
                self.expect = false;
                true
            }
            (_, 404 | 416) => true,
            (Way::Chunks(size), 413) => size > SMALLEST_CHUNK,
            (Way::Whole | Way::Put, 413) => true,
            (Way::Whole | Way::Chunks(_), 400 | 405 | 411 | 415 | 501) | (Way::Put, 400) => {
                // Once: what the registry has may be spoilt, or it does not like this way.
                !std::mem::replace(&mut self.begun_again, true)
            }
            _ => false,
        }
    }

    /// The way to go when one led nowhere.
    fn next_way(&self, status: u16) -> Way {
        match (self.way, status) {
            (_, 417) => self.way,
            (_, 400 | 404 | 405 | 411 | 415 | 416 | 501) => Way::Put,
            // What refuses a large body often just closes the connection, so that its 413 is never seen.
            (Way::Chunks(size), _) => Way::Chunks((size / 2).max(SMALLEST_CHUNK)),
            (Way::Put, s) if s != 413 => Way::Put,
            _ => Way::Chunks(CHUNK.min(self.blob.size / 2).max(SMALLEST_CHUNK)),
        }
    }

    /// Asks the registry how far the upload is. `Ok(false)`: it is none any more, or cannot be gone on with.
    fn resume(&mut self) -> Result<bool, Error> {
        if self.begun_again || self.way == Way::Put {
            return Ok(false);
        }
        let answer = self.repository.session.call(self.task, &self.scope, &Ask::new(Method::GET, &self.state.url))?;
        if !matches!(answer.status(), 200 | 202 | 204) {
            return Ok(false);
        }
        let at = answer.text(&header::RANGE).map_or(Some(0), parse::upload_offset);
        let Some(at) = at.filter(|at| *at <= self.blob.size) else { return Ok(false) };
        self.moved(&answer)?;
        if at > self.state.at {
            self.patience.progress(at - self.state.at);
        }
        self.state.at = at;
        Ok(true)
    }

    /// Goes where the answer to a request for where it was has the upload go on.
    fn moved(&mut self, answer: &Answer) -> Result<(), Error> {
        if let Some(url) = self.repository.session.onward(self.task, &self.state.url, answer)? {
            self.state.url = url;
        }
        Ok(())
    }

    fn unread(&self, source: io::Error) -> Error {
        Error::Source { task: self.task.text.clone(), source }
    }
}

/// The bytes of one request: exactly as many as were announced.
struct Counted<'a> {
    source: Box<dyn Read + Send>,
    left: u64,
    at: u64,
    seen: &'a mut dyn FnMut(u64),
    failed: Option<io::Error>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        if room == 0 {
            return Ok(0);
        }
        let read = loop {
            match self.source.read(&mut buf[..room]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                other => break other,
            }
        };
        match read {
            Ok(n) => {
                self.left -= n as u64;
                self.at += n as u64;
                (self.seen)(self.at);
                Ok(n)
            }
            Err(e) => {
                self.failed = Some(e);
                Err(io::Error::other("the data to send could not be read"))
            }
        }
    }
}
