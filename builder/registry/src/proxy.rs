//! Which proxy the environment names for a URL, read as curl reads it.
//!
//! `http_proxy` is for http URLs and `https_proxy` for https ones, each with `all_proxy` behind it; `no_proxy` lists
//! hosts that are reached without. Each is looked for in lower case, then in upper case; an empty variable is not set.

use std::net::IpAddr;

use crate::parse;

/// The environment's proxies, as written, and the hosts that are reached without one.
#[derive(Debug)]
pub(crate) struct Proxies {
    pub http: Option<String>,
    pub https: Option<String>,
    without: Vec<String>,
}

impl Proxies {
    pub(crate) fn of_environment() -> Self {
        Self::of(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| {
            [name.to_owned(), name.to_ascii_uppercase()].iter().find_map(|n| variable(n).filter(|v| !v.is_empty()))
        };
        let without = set("no_proxy").unwrap_or_default().to_ascii_lowercase();
        let all = set("all_proxy");
        Self {
            http: set("http_proxy").or_else(|| all.clone()),
            https: set("https_proxy").or(all),
            without: without.split([',', ' ']).filter(|entry| !entry.is_empty()).map(str::to_owned).collect(),
        }
    }

    /// Whether a URL is reached without a proxy, whatever is set: this machine's own, and those of `no_proxy`.
    pub(crate) fn leave_out(&self, url: &str) -> bool {
        let Some(authority) = parse::authority(url).map(str::to_ascii_lowercase) else { return false };
        parse::is_loopback(&authority) || self.without.iter().any(|entry| names(entry, &authority))
    }
}

/// Whether an entry of `no_proxy` means a `host[:port]`: `*`, a domain (those below it too, with or without a dot or
/// `*.` before it), an address, a network (`10.0.0.0/8`), or one of these names with a port.
fn names(entry: &str, authority: &str) -> bool {
    let host = parse::host(authority);
    if let (Some((network, bits)), Ok(address)) = (entry.split_once('/'), host.parse()) {
        return within(network, bits, address).unwrap_or(false);
    }
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    let below = |name: &str| name.strip_suffix(domain).is_some_and(|left| left.is_empty() || left.ends_with('.'));
    entry == "*" || (!domain.is_empty() && (below(host) || below(authority)))
}

/// Whether an address begins with so many bits of another.
fn within(network: &str, bits: &str, address: IpAddr) -> Option<bool> {
    let bits: u32 = bits.parse().ok()?;
    let differing = match (network.parse().ok()?, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return None,
    };
    Some(differing >= bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(set: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn each_scheme_has_a_variable_of_its_own() {
        for (set, http, https) in [
            (&[][..], None, None),
            (&[("HTTP_PROXY", "a")], Some("a"), None),
            (&[("https_proxy", "a")], None, Some("a")),
            (&[("ALL_PROXY", "a")], Some("a"), Some("a")),
            (&[("all_proxy", "a"), ("HTTPS_PROXY", "b")], Some("a"), Some("b")),
            (&[("http_proxy", "a"), ("HTTP_PROXY", "b"), ("ALL_PROXY", "c")], Some("a"), Some("c")),
            (&[("http_proxy", ""), ("HTTP_PROXY", "b")], Some("b"), None),
            (&[("HTTP_PROXY", "")], None, None),
        ] {
            let got = proxies(set);
            assert_eq!((got.http.as_deref(), got.https.as_deref()), (http, https), "{set:?}");
        }
    }

    #[test]
    fn no_proxy_lists_names_addresses_and_networks() {
        let without =
            "corp.example, .dots.example,*.stars.example ,REG.test:5000,192.0.2.1,10.0.0.0/8,2001:db8::/32,/,.";
        for set in [proxies(&[("NO_PROXY", without)]), proxies(&[("no_proxy", without), ("NO_PROXY", "*")])] {
            for direct in [
                "https://corp.example/v2/",
                "http://a.CORP.example:5000/",
                "http://dots.example/",
                "http://a.dots.example/",
                "http://a.b.stars.example/",
                "http://reg.test:5000/",
                "http://192.0.2.1:1/",
                "http://10.255.0.1/",
                "http://[2001:db8:1::1]:5000/",
                "http://localhost:5000/",
            ] {
                assert!(set.leave_out(direct), "{direct}");
            }
            for other in [
                "https://acorp.example/",
                "https://corp.example.org/",
                "http://reg.test/",
                "http://192.0.2.11/",
                "http://11.0.0.1/",
                "http://[2001:db9::1]/",
                "http://10.example/",
            ] {
                assert!(!set.leave_out(other), "{other}");
            }
        }
        assert!(proxies(&[("NO_PROXY", "*")]).leave_out("http://any.example/"));
        assert!(!proxies(&[]).leave_out("http://any.example/"));
    }
}
