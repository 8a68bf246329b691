//! `WWW-Authenticate` (RFC 9110, section 11.6.1): which proof of identity a server asks for.

use super::MAX_HEADER;

/// Most challenges read from one header, and most parameters of one challenge.
const MAX_ITEMS: usize = 16;

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case: `basic`, `bearer`.
    pub scheme: String,
    /// In order; names in lower case, values without their quotes.
    pub params: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header value; what cannot be read ends the list.
pub fn challenges(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    if text.len() > MAX_HEADER {
        return found;
    }
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while let Some((word, after)) = token(rest) {
        let gap = after.trim_start_matches([' ', '\t']);
        let after = if let Some(value) = gap.strip_prefix('=') {
            // A parameter belongs to the challenge before it.
            let Some(challenge) = found.last_mut().filter(|c| c.params.len() < MAX_ITEMS) else { break };
            let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else { break };
            challenge.params.push((word.to_ascii_lowercase(), value));
            after
        } else if found.len() < MAX_ITEMS {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), params: Vec::new() });
            after
        } else {
            break;
        };
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    found
}

/// A token of RFC 9110 at the start of `text`, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|b| !is_token(b)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A quoted string or a bare value at the start of `text`, and what follows it. Bare values end at a comma or
/// a blank: some servers leave the quotes off URLs.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_challenge_has_realm_service_and_scope() {
        let text =
            r#"Bearer realm="https://auth.example/token",service="reg, \"one\"",scope="repository:a/b:pull,push""#;
        let found = challenges(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].param("realm"), Some("https://auth.example/token"));
        assert_eq!(found[0].param("service"), Some("reg, \"one\""));
        assert_eq!(found[0].param("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(found[0].param("error"), None);
    }

    #[test]
    fn several_challenges_share_a_header() {
        let found = challenges(r#"Basic realm="x", Bearer Realm=https://a.example/t , service = s,Negotiate"#);
        let schemes: Vec<&str> = found.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "negotiate"]);
        assert_eq!(found[1].param("realm"), Some("https://a.example/t"));
        assert_eq!(found[1].param("service"), Some("s"));
    }

    #[test]
    fn nonsense_is_an_end_and_no_panic() {
        for text in ["", "=", "\"", "Bearer realm=\"open", "Bearer realm=\"x\\", ",,,", "a=b", "\u{e9}", "Bearer =x"]
        {
            assert!(challenges(text).iter().all(|c| c.param("realm").is_none()), "{text:?}");
        }
        assert!(challenges(&"x".repeat(MAX_HEADER + 1)).is_empty());
        assert!(challenges(&"x ".repeat(1000)).len() <= MAX_ITEMS);
    }
}
