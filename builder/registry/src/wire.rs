//! One HTTP request after another: agents, redirects, and trying again where that can help.
//!
//! A secret goes to the origin it is meant for and to no other: redirects elsewhere lose `Authorization`, and what
//! such a place answers is marked as [astray](Answer::astray). Redirects are followed here, not by the HTTP library, so
//! that this is seen in one place.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{Method, Request, Response, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _, SocksConnector, TcpConnector};
use ureq::{Agent, AsSendBody, Body, SendBody};

use crate::answer::Answer;
use crate::error::{Error, Peer, unreachable_advice};
use crate::pace::Pace;
use crate::parse;
use crate::proxy::Proxies;
use crate::retry::{Patience, Retry};
use crate::tls::Tls;
use crate::trust::Trust;

/// Most redirects in a row.
const MAX_REDIRECTS: usize = 10;
/// Longest wait for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest silence of a peer that is to send or to take bytes.
const SILENCE: Duration = Duration::from_secs(60);
/// How many times longer than for the head of any answer a server that has an upload to digest is waited for. Its silence and
/// that of one that took nothing are one when the bytes fit into the sockets between us.
const DIGESTING: u32 = 8;
/// Longest wait for a host to show whether it speaks TLS.
const PROBE: Duration = Duration::from_secs(10);
/// Size of the buffer between a file and a socket (bytes).
const BUFFER: usize = 256 << 10;

/// What a request is for: the words of its errors.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Operation and object.
    pub text: String,
    pub host: String,
    pub peer: Peer,
}

/// A request that can be sent any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Ask<'a> {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(header::HeaderName, String)>,
    pub body: Option<&'a [u8]>,
    /// Longest time for the body of the answer, if it is no document.
    pub longest: Option<Duration>,
}

impl Ask<'_> {
    pub(crate) fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: None, longest: None }
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A request body that is read once.
pub(crate) struct Stream<'a> {
    pub reader: &'a mut dyn Read,
    pub size: u64,
}

/// The ways out of this machine, and the patience with all of them.
#[derive(Debug)]
pub(crate) struct Wire {
    proxies: Proxies,
    direct: Agent,
    /// By scheme, through its proxy where one is set; `None`: what is set names no proxy.
    http: Option<Agent>,
    https: Option<Agent>,
    pub retry: Retry,
    pub pace: Pace,
}

impl Wire {
    pub(crate) fn new(agent_name: &str, trust: &Trust, retry: Retry, pace: Pace) -> Self {
        let agent = |proxy: Option<ureq::Proxy>| {
            let config = Agent::config_builder()
                .proxy(proxy)
                .http_status_as_error(false)
                .max_redirects(0)
                .user_agent(agent_name)
                .timeout_connect(Some(CONNECT))
                .timeout_per_read(Some(SILENCE))
                .timeout_per_write(Some(SILENCE))
                .timeout_send_request(Some(pace.document))
                .timeout_send_body(Some(pace.document))
                .timeout_recv_response(Some(pace.document))
                .timeout_recv_body(Some(pace.document))
                .output_buffer_size(BUFFER)
                .input_buffer_size(BUFFER)
                .max_idle_connections_per_host(8);
            match trust {
                Trust::Plain(tls) => config.tls_config(tls.clone()).build().new_agent(),
                Trust::Besides(tls) => {
                    let ways = ().chain(SocksConnector::default()).chain(ConnectProxyConnector::default());
                    let ways = ways.chain(TcpConnector::default()).chain(Tls(tls.clone()));
                    Agent::with_parts(config.build(), ways, DefaultResolver::default())
                }
            }
        };
        let direct = agent(None);
        let by_way_of = |proxy: &Option<String>| match proxy {
            None => Some(direct.clone()),
            Some(url) => ureq::Proxy::new(url).ok().map(|proxy| agent(Some(proxy))),
        };
        let proxies = Proxies::of_environment();
        Self { http: by_way_of(&proxies.http), https: by_way_of(&proxies.https), direct, proxies, retry, pace }
    }

    /// Sends a request, follows its redirects and tries again while that may help. The answer may still be
    /// any status; its body is unread.
    pub(crate) fn steady(&self, task: &Task, ask: &Ask<'_>) -> Result<Answer, Error> {
        let mut patience = Patience::new(&self.retry);
        loop {
            match self.follow(task, ask) {
                Ok(answer) if !passing(answer.status()) => return Ok(answer),
                Ok(answer) => {
                    if !patience.again(answer.wish()) {
                        return Ok(answer);
                    }
                }
                Err(error) => {
                    if !is_passing(&error) || !patience.again(None) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Sends a request once, and follows its redirects.
    pub(crate) fn follow(&self, task: &Task, ask: &Ask<'_>) -> Result<Answer, Error> {
        let mut ask = ask.clone();
        let mut astray = false;
        for _ in 0..MAX_REDIRECTS {
            let answer = self.once(task, &ask)?;
            let answer = if astray { answer.astray() } else { answer };
            let moved = match ask.method {
                Method::GET | Method::HEAD => matches!(answer.status(), 301 | 302 | 303 | 307 | 308),
                _ => matches!(answer.status(), 307 | 308),
            };
            if !moved {
                return Ok(answer);
            }
            let next = answer.location().ok_or_else(|| task.protocol("redirects to no URL that may be followed"))?;
            if parse::origin(&next) != parse::origin(&ask.url) {
                astray = true;
                ask.headers.retain(|(name, _)| name != header::AUTHORIZATION);
                if ask.body.is_some() {
                    return Err(task.protocol("redirects a request with a body to another host"));
                }
            }
            ask.url = next;
        }
        Err(task.protocol(&format!("redirects more than {MAX_REDIRECTS} times")))
    }

    fn once(&self, task: &Task, ask: &Ask<'_>) -> Result<Answer, Error> {
        let request = head(task, ask)?;
        let agent = self.agent(task, &ask.url)?;
        let longest = ask.longest.unwrap_or(self.pace.document);
        let sent = match ask.body {
            Some(bytes) => request.body(bytes).map_err(ureq::Error::from).and_then(|r| run(agent, r, longest)),
            None if matches!(ask.method, Method::POST | Method::PUT | Method::PATCH) => {
                request.body(&[][..]).map_err(ureq::Error::from).and_then(|r| run(agent, r, longest))
            }
            None => request.body(()).map_err(ureq::Error::from).and_then(|r| run(agent, r, longest)),
        };
        let response = sent.map_err(|e| task.unreachable(e))?;
        noted(ask, &response);
        Ok(Answer::new(response, &ask.url, &self.pace))
    }

    /// Sends a request whose body is a stream, once; redirects are the caller's.
    pub(crate) fn send(&self, task: &Task, ask: &Ask<'_>, stream: Stream<'_>) -> Result<Answer, Error> {
        let request = head(task, ask)?
            .header(header::CONTENT_LENGTH, stream.size)
            .body(SendBody::from_reader(stream.reader))
            .map_err(|e| task.unreachable(e.into()))?;
        let agent = self.agent(task, &ask.url)?;
        let digesting = Some(self.pace.document.saturating_mul(DIGESTING));
        let request = agent
            .configure_request(request)
            .timeout_per_read(digesting)
            .timeout_recv_response(digesting)
            .timeout_send_body(Some(self.pace.longest(Some(stream.size))))
            .build();
        let response = agent.run(request).map_err(|e| task.unreachable(e))?;
        noted(ask, &response);
        Ok(Answer::new(response, &ask.url, &self.pace))
    }

    /// Whether a host speaks TLS: asked once, and whatever it answers, or when it is refused for what it showed.
    pub(crate) fn speaks_tls(&self, host: &str) -> bool {
        let url = format!("https://{host}/v2/");
        let agent = if self.proxies.leave_out(&url) { Some(&self.direct) } else { self.https.as_ref() };
        let (Some(agent), Ok(request)) = (agent, Request::get(&url).body(())) else { return false };
        let longest = Some(PROBE.min(self.pace.document));
        match agent.run(agent.configure_request(request).timeout_global(longest).build()) {
            Ok(_) => true,
            Err(error) => is_of_tls(&error),
        }
    }

    /// The way to a URL. A proxy that is set and is none ends the request: it may be there to be the only way.
    fn agent(&self, task: &Task, url: &str) -> Result<&Agent, Error> {
        if self.proxies.leave_out(url) {
            return Ok(&self.direct);
        }
        let secure = parse::origin(url).is_some_and(|origin| origin.starts_with("https:"));
        let agent = if secure { &self.https } else { &self.http };
        agent.as_ref().ok_or_else(|| task.unreachable(ureq::Error::InvalidProxyUrl))
    }
}

/// A step for those who debug; what stands behind the `?` of a URL may be a key to it.
fn noted(ask: &Ask<'_>, response: &Response<Body>) {
    let place = ask.url.split(['?', '#']).next().unwrap_or_default();
    log::debug!("{} {place}: {}", ask.method, response.status());
}

/// Whether a peer that failed us speaks TLS at all: what answers in something else has sent no message of it.
fn is_of_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        ureq::Error::Io(e) => {
            let tls = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            tls.is_some_and(|inner| !matches!(inner, rustls::Error::InvalidMessage(_)))
        }
        _ => false,
    }
}

fn run<S: AsSendBody>(agent: &Agent, request: Request<S>, longest: Duration) -> Result<Response<Body>, ureq::Error> {
    agent.run(agent.configure_request(request).timeout_recv_body(Some(longest)).build())
}

fn head(task: &Task, ask: &Ask<'_>) -> Result<ureq::http::request::Builder, Error> {
    if parse::origin(&ask.url).is_none() {
        return Err(task.protocol("names a URL that is not http or https"));
    }
    let mut request = Request::builder().method(ask.method.clone()).uri(&ask.url);
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    Ok(request)
}

impl Task {
    pub(crate) fn protocol(&self, why: &str) -> Error {
        Error::Protocol { task: self.text.clone(), host: self.host.clone(), why: why.to_owned() }
    }

    fn unreachable(&self, source: ureq::Error) -> Error {
        let advice = unreachable_advice(self.peer, &self.host, &source);
        Error::Unreachable {
            task: self.text.clone(),
            host: self.host.clone(),
            advice,
            source: Box::new(source.into()),
        }
    }
}

/// Statuses that may be gone the next time.
pub(crate) fn passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Failures that may be gone the next time.
pub(crate) fn is_passing(error: &Error) -> bool {
    use io::ErrorKind as Kind;
    match error {
        Error::Answer { status, .. } => passing(*status),
        Error::Unreachable { source, .. } => match source.inner() {
            ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            ureq::Error::Io(e) => matches!(
                e.kind(),
                Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::NotConnected
                    | Kind::BrokenPipe
                    | Kind::UnexpectedEof
                    | Kind::TimedOut
                    | Kind::WouldBlock
                    | Kind::Interrupted
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::NetworkDown
            ),
            _ => false,
        },
        _ => false,
    }
}
