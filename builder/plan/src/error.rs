//! What is wrong with a Honefile: file, line, column, the line itself, a caret, and a way out. The file may be a
//! stranger's: its words and its lines are shown escaped, and cut where they are long.

use std::fmt;

use hone_contract::{printable, quoted};
use serde_saphyr::{Error as YamlError, Location, MessageFormatter, Spanned, UserMessageFormatter};

/// Characters of a line that are shown.
const SHOWN: usize = 160;
/// Of these so many before the place, where the line is longer.
const BEFORE: usize = 60;

/// One mistake in a Honefile. Its text has several lines: the message with its place, the source line, a caret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct HonefileError {
    /// The file, as the caller named it.
    pub file: String,
    /// What is wrong.
    pub message: String,
    /// Where; absent when the whole file is meant.
    pub place: Option<Place>,
    /// What to do.
    pub help: Option<String>,
}

/// A place in a Honefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters to underline.
    pub width: usize,
    /// The line's text.
    pub text: String,
}

impl fmt::Display for HonefileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, message) = (printable(&self.file), printable(&self.message));
        match &self.place {
            None => write!(f, "{file}: {message}")?,
            Some(place) => {
                let number = place.line.to_string();
                let margin = " ".repeat(number.len());
                let (line, carets) = place.shown();
                writeln!(f, "{file}:{number}:{}: {message}", place.column)?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {line}")?;
                write!(f, "{margin} | {carets}")?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n  = {}", printable(help)),
            None => Ok(()),
        }
    }
}

impl Place {
    /// The line around the place, and what stands below it: carets under each character that is meant, however many
    /// that one is shown as.
    fn shown(&self) -> (String, String) {
        let meant = self.column - 1..self.column - 1 + self.width.max(1);
        let long = self.text.chars().nth(SHOWN).is_some();
        let begin = if long { meant.start.saturating_sub(BEFORE) } else { 0 };
        let (mut line, mut carets) = match begin {
            0 => (String::new(), String::new()),
            _ => ("...".to_owned(), "   ".to_owned()),
        };
        let mut chars = self.text.chars().enumerate().skip(begin);
        for (at, c) in chars.by_ref().take(SHOWN) {
            let shown = match c {
                '\t' => "\t".to_owned(),
                c => quoted(c.encode_utf8(&mut [0; 4])).to_string(),
            };
            if meant.contains(&at) {
                carets.push_str(&"^".repeat(shown.chars().count()));
            } else if at < meant.start {
                carets.push_str(if c == '\t' {
                    &shown
                } else {
                    SPACES.get(..shown.chars().count()).unwrap_or(SPACES)
                });
            }
            line.push_str(&shown);
        }
        if chars.next().is_some() {
            line.push_str("...");
        }
        if !carets.ends_with('^') {
            carets.push('^');
        }
        (line, carets)
    }
}

/// More than any character is shown as.
const SPACES: &str = "                ";

/// The text that errors point into.
pub(crate) struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// An error about the whole file.
    pub fn whole(&self, message: String) -> HonefileError {
        HonefileError { file: self.file.to_owned(), message, place: None, help: None }
    }

    /// An error about one value.
    pub fn at<T>(&self, value: &Spanned<T>, message: String) -> HonefileError {
        HonefileError { place: self.place(value.referenced), ..self.whole(message) }
    }

    /// An error of the parser.
    pub fn yaml(&self, error: &YamlError) -> HonefileError {
        let error = error.without_snippet();
        let place = error.location().and_then(|location| self.place(location));
        let (message, help) = match error {
            YamlError::SerdeUnknownField { field, expected, .. } => {
                (format!("unknown key `{}`", quoted(field)), Some(known_keys(field, expected)))
            }
            other => (quoted(&plain(&UserMessageFormatter.format_message(other))).to_string(), None),
        };
        HonefileError { place, help, ..self.whole(message) }
    }

    fn place(&self, location: Location) -> Option<Place> {
        let line = usize::try_from(location.line()).ok().filter(|n| *n > 0)?;
        let text = self.text.lines().nth(line - 1)?.trim_end().to_owned();
        let length = text.chars().count();
        let column = (location.column() as usize).clamp(1, length + 1);
        let width = (location.span().len() as usize).clamp(1, (length + 1 - column).max(1));
        Some(Place { line, column, width, text })
    }
}

/// The parser speaks of its own events; a person knows values.
fn plain(message: &str) -> String {
    match message {
        "expected mapping start" => "want keys with values here".to_owned(),
        "expected sequence start" => "want a list here, like [a, b]".to_owned(),
        "expected string scalar" => "want one value here".to_owned(),
        "unexpected end of file" => "the file is empty or ends too early".to_owned(),
        other => other.to_owned(),
    }
}

fn known_keys(field: &str, expected: &[&str]) -> String {
    let near = expected.iter().map(|key| (distance(field, key), key)).min();
    let known = format!("known keys here: {}", expected.join(", "));
    match near {
        Some((steps, key)) if steps <= 2 || key.starts_with(field) => format!("did you mean `{key}`? {known}"),
        _ => known,
    }
}

/// Edits that turn one word into the other; a swap of neighbours counts once (optimal string alignment).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
