//! What a licence is called: an SPDX expression of known identifiers, or somebody's own name for one.
//!
//! Both formats refuse identifiers that are not on SPDX's list. Of it only what models and libraries use is known
//! here; any other name is kept as a name.

/// Identifiers (SPDX licence list 3.x), in the list's spelling.
const KNOWN: [&str; 62] = [
    "0BSD",
    "AFL-3.0",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.1",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause-Clear",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-2.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-NC-2.0",
    "CC-BY-NC-3.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-2.0",
    "CC-BY-NC-SA-3.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-ND-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0",
    "ECL-2.0",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.1",
    "EUPL-1.2",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "ISC",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "Libpng",
    "libpng-2.0",
    "MIT",
    "MIT-0",
    "MPL-1.1",
    "MPL-2.0",
    "MS-PL",
    "NCSA",
    "ODbL-1.0",
    "ODC-By-1.0",
    "OFL-1.1",
    "OpenSSL",
    "PDDL-1.0",
    "PostgreSQL",
    "PSF-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];
/// Exceptions that follow WITH.
const EXCEPTIONS: [&str; 5] =
    ["Classpath-exception-2.0", "GCC-exception-3.1", "LLVM-exception", "OpenSSL-exception", "Swift-exception"];

/// What a licence is called.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum License {
    /// One identifier.
    Id(&'static str),
    /// Several, with operators (SPDX 2.3, annex D).
    Expression(String),
    /// Any other name.
    Named(String),
}

impl License {
    /// Reads a manifest's, a hub's or a person's word for it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        // Cargo once wrote OR as `/`; hubs write identifiers in lower case.
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        Some(match expression(&words) {
            Some(found) => match found.as_slice() {
                [id] => KNOWN
                    .iter()
                    .find(|known| *known == id)
                    .map_or_else(|| Self::Expression((*id).to_owned()), |id| Self::Id(id)),
                all => Self::Expression(all.join(" ").replace("( ", "(").replace(" )", ")")),
            },
            None => Self::Named(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()),
        })
    }

    /// The identifier under which SPDX keeps a name that is not on its list.
    pub(super) fn reference(name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        format!("LicenseRef-{}", name.chars().take(64).map(plain).collect::<String>())
    }
}

/// The words in the list's spelling, if they are an expression: identifiers and operators in turn, brackets in pairs.
fn expression(words: &[&str]) -> Option<Vec<&'static str>> {
    let find =
        |list: &[&'static str], word: &str| list.iter().copied().find(|known| known.eq_ignore_ascii_case(word));
    let (mut out, mut depth, mut operand, mut exception) = (Vec::new(), 0usize, true, false);
    for word in words {
        let known = match (*word, operand) {
            ("(", true) if !exception => {
                depth += 1;
                "("
            }
            (")", false) => {
                depth = depth.checked_sub(1)?;
                ")"
            }
            (operator, false) => {
                let operator = find(&["AND", "OR", "WITH"], operator)?;
                (operand, exception) = (true, operator == "WITH");
                operator
            }
            (word, true) => {
                let list: &[&str] = if exception { &EXCEPTIONS } else { &KNOWN };
                (operand, exception) = (false, false);
                find(list, word)?
            }
        };
        out.push(known);
    }
    (depth == 0 && !operand).then_some(out)
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
        ] {
            assert_eq!(License::parse(text), Some(want), "{text}");
        }
        assert_eq!(License::parse("  "), None);
        assert_eq!(License::reference("llama 3.2/x"), "LicenseRef-llama-3.2-x");
        assert!(KNOWN.iter().all(|id| License::parse(id) == Some(License::Id(id))));
    }
}
