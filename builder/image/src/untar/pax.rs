//! Extended headers: GNU's long names, and PAX records (POSIX.1-2001, pax).

use super::header::Header;
use super::{MAX_NAME, Refused};

/// What extended headers say about the entry behind them.
#[derive(Default)]
pub(super) struct Extension {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    records: bool,
}

impl Extension {
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && !self.records
    }

    /// Reads the `body` of an extended header.
    pub(super) fn take(&mut self, header: &Header, mut body: &[u8]) -> Result<(), Refused> {
        while let (b'L' | b'K', Some(rest)) = (header.flag(), body.strip_suffix(&[0])) {
            body = rest;
        }
        match header.flag() {
            b'L' => name(&mut self.name, body),
            b'K' => name(&mut self.link, body),
            _ if self.records => Err(Refused::Twice),
            _ => {
                self.records = true;
                self.records(body)
            }
        }
    }

    /// `LENGTH KEY=VALUE\n`, one after another, the length counting all of it.
    fn records(&mut self, mut body: &[u8]) -> Result<(), Refused> {
        while !body.is_empty() {
            let space = body.iter().position(|b| *b == b' ').ok_or(Refused::Record)?;
            let length = decimal(&body[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(Refused::Record)?;
            let record = body.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or(Refused::Record)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or(Refused::Record)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            body = &body[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        match key {
            sparse if sparse.starts_with(b"GNU.sparse.") => Err(Refused::PaxSparse),
            // An empty value takes back what a global header said, and those say nothing here.
            _ if value.is_empty() => Ok(()),
            b"path" => name(&mut self.name, value),
            b"linkpath" => name(&mut self.link, value),
            b"size" => number(&mut self.size, value, "size"),
            b"uid" => number(&mut self.uid, value, "owner"),
            b"gid" => number(&mut self.gid, value, "group"),
            _ => Ok(()),
        }
    }
}

fn name(place: &mut Option<Vec<u8>>, name: &[u8]) -> Result<(), Refused> {
    if name.len() > MAX_NAME {
        return Err(Refused::Name);
    }
    // A name that is none ends at its first NUL to some, and the header's own counts to others.
    if name.is_empty() || name.contains(&0) {
        return Err(Refused::Nul);
    }
    once(place, name.to_vec())
}

fn number(place: &mut Option<u64>, value: &[u8], what: &'static str) -> Result<(), Refused> {
    once(place, decimal(value).ok_or(Refused::Number(what))?)
}

/// The first, the last and GNU's own are each some reader's choice.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Refused> {
    place.replace(value).map_or(Ok(()), |_| Err(Refused::Twice))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
