//! Answers to a registry's question who we are: Basic, or Bearer tokens of its token service
//! (distribution's token and OAuth2 specifications).
//!
//! Credentials go to the registry and to the token service it names itself (no place that it redirects to names one),
//! over no weaker scheme than the registry's own; tokens go to the registry only. Tokens are kept until shortly before
//! their end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use hone_image::hub::UNRESERVED;
use percent_encoding::utf8_percent_encode;
use ureq::http::{Method, header};

use crate::answer::Answer;
use crate::credentials::{Credential, find};
use crate::error::{Error, Peer};
use crate::parse::{self, Challenge};
use crate::wire::{Ask, Task, Wire};

/// A token is not used in its last seconds: the request must still arrive.
const MARGIN: Duration = Duration::from_secs(5);
/// Largest answer of a token service (bytes).
const MAX_TOKEN_DOCUMENT: u64 = 256 << 10;
/// What we call ourselves at a token service.
const CLIENT_ID: &str = "hone";

/// The state of our identity at one repository.
pub(crate) struct Auth {
    domain: String,
    path: String,
    files: Vec<PathBuf>,
    peer: Peer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    credential: Option<Option<Credential>>,
    basic: Option<String>,
    service: Option<Service>,
    tokens: HashMap<String, (String, Instant)>,
}

#[derive(Clone)]
struct Service {
    realm: String,
    name: Option<String>,
}

impl Auth {
    pub(crate) fn new(domain: &str, path: &str, files: Vec<PathBuf>) -> Self {
        Self {
            domain: domain.to_owned(),
            path: path.to_owned(),
            files,
            peer: Peer::Registry,
            state: Mutex::default(),
        }
    }

    /// Somebody who is to be shown to be known at a registry.
    pub(crate) fn of(domain: &str, credential: Credential) -> Self {
        let state = State { credential: Some(Some(credential)), ..State::default() };
        Self { state: Mutex::new(state), peer: Peer::Login, ..Self::new(domain, "", Vec::new()) }
    }

    /// Whether a registry asked who we are, and was told.
    pub(crate) fn was_asked(&self) -> bool {
        let state = self.state();
        state.basic.is_some() || state.service.is_some()
    }

    /// A poisoned lock guards a cache: the worst it holds is a stale token, which the registry refuses.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `Authorization` for `scope`, where a question was answered before.
    pub(crate) fn header(&self, wire: &Wire, scope: &str) -> Result<Option<String>, Error> {
        let mut state = self.state();
        if let Some(basic) = &state.basic {
            return Ok(Some(basic.clone()));
        }
        if let Some((value, end)) = state.tokens.get(scope)
            && Instant::now() < *end
        {
            return Ok(Some(value.clone()));
        }
        let Some(service) = state.service.clone() else { return Ok(None) };
        self.fetch(wire, &mut state, &service, scope, scope).map(Some)
    }

    /// Takes up the question of a registry (`origin`) that refuses a request sent with `tried`. `Ok(true)`: ask again,
    /// there is a new `Authorization`; `Ok(false)`: it asks nothing, or we have nothing else to say.
    pub(crate) fn answer(
        &self,
        wire: &Wire,
        origin: &str,
        refusal: &Answer,
        scope: &str,
        tried: Option<&str>,
    ) -> Result<bool, Error> {
        let Some(asked) = refusal.questions(origin) else { return Ok(false) };
        let mut state = self.state();
        let current = state.tokens.get(scope).map(|(value, _)| value.as_str()).or(state.basic.as_deref());
        // Another thread was here in the meantime.
        if current.is_some() && current != tried {
            return Ok(true);
        }
        if let Some(challenge) = asked.iter().find(|c| c.scheme == "bearer") {
            let service = self.service(origin, challenge)?;
            state.tokens.remove(scope);
            let wanted = united(scope, challenge.param("scope"));
            state.service = Some(service.clone());
            self.fetch(wire, &mut state, &service, scope, &wanted)?;
            return Ok(true);
        }
        if state.basic.is_some() || !asked.iter().any(|c| c.scheme == "basic") {
            return Ok(false);
        }
        state.basic = match self.credential(&mut state)? {
            Some(Credential::Password { user, password }) => Some(basic(&user, &password)),
            _ => None,
        };
        Ok(state.basic.is_some())
    }

    fn credential(&self, state: &mut State) -> Result<Option<Credential>, Error> {
        if state.credential.is_none() {
            state.credential = Some(find(&self.files, &self.domain, &self.path)?);
        }
        Ok(state.credential.clone().flatten())
    }

    fn service(&self, origin: &str, challenge: &Challenge) -> Result<Service, Error> {
        let realm = challenge.param("realm").unwrap_or_default();
        let weaker = origin.starts_with("https://") && parse::origin(realm).is_some_and(|o| o.starts_with("http://"));
        if parse::origin(realm).is_none() || weaker || realm.contains('#') {
            let why = "names no https token service (realm)";
            return Err(self.task(&self.domain).protocol(why));
        }
        Ok(Service { realm: realm.to_owned(), name: challenge.param("service").map(str::to_owned) })
    }

    fn task(&self, host: &str) -> Task {
        Task {
            text: match self.path.as_str() {
                "" => format!("log in to {}", self.domain),
                path => format!("get a token for {}/{path}", self.domain),
            },
            host: host.to_owned(),
            peer: self.peer,
        }
    }

    /// Gets a token for the scopes `wanted` and keeps it as the one for `scope`.
    fn fetch(
        &self,
        wire: &Wire,
        state: &mut State,
        service: &Service,
        scope: &str,
        wanted: &str,
    ) -> Result<String, Error> {
        let task = self.task(&self.domain);
        let credential = self.credential(state)?;
        let get = |form: &str, proof: Option<String>| {
            let ask = Ask::new(Method::GET, query(&service.realm, form));
            let ask = proof.into_iter().fold(ask, |ask, proof| ask.header(header::AUTHORIZATION, proof));
            task.document(&wire.retry, MAX_TOKEN_DOCUMENT, || wire.steady(&task, &ask))
        };
        let given = form(service, wanted, credential.as_ref());
        let (answer, body) = match &credential {
            Some(Credential::Identity(token)) => match self.exchange(wire, &task, service, &given)? {
                // Services that have no such request answer in one of these ways (containerd, docker/authorizer.go).
                (answer, _) if matches!(answer.status(), 400 | 401 | 404 | 405) => {
                    get(&form(service, wanted, None), Some(basic("", token)))?
                }
                exchanged => exchanged,
            },
            Some(Credential::Password { user, password }) => get(&given, Some(basic(user, password)))?,
            None => get(&given, None)?,
        };
        if !answer.is_success() {
            return Err(task.refused(answer));
        }
        let token = parse::token(&body).ok_or_else(|| task.protocol("gives no usable token"))?;
        let value = format!("Bearer {}", token.secret);
        let end = Instant::now() + Duration::from_secs(token.life).saturating_sub(MARGIN);
        state.tokens.insert(scope.to_owned(), (value.clone(), end));
        Ok(value)
    }

    /// Asks for a token by OAuth2's `POST`.
    fn exchange(&self, wire: &Wire, task: &Task, service: &Service, form: &str) -> Result<(Answer, Vec<u8>), Error> {
        let ask = Ask {
            body: Some(form.as_bytes()),
            ..Ask::new(Method::POST, service.realm.clone())
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        };
        task.document(&wire.retry, MAX_TOKEN_DOCUMENT, || wire.steady(task, &ask))
    }
}

/// Our scopes and what the registry asks for besides.
fn united(ours: &str, asked: Option<&str>) -> String {
    let mut scopes: Vec<&str> = ours.split(' ').filter(|s| !s.is_empty()).collect();
    for scope in asked.unwrap_or_default().split(' ').filter(|s| !s.is_empty()).take(8) {
        // `repository:a:pull` is in `repository:a:pull,push` already.
        if !scopes.iter().any(|have| *have == scope || have.starts_with(&format!("{scope},"))) {
            scopes.push(scope);
        }
    }
    scopes.join(" ")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn query(realm: &str, form: &str) -> String {
    format!("{realm}{}{form}", if realm.contains('?') { '&' } else { '?' })
}

/// The parameters of a token request: one `scope` a scope for a GET, one with blanks for OAuth2's POST.
fn form(service: &Service, scopes: &str, credential: Option<&Credential>) -> String {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    if let Some(name) = &service.name {
        pairs.push(("service", name));
    }
    match credential {
        Some(Credential::Identity(token)) => {
            let rest = [
                ("scope", scopes),
                ("grant_type", "refresh_token"),
                ("refresh_token", token),
                ("client_id", CLIENT_ID),
            ];
            pairs.extend(rest);
        }
        other => {
            pairs.extend(scopes.split(' ').filter(|s| !s.is_empty()).map(|scope| ("scope", scope)));
            if let Some(Credential::Password { user, .. }) = other {
                pairs.push(("account", user));
            }
        }
    }
    let escaped = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, UNRESERVED));
    pairs.iter().map(escaped).collect::<Vec<String>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_asked_for_once() {
        let ours = "repository:a:pull,push repository:b:pull";
        assert_eq!(united(ours, Some("repository:a:pull,push")), ours);
        assert_eq!(united(ours, Some("repository:a:pull")), ours);
        assert_eq!(
            united("repository:a:pull", Some("repository:a:pull,push")),
            "repository:a:pull repository:a:pull,push"
        );
        assert_eq!(united("", None), "");
    }

    #[test]
    fn token_requests_are_escaped() {
        let service = Service { realm: "https://a.example/t".into(), name: Some("reg & co".into()) };
        let password = Credential::Password { user: "u@x".into(), password: "p".into() };
        assert_eq!(
            query(&service.realm, &form(&service, "repository:a/b:pull,push", Some(&password))),
            "https://a.example/t?service=reg%20%26%20co&scope=repository%3Aa%2Fb%3Apull%2Cpush&account=u%40x"
        );
        let identity = form(&service, "s1 s2", Some(&Credential::Identity("t+k".into())));
        assert!(identity.contains("scope=s1%20s2") && identity.contains("refresh_token=t%2Bk"), "{identity}");
        assert_eq!(query("https://a.example/t?x=1", "y=2"), "https://a.example/t?x=1&y=2");
    }
}
