//! Answers that do not end, or not soon.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// A part of an answer that comes a byte at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drip {
    Head(Duration),
    Body(Duration),
    /// What follows the last chunk, for ever.
    Trailer(Duration),
}

/// Writes an answer of which a part comes slowly, until the client goes away.
pub fn dripped(mut stream: &TcpStream, status: u16, headers: &[(String, String)], body: &[u8], drip: Drip) {
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let (head, body, between): (String, Box<dyn Iterator<Item = u8>>, Duration) = match drip {
        Drip::Head(between) => (head, Box::new(b"X: x\r\n".iter().copied().cycle()), between),
        Drip::Body(between) => {
            (format!("{head}Content-Length: {}\r\n\r\n", body.len()), Box::new(body.iter().copied()), between)
        }
        Drip::Trailer(between) => {
            let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body, b"\r\n0\r\n"].concat());
            (String::new(), Box::new(b"a: b\r\n".iter().copied().cycle()), between)
        }
    };
    let _ = stream.write_all(head.as_bytes());
    for byte in body {
        if stream.write_all(&[byte]).is_err() {
            return;
        }
        std::thread::sleep(between);
    }
}
