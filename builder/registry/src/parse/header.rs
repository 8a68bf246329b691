//! `Range`, `Content-Range`, `Retry-After` and `Link`.

use std::time::{Duration, SystemTime};

use super::MAX_HEADER;

/// A `Content-Range: bytes START-END/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte that is sent.
    pub start: u64,
    /// Last byte that is sent.
    pub end: u64,
    /// Size of the whole, where the server knows it.
    pub total: Option<u64>,
}

/// Reads a `Content-Range` of a 206.
pub fn content_range(text: &str) -> Option<ContentRange> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (number(start)?, number(end)?);
    let total = match total.trim() {
        "*" => None,
        size => Some(number(size)?),
    };
    (start <= end && total.is_none_or(|t| end < t)).then_some(ContentRange { start, end, total })
}

/// Reads the `Content-Range: bytes */SIZE` of a 416: the size of the whole.
pub fn unsatisfied_range(text: &str) -> Option<u64> {
    number(text.trim().strip_prefix("bytes")?.trim_start().strip_prefix("*/")?)
}

/// The offset at which an upload goes on, from the `Range: 0-END` of an upload's status.
///
/// Servers of the distribution family say `0-0` for an empty upload as well as for one of a single byte: it
/// is read as empty, so that nothing is ever left out.
pub fn upload_offset(text: &str) -> Option<u64> {
    let text = text.trim();
    let (start, end) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    if number(start)? != 0 {
        return None;
    }
    // An empty upload is `0--1` for some.
    if end.trim() == "-1" {
        return Some(0);
    }
    match number(end)? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

/// How long a server asks to wait: seconds, or a date.
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Some(seconds) = number(text) {
        return Some(Duration::from_secs(seconds));
    }
    if text.len() > 64 {
        return None;
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The target of the first link with `rel="next"` (RFC 8288).
pub fn next_link(text: &str) -> Option<&str> {
    if text.len() > MAX_HEADER {
        return None;
    }
    let mut rest = text;
    while let Some((_, link)) = rest.split_once('<') {
        let (target, after) = link.split_once('>')?;
        // The parameters end where the next link starts; a `<` inside of one is not valid there.
        let params = after.split('<').next().unwrap_or(after);
        let next = params.split([';', ',']).any(|p| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        if next {
            return Some(target);
        }
        rest = after;
    }
    None
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let whole = ContentRange { start: 5, end: 9, total: Some(10) };
        assert_eq!(content_range("bytes 5-9/10"), Some(whole));
        assert_eq!(content_range("bytes 5-9/*"), Some(ContentRange { total: None, ..whole }));
        for bad in
            ["", "bytes", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "bytes 5-9", "items 5-9/10", "bytes -5-9/10"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        assert_eq!(content_range("bytes 0-99999999999999999999/*"), None);
        assert_eq!(unsatisfied_range("bytes */10"), Some(10));
        for bad in [
            "",
            "bytes",
            "bytes */",
            "bytes */*",
            "bytes 5-9/10",
            "bytes */-1",
            "*/10",
            "bytes */99999999999999999999",
        ] {
            assert_eq!(unsatisfied_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn upload_offsets() {
        assert_eq!(upload_offset("0-1023"), Some(1024));
        assert_eq!(upload_offset("bytes=0-1023"), Some(1024));
        assert_eq!(upload_offset("0-0"), Some(0));
        assert_eq!(upload_offset("0--1"), Some(0));
        for bad in ["", "-", "5-9", "0-", "0-x", "x", "0-18446744073709551615"] {
            assert_eq!(upload_offset(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("date");
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:40:37 GMT", now), Some(Duration::ZERO));
        for bad in ["", "-1", "soon", "1.5"] {
            assert_eq!(retry_after(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn links() {
        assert_eq!(next_link("</v2/a/referrers/x?n=2>; rel=\"next\""), Some("/v2/a/referrers/x?n=2"));
        assert_eq!(next_link("</p>; rel=prev, </n>; title=x; rel=next"), Some("/n"));
        for bad in ["", "</p>", "</p", "</p>; rel=prev", "rel=next"] {
            assert_eq!(next_link(bad), None, "{bad}");
        }
    }
}
