//! Requests to one registry, with our identity on them where the registry asks for it.

use std::sync::Arc;

use ureq::http::header;

use crate::answer::Answer;
use crate::auth::Auth;
use crate::error::Error;
use crate::pace::Pace;
use crate::parse;
use crate::reach::Reach;
use crate::retry::Retry;
use crate::wire::{Ask, Stream, Task};

/// Times that one request proves who we are: a token may end between being had and being shown, also because a thread
/// beside this one used it up.
const PROOFS: usize = 4;

/// A registry, and who we are at one of its repositories.
pub(crate) struct Session {
    pub reach: Arc<Reach>,
    auth: Auth,
}

impl Session {
    pub(crate) fn new(reach: Arc<Reach>, auth: Auth) -> Self {
        Self { reach, auth }
    }

    /// Whether the registry asked who we are.
    pub(crate) fn was_asked(&self) -> bool {
        self.auth.was_asked()
    }

    pub(crate) fn retry(&self) -> &Retry {
        &self.reach.wire.retry
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.reach.wire.pace
    }

    /// Sends a request, proves who we are where asked, and tries again while that may help.
    pub(crate) fn call(&self, task: &Task, scope: &str, ask: &Ask<'_>) -> Result<Answer, Error> {
        self.proven(scope, ask, |ask| self.reach.wire.steady(task, ask))
    }

    /// The same, once: for callers with a patience of their own.
    pub(crate) fn once(&self, task: &Task, scope: &str, ask: &Ask<'_>) -> Result<Answer, Error> {
        self.proven(scope, ask, |ask| self.reach.wire.follow(task, ask))
    }

    /// Sends a stream, once. `Ok(None)`: the registry asked who we are, and now knows; the stream must be sent
    /// again.
    pub(crate) fn send(
        &self,
        task: &Task,
        scope: &str,
        ask: &Ask<'_>,
        stream: Stream<'_>,
    ) -> Result<Option<Answer>, Error> {
        let proof = self.proof(scope, &ask.url)?;
        let answer = self.reach.wire.send(task, &with(ask, proof.as_deref()), stream)?;
        if self.auth.answer(&self.reach.wire, self.reach.origin(), &answer, scope, proof.as_deref())? {
            return Ok(None);
        }
        Ok(Some(answer))
    }

    fn proven(
        &self,
        scope: &str,
        ask: &Ask<'_>,
        mut send: impl FnMut(&Ask<'_>) -> Result<Answer, Error>,
    ) -> Result<Answer, Error> {
        for _ in 1..PROOFS {
            let proof = self.proof(scope, &ask.url)?;
            let answer = send(&with(ask, proof.as_deref()))?;
            if !self.auth.answer(&self.reach.wire, self.reach.origin(), &answer, scope, proof.as_deref())? {
                return Ok(answer);
            }
        }
        let proof = self.proof(scope, &ask.url)?;
        send(&with(ask, proof.as_deref()))
    }

    /// Where the answer to a request for `asked` has an upload go on; `None`: it names no place. What the registry is sent
    /// is sent as us, so that only the registry says where in it: once an upload is elsewhere, nothing leads back.
    pub(crate) fn onward(&self, task: &Task, asked: &str, answer: &Answer) -> Result<Option<String>, Error> {
        match answer.location() {
            Some(to) if self.is_home(&to) && (answer.is_astray() || !self.is_home(asked)) => {
                Err(task.protocol("leaves an upload to another host, and that host leads it back"))
            }
            to => Ok(to),
        }
    }

    /// Our identity is for the registry, not for where it sends us.
    fn proof(&self, scope: &str, url: &str) -> Result<Option<String>, Error> {
        if self.is_home(url) { self.auth.header(&self.reach.wire, scope) } else { Ok(None) }
    }

    fn is_home(&self, url: &str) -> bool {
        parse::origin(url).as_deref() == Some(self.reach.origin())
    }
}

fn with<'a>(ask: &Ask<'a>, proof: Option<&str>) -> Ask<'a> {
    let ask = ask.clone();
    match proof {
        Some(value) => ask.header(header::AUTHORIZATION, value),
        None => ask,
    }
}
