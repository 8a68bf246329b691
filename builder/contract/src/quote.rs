//! Strangers' words in messages: names, keys, lines and answers that come from a file, an archive or a server.
//!
//! A terminal obeys what it is shown: an escape sequence in the name of a tar entry can rewrite what stands above it, set
//! the clipboard or the title, and a right-to-left mark makes a name read as another (CVE-2021-42574). A name may also
//! have thirty megabytes. So every error that repeats such words shows them by [`quoted`]: what moves the cursor or
//! changes how text is read is escaped, and what is long is cut, and says so.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::path::Path;

/// Most characters of a stranger's words in one message.
pub const LONGEST: usize = 256;

/// Words that are shown escaped and cut, by `{}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// Their beginning, of more than `longest` characters when there are more.
    text: Cow<'a, str>,
    /// Of all of them.
    bytes: usize,
    longest: usize,
}

/// A text.
///
/// ```
/// use hone_contract::quoted;
///
/// assert_eq!(quoted("model.gguf").to_string(), "model.gguf");
/// assert_eq!(quoted("\u{1b}[2Jgone\n").to_string(), r"\u{1b}[2Jgone\n");
/// assert_eq!(quoted(&"x".repeat(300)).at_most(3).to_string(), "xxx... (300 bytes)");
/// ```
pub fn quoted(text: &str) -> Quoted<'_> {
    Quoted { text: Cow::Borrowed(text), bytes: text.len(), longest: LONGEST }
}

/// Bytes that should be a text; what is none is shown as U+FFFD.
pub fn quoted_bytes(bytes: &[u8]) -> Quoted<'_> {
    // No character, and nothing that becomes U+FFFD, has more than four bytes.
    let beginning = &bytes[..bytes.len().min(4 * (LONGEST + 1))];
    Quoted { text: String::from_utf8_lossy(beginning), bytes: bytes.len(), longest: LONGEST }
}

/// A path.
pub fn quoted_path(path: &Path) -> Quoted<'_> {
    quoted_bytes(path.as_os_str().as_encoded_bytes())
}

/// A whole message as it may reach a terminal: lines stay lines, everything else that a terminal obeys is escaped. The
/// last door, for what no [`quoted`] was put around.
pub fn printable(message: &str) -> Cow<'_, str> {
    let kept = |c: char| c == '\n' || !obeyed(c);
    if message.chars().all(kept) {
        return Cow::Borrowed(message);
    }
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        if kept(c) { text.push(c) } else { text.extend(c.escape_debug()) }
    }
    Cow::Owned(text)
}

/// Control characters, and what changes the order or the lines in which text is read.
pub(crate) fn obeyed(c: char) -> bool {
    let directs =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || directs || matches!(c, '\u{2028}' | '\u{2029}')
}

impl Quoted<'_> {
    /// The same, cut after fewer characters.
    #[must_use]
    pub fn at_most(self, longest: usize) -> Self {
        Self { longest: longest.min(self.longest), ..self }
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.text.char_indices().nth(self.longest).map(|(at, _)| at);
        for c in self.text[..end.unwrap_or(self.text.len())].chars() {
            if obeyed(c) { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        match end {
            Some(_) => write!(f, "... ({} bytes)", self.bytes),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown() {
        for c in ('\0'..=char::MAX).filter(|c| obeyed(*c)) {
            let text = format!("a{c}b");
            for shown in [quoted(&text).to_string(), quoted_bytes(text.as_bytes()).to_string()] {
                assert!(!shown.chars().any(obeyed) && shown.len() > 3, "{shown:?}");
            }
            assert_eq!(printable(&text).chars().filter(|c| obeyed(*c)).count(), usize::from(c == '\n'), "{text:?}");
        }
        for plain in ["", "Größe", "模型 .gguf", r"C:\models", "a\u{301}"] {
            assert_eq!(quoted(plain).to_string(), plain);
            assert_eq!(printable(plain), plain);
        }
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let long = "\u{10ffff}".repeat(10_000_000);
        for shown in [quoted(&long).to_string(), quoted_bytes(long.as_bytes()).to_string()] {
            assert!(shown.chars().count() < LONGEST + 30, "{}", shown.len());
            assert!(shown.ends_with("... (40000000 bytes)"), "{shown}");
        }
        let broken = vec![0xff; 5000];
        assert_eq!(quoted_bytes(&broken).at_most(2).to_string(), "\u{fffd}\u{fffd}... (5000 bytes)");
        let whole = "x".repeat(LONGEST);
        assert_eq!(quoted(&whole).to_string(), whole);
        assert_eq!(quoted_path(Path::new(&whole)).to_string(), whole);
    }
}
