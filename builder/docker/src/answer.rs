//! A daemon's answer, as bytes that came until the connection ended: status, body, and why it refuses.

use std::io;

use hone_contract::quoted_bytes;
use serde::Deserialize;

/// Header fields of an answer, at most.
const MAX_FIELDS: usize = 64;

/// An answer that is there whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    reason: String,
    body: Vec<u8>,
}

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
enum NotHttp {
    /// It is something else, or was cut off before its body.
    #[error("the answer is not HTTP{}", first_line(.0))]
    Other(Vec<u8>),
    /// It ends before it says that it does.
    #[error("the answer is cut off: got {got} bytes of its body, want {want}")]
    Short { got: u64, want: u64 },
    /// The same, of chunks.
    #[error("the answer is cut off, or its chunks are none")]
    Chunks,
}

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    if line.is_empty() { String::new() } else { format!(": {}", quoted_bytes(line)) }
}

impl From<NotHttp> for io::Error {
    fn from(error: NotHttp) -> Self {
        Self::other(error)
    }
}

impl Answer {
    /// Reads an answer that ended with its connection (RFC 9112, 6.3).
    ///
    /// # Errors
    /// When it is none, or not whole.
    pub fn parse(answer: &[u8]) -> io::Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(at)) = head.parse(answer) else {
            return Err(NotHttp::Other(answer.to_vec()).into());
        };
        let field = |name: &str| head.headers.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value);
        let rest = &answer[at..];
        let body = match field("transfer-encoding") {
            Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => joined(rest)?,
            _ => sized(rest, field("content-length"))?,
        };
        let (status, reason) = (head.code.unwrap_or_default(), head.reason.unwrap_or_default().to_owned());
        Ok(Self { status, reason, body })
    }

    /// The bytes of an answer that is good; why it is not, in the daemon's own words.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub fn good(self) -> Result<Vec<u8>, String> {
        match self.status {
            200 => Ok(self.body),
            _ => Err(self.refusal().unwrap_or_default()),
        }
    }

    /// Why it refuses; `None` when it does not. Of an answer in lines (Engine API, ImageLoad) each may say so: the status
    /// came before.
    pub fn refusal(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Line {
            /// Of a body that began well (Engine API, JSONMessage).
            error: Option<String>,
            /// Of a status that is not 200.
            message: Option<String>,
        }
        let lines = serde_json::Deserializer::from_slice(&self.body).into_iter::<Line>();
        let said = lines.map_while(Result::ok).find_map(|line| line.error.or(line.message));
        let status = || format!("status {} {}", self.status, self.reason).trim_end().to_owned();
        said.or_else(|| (self.status != 200).then(status))
    }
}

/// A body whose length is said, or that ends with the connection.
fn sized(body: &[u8], length: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let want = length.map(|text| std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<u64>().ok()));
    match want {
        None => Ok(body.to_vec()),
        Some(Some(want)) => match usize::try_from(want).ok().and_then(|want| body.get(..want)) {
            Some(body) => Ok(body.to_vec()),
            None => Err(NotHttp::Short { got: body.len() as u64, want }.into()),
        },
        Some(None) => Err(NotHttp::Other(length.unwrap_or_default().to_vec()).into()),
    }
}

/// The chunks of a body, put together; one that is cut off is an answer cut off.
fn joined(mut chunks: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(chunks) else {
            return Err(NotHttp::Chunks.into());
        };
        if size == 0 {
            return Ok(body);
        }
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size));
        let chunk = end.and_then(|end| Some((chunks.get(at..end)?, chunks.get(end..)?.strip_prefix(b"\r\n")?)));
        let Some((bytes, rest)) = chunk else { return Err(NotHttp::Chunks.into()) };
        body.extend_from_slice(bytes);
        chunks = rest;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn says(answer: &str) -> Result<Option<String>, String> {
        Answer::parse(answer.as_bytes()).map(|answer| answer.refusal()).map_err(|e| e.to_string())
    }

    /// The chunks of a request, put together.
    pub(crate) fn unchunked(chunks: &[u8]) -> Vec<u8> {
        joined(chunks).expect("chunks")
    }

    #[test]
    fn an_answer_says_whether_docker_has_the_image() {
        assert_eq!(says(&format!("{CHUNKED}f\r\n{{\"stream\":\"ok\"}}\r\n0\r\n\r\n")), Ok(None));
        assert_eq!(
            says(&format!("{CHUNKED}7\r\n{{\"error\r\n6\r\n\":\"no\"\r\n1\r\n}}\r\n0\r\n\r\n")),
            Ok(Some("no".into()))
        );
        assert_eq!(says("HTTP/1.1 500 x\r\n\r\n{\"message\":\"broken\"}"), Ok(Some("broken".into())));
        assert_eq!(says("HTTP/1.1 404 x\r\n\r\n<html>"), Ok(Some("status 404 x".into())));
        for cut in [
            "",
            "SSH-2.0",
            &format!("{CHUNKED}f\r\n{{\"stream\""),
            &format!("{CHUNKED}f\r\n{{\"stream\":\"ok\"}}\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":1}",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{\"a\":1}",
        ] {
            assert!(says(cut).is_err(), "{cut:?}");
        }
        assert_eq!(says("SSH-2.0-\u{1b}[2J\r\n"), Err(r"the answer is not HTTP: SSH-2.0-\u{1b}[2J".into()));
    }

    #[test]
    fn a_body_is_what_its_framing_says() {
        let body = |answer: &str| Answer::parse(answer.as_bytes()).expect("an answer").good().expect("good");
        assert_eq!(body("HTTP/1.0 200 OK\r\n\r\n[]"), b"[]");
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]more"), b"[]");
        assert_eq!(body(&format!("{CHUNKED}1\r\n[\r\n1\r\n]\r\n0\r\n\r\n")), b"[]");
    }

    #[test]
    fn an_answer_s_chunks_are_bounded_by_what_is_there() {
        for size in ["ffffffffffffffff", "fffffffffffffff8", "7fffffffffffffff", "10000000000000000"] {
            let twice = format!("{CHUNKED}{size}\r\n{{}}\r\n{size}\r\n{{}}\r\n0\r\n\r\n");
            assert!(says(&twice).is_err(), "{size}");
        }
        assert!(says(&format!("{CHUNKED}2\r\n{{}}\r\n0\r\n\r\n")).is_ok());
    }
}
