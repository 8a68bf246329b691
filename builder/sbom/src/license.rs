//! What a licence is called: an SPDX expression of known identifiers, or somebody's own name for one.
//!
//! Both formats refuse identifiers that are not on SPDX's list, and those that it has withdrawn; crate `spdx` has the
//! list. Any other name is kept as a name: "GPL-3.0" says nothing of later versions, and nothing is guessed.

use spdx::Expression;
use spdx::identifiers::{EXCEPTIONS, LICENSES};

/// Who says so says nothing; crate `spdx` has it in the list all the same.
const NOASSERTION: &str = "NOASSERTION";
/// A longer text is no expression (bytes): a Honefile's licence is no longer either.
const MAX_EXPRESSION: usize = 1024;

/// What a licence is called.
#[derive(Debug, PartialEq, Eq)]
pub enum License {
    /// One identifier.
    Id(&'static str),
    /// Several, with operators (SPDX 2.3, annex D).
    Expression(String),
    /// Any other name.
    Named(String),
}

impl License {
    /// Reads a manifest's, a hub's or a person's word for it; `None` when it says nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text == NOASSERTION {
            return None;
        }
        if text.len() > MAX_EXPRESSION {
            return Some(Self::named(text));
        }
        // Cargo once wrote OR as `/`; hubs write identifiers in lower case.
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Option<Vec<String>> = spaced.split_whitespace().map(spelled).collect();
        let known = words.and_then(|words| expression(&words));
        Some(known.unwrap_or_else(|| Self::named(text)))
    }

    fn named(text: &str) -> Self {
        Self::Named(text.replace(char::is_control, " "))
    }

    /// The identifier under which SPDX keeps a name that is not on its list.
    pub(super) fn reference(name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        format!("LicenseRef-{}", name.chars().take(64).map(plain).collect::<String>())
    }
}

/// A word in the spelling of the list, if an expression may have it.
fn spelled(word: &str) -> Option<String> {
    let (name, later) = word.strip_suffix('+').map_or((word, ""), |name| (name, "+"));
    let mut known = ["(", ")", "AND", "OR", "WITH"]
        .into_iter()
        .chain(LICENSES.iter().map(|license| license.name).filter(|name| *name != NOASSERTION))
        .chain(EXCEPTIONS.iter().map(|exception| exception.name));
    known.find(|known| known.eq_ignore_ascii_case(name)).map(|known| format!("{known}{later}"))
}

/// What the words say together, if it is an expression of licences on the list.
fn expression(words: &[String]) -> Option<License> {
    let text = words.join(" ").replace("( ", "(").replace(" )", ")");
    Expression::parse(&text).ok()?;
    let alone = spdx::license_id(&text).filter(|id| id.name == text);
    Some(alone.map_or(License::Expression(text), |id| License::Id(id.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_spelled_as_the_list_does_and_others_are_names() {
        let expression = |text: &str| License::Expression(text.to_owned());
        for (text, want) in [
            ("mit", License::Id("MIT")),
            (" Apache-2.0 ", License::Id("Apache-2.0")),
            ("MIT/Apache-2.0", expression("MIT OR Apache-2.0")),
            ("Apache-2.0 WITH LLVM-exception OR mit", expression("Apache-2.0 WITH LLVM-exception OR MIT")),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", expression("(MIT OR Apache-2.0) AND Unicode-3.0")),
            ("llama3.2", License::Named("llama3.2".to_owned())),
            ("MIT OR", License::Named("MIT OR".to_owned())),
            ("MIT WITH MIT", License::Named("MIT WITH MIT".to_owned())),
            ("(MIT", License::Named("(MIT".to_owned())),
            ("MIT)", License::Named("MIT)".to_owned())),
            ("MIT MIT", License::Named("MIT MIT".to_owned())),
            ("apache-2.0+", expression("Apache-2.0+")),
            ("LicenseRef-mine", License::Named("LicenseRef-mine".to_owned())),
            ("MIT OR NOASSERTION", License::Named("MIT OR NOASSERTION".to_owned())),
            ("GPL-3.0", License::Named("GPL-3.0".to_owned())),
            ("(MIT) WITH LLVM-exception", License::Named("(MIT) WITH LLVM-exception".to_owned())),
        ] {
            assert_eq!(License::parse(text), Some(want), "{text}");
        }
        assert_eq!((License::parse("  "), License::parse(NOASSERTION)), (None, None));
        let long = ["MIT"; 200].join(" OR ");
        assert_eq!(License::parse(&long), Some(License::Named(long.clone())));
        assert_eq!(License::reference("llama 3.2/x"), "LicenseRef-llama-3.2-x");
        for license in LICENSES.iter().filter(|license| license.name != NOASSERTION) {
            let parsed = License::parse(&license.name.to_lowercase());
            let withdrawn = license.flags & spdx::flags::IS_DEPRECATED != 0;
            assert_eq!(parsed == Some(License::Id(license.name)), !withdrawn, "{}: {parsed:?}", license.name);
        }
    }
}
