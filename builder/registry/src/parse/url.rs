//! URLs, as far as a registry's and a hub's answers need them: origins, relative locations, escapes.
//!
//! Only `http` and `https`; no user names in a URL: a secret does not belong there.

/// Longest URL that is followed (bytes).
const MAX_URL: usize = 8 << 10;

/// Scheme, authority and the rest of an absolute http or https URL.
fn split(url: &str) -> Option<(&'static str, &str, &str)> {
    let lower = |prefix: &str| {
        url.get(..prefix.len()).filter(|p| p.eq_ignore_ascii_case(prefix)).map(|_| &url[prefix.len()..])
    };
    let (scheme, rest) = match (lower("https://"), lower("http://")) {
        (Some(rest), _) => ("https", rest),
        (None, Some(rest)) => ("http", rest),
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let valid = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    (is_authority(authority) && url.len() <= MAX_URL && url.bytes().all(valid)).then_some((scheme, authority, path))
}

/// A host with an optional port; an address in brackets may have colons of its own.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, rest)) => {
            let valid =
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
            if !valid {
                return false;
            }
            ("x", rest.strip_prefix(':').or((!rest.is_empty()).then_some("?")))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    !host.is_empty() && host.bytes().all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// Scheme, host and port of a URL, spelled in one way: two URLs of one origin share their secrets.
pub fn origin(url: &str) -> Option<String> {
    let (scheme, authority, _) = split(url)?;
    let port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.to_ascii_lowercase();
    Some(format!("{scheme}://{}", authority.strip_suffix(port).unwrap_or(&authority)))
}

/// The `host[:port]` of a URL.
pub fn authority(url: &str) -> Option<&str> {
    split(url).map(|(_, authority, _)| authority)
}

/// Where `location`, said in an answer from `base`, points; without its fragment.
///
/// A server behind a proxy that ends TLS often says `http` for its own `https` name: the safe scheme is kept
/// then. `None` for what is no http(s) URL, and for any other step from https down to http.
pub fn join(base: &str, location: &str) -> Option<String> {
    let (scheme, authority, path) = split(base)?;
    let location = location.split('#').next().filter(|l| !l.is_empty())?;
    let target = if split(location).is_some() {
        location.to_owned()
    } else if location.contains("://") && !location.starts_with(['/', '?']) {
        return None;
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let path = path.split(['?', '#']).next().unwrap_or("");
        let folder = if location.starts_with('?') { path } else { path.rfind('/').map_or("/", |at| &path[..=at]) };
        format!("{scheme}://{authority}{folder}{location}")
    };
    let (new_scheme, new_authority, rest) = split(&target)?;
    if scheme == "http" || new_scheme == "https" {
        return Some(target);
    }
    new_authority.eq_ignore_ascii_case(authority).then(|| format!("https://{authority}{rest}"))
}

/// The host of a `host[:port]`, an address without its brackets.
pub fn host(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Whether a `host[:port]` is this machine's own: such a registry is reached over plain HTTP, as docker does.
pub fn is_loopback(authority: &str) -> bool {
    let host = host(authority);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_spelled_in_one_way() {
        assert_eq!(origin("HTTPS://Reg.Example:443/v2/?x").as_deref(), Some("https://reg.example"));
        assert_eq!(origin("http://127.0.0.1:5000/v2/").as_deref(), Some("http://127.0.0.1:5000"));
        assert_eq!(origin("http://[::1]:5000").as_deref(), Some("http://[::1]:5000"));
        for bad in [
            "",
            "ftp://x/",
            "https://",
            "https://user:pw@host/",
            "https://a b/",
            "https://a:99999/",
            "/v2/",
            "http://[::1",
        ] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = "https://r.example/v2/a/blobs/uploads/?from=x";
        for (location, want) in [
            ("/v2/u/1?s=2#f", Some("https://r.example/v2/u/1?s=2")),
            ("1?s", Some("https://r.example/v2/a/blobs/uploads/1?s")),
            ("?s", Some("https://r.example/v2/a/blobs/uploads/?s")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("https://cdn.example/x", Some("https://cdn.example/x")),
            // The same host with the scheme lost behind a proxy.
            ("http://r.example/v2/u", Some("https://r.example/v2/u")),
            ("http://cdn.example/x", None),
            ("ftp://r.example/x", None),
            ("file:///etc/passwd", None),
            ("https://user@r.example/x", None),
            ("/a b", None),
            ("/a<b", None),
            ("", None),
            ("//", None),
        ] {
            assert_eq!(join(base, location).as_deref(), want, "{location}");
        }
        assert_eq!(join("http://r.example", "x").as_deref(), Some("http://r.example/x"));
        assert_eq!(join("http://r.example/a", "http://o.example/b").as_deref(), Some("http://o.example/b"));
    }

    #[test]
    fn loopback_hosts() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:1", "[::1]:5000"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost.example", "128.0.0.1", "registry:5000", "127.0.0.1.example", ""] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
