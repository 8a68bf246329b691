//! A reader over HTTP that survives its connection: it asks for the rest by `Range` and goes on.
//!
//! It never splices: a server that ignores or refuses `Range` has its bytes skipped, one whose content changed in
//! between ends the reading. What the bytes should be is the caller's to verify.

use std::fmt;
use std::io::{self, Read};

use ureq::http::{Method, header};

use crate::answer::Answer;
use crate::error::Error;
use crate::pace::Pace;
use crate::parse;
use crate::retry::{Patience, Retry};
use crate::wire::{Ask, Task, is_passing, passing};

/// Asks a server for a URL's content; called anew for each connection.
pub(crate) type Open = Box<dyn FnMut(&Ask<'_>) -> Result<Answer, Error> + Send>;

/// A blob or file as a stream; see the module.
pub struct Source {
    open: Open,
    task: Task,
    url: String,
    at: u64,
    size: Option<u64>,
    /// Whether the content may change under its name, and what told it apart at the start.
    mutable: bool,
    validator: Option<String>,
    body: Option<Box<dyn Read + Send>>,
    /// Whether the server gives no parts: then the whole is asked for, and its beginning skipped.
    whole: bool,
    patience: Patience,
    pace: Pace,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("task", &self.task).field("at", &self.at).field("size", &self.size).finish()
    }
}

impl Source {
    /// A reader of `url` from the offset `at` on. `size`: what the whole must have, where that is known.
    pub(crate) fn new(
        task: Task,
        url: String,
        at: u64,
        size: Option<u64>,
        (retry, pace): (&Retry, &Pace),
        open: Open,
    ) -> Self {
        Self {
            open,
            task,
            url,
            at,
            size,
            mutable: false,
            validator: None,
            body: None,
            whole: false,
            patience: Patience::new(retry),
            pace: pace.clone(),
        }
    }

    /// The name is not that of its content: what comes after a break must be of the same file.
    pub(crate) fn mutable(mut self) -> Self {
        self.mutable = true;
        self
    }

    /// Connects now, so that a refusal is seen before the first byte is read.
    pub(crate) fn connected(mut self) -> Result<Self, Error> {
        if self.size != Some(self.at) || self.at == 0 {
            self.connect()?;
        }
        Ok(self)
    }

    /// Size of the whole, where it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The offset of the next byte.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Connects and puts the body at our offset, trying again while that may help.
    fn connect(&mut self) -> Result<(), Error> {
        loop {
            let error = match self.request() {
                Ok(answer) if passing(answer.status()) => {
                    if self.patience.again(answer.wish()) {
                        continue;
                    }
                    return Err(self.task.refused(answer));
                }
                Ok(answer) => return self.accept(answer),
                Err(error) => error,
            };
            if !is_passing(&error) || !self.patience.again(None) {
                return Err(error);
            }
        }
    }

    fn request(&mut self) -> Result<Answer, Error> {
        let mut ask = Ask::new(Method::GET, self.url.as_str()).header(header::ACCEPT_ENCODING, "identity");
        ask.longest = Some(self.pace.longest(self.size.map(|size| size - self.at)));
        if self.at > 0 && !self.whole {
            ask = ask.header(header::RANGE, format!("bytes={}-", self.at));
            // A weak validator must not be sent (RFC 9110, section 13.1.5); it is compared below all the same.
            if let Some(known) = self.validator.as_ref().filter(|v| !v.starts_with("W/")) {
                ask = ask.header(header::IF_RANGE, known.clone());
            }
        }
        (self.open)(&ask)
    }

    fn accept(&mut self, answer: Answer) -> Result<(), Error> {
        let (start, total) = match answer.status() {
            200 => (0, answer.content_length()),
            206 => {
                let range = answer.text(&header::CONTENT_RANGE).and_then(parse::content_range);
                let range = range.ok_or_else(|| self.task.protocol("sends a part and does not say which"))?;
                (range.start, range.total)
            }
            416 => return self.past_the_end(answer),
            _ => return Err(self.task.refused(answer)),
        };
        if start > self.at {
            let why = format!("sends the bytes from {start} on, want those from {}", self.at);
            return Err(self.task.protocol(&why));
        }
        self.same_content(&answer)?;
        if let (Some(got), Some(want)) = (total, self.size)
            && got != want
        {
            return Err(self.task.protocol(&format!("has {got} bytes, want {want}")));
        }
        self.size = self.size.or(total);
        if self.size.is_some_and(|size| size < self.at) {
            return Err(self.fewer());
        }
        self.body = Some(Box::new(Skipping { skip: self.at - start, inner: answer.into_reader() }));
        Ok(())
    }

    /// There is nothing from our offset on (416): either we are at the end, or the server gives no such part.
    fn past_the_end(&mut self, answer: Answer) -> Result<(), Error> {
        let total = answer.text(&header::CONTENT_RANGE).and_then(parse::unsatisfied_range);
        self.same_content(&answer)?;
        match (total, self.size) {
            (Some(total), None) if total == self.at => self.size = Some(total),
            (Some(total), None) if total < self.at => return Err(self.fewer()),
            (Some(got), Some(want)) if got != want => {
                return Err(self.task.protocol(&format!("has {got} bytes, want {want}")));
            }
            _ if self.whole || self.at == 0 => return Err(self.task.refused(answer)),
            _ => {
                self.whole = true;
                return self.connect();
            }
        }
        Ok(())
    }

    fn fewer(&self) -> Error {
        Error::Fewer { task: self.task.text.clone(), host: self.task.host.clone(), have: self.at }
    }

    /// The content is the one that was begun, as far as the server lets us know.
    fn same_content(&mut self, answer: &Answer) -> Result<(), Error> {
        // Mirrors of one blob name it differently; its digest, which the caller verifies, does not.
        if !self.mutable {
            return Ok(());
        }
        let now = answer.text(&header::ETAG).or_else(|| answer.text(&header::LAST_MODIFIED));
        match (&self.validator, now) {
            (Some(known), Some(now)) if known != now => {
                Err(self.task.protocol("has other content than when this transfer began; start again"))
            }
            (None, Some(now)) => {
                self.validator = Some(now.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What is left to give, at most `room`.
    fn room(&self, room: usize) -> usize {
        match self.size {
            Some(size) => usize::try_from(size - self.at).map_or(room, |left| left.min(room)),
            None => room,
        }
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let room = self.room(buf.len());
            if room == 0 {
                return Ok(0);
            }
            let Some(body) = &mut self.body else {
                self.connect()?;
                continue;
            };
            let broken = match body.read(&mut buf[..room]) {
                Ok(0) if self.size.is_none() => return Ok(0),
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(n) => {
                    self.at += n as u64;
                    self.patience.progress(n as u64);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e,
            };
            self.body = None;
            if !self.patience.again(None) {
                let at = self.at;
                let why = format!("breaks off at byte {at} again and again ({broken})");
                return Err(self.task.protocol(&why).into());
            }
        }
    }
}

/// Leaves out the first bytes of a body: those that are here already.
struct Skipping<R> {
    skip: u64,
    inner: R,
}

impl<R: Read> Read for Skipping<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            let mut scratch = vec![0; 64 << 10];
            while self.skip > 0 {
                let want = usize::try_from(self.skip).map_or(scratch.len(), |left| left.min(scratch.len()));
                match self.inner.read(&mut scratch[..want])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => self.skip -= n as u64,
                }
            }
        }
        self.inner.read(buf)
    }
}
