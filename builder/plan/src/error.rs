//! What is wrong with a Honefile: file, line, column, the line itself, and a way out. The file may be a stranger's: its
//! words and its lines are shown escaped, and cut where they are long. Crate `annotate-snippets` draws the line and its
//! caret; who prints an error asks for that ([`HonefileError::report`]).

use std::fmt;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use hone_contract::{printable, quoted};
use serde_saphyr::{Error as YamlError, Location, MessageFormatter, Spanned, UserMessageFormatter};

/// Most characters that are underlined: as much of a line is shown as they leave room for.
const MEANT: usize = 80;

/// One mistake in a Honefile.
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
        f.write_str(&self.title())?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {}", printable(help)))
    }
}

impl HonefileError {
    fn title(&self) -> String {
        let (file, message) = (printable(&self.file), printable(&self.message));
        match &self.place {
            None => format!("{file}: {message}"),
            Some(Place { line, column, .. }) => format!("{file}:{line}:{column}: {message}"),
        }
    }

    /// The mistake as a person is shown it, in several lines: what [`fmt::Display`] says, by `program` when it is to be
    /// named, the source line, a caret, and what to do. `styled`: in a terminal's colours.
    pub fn report(&self, program: Option<&str>, styled: bool) -> String {
        let title = Level::ERROR.with_name(program).primary_title(self.title());
        let help = self.help.as_ref().map(|help| Level::HELP.message(printable(help)));
        let group = title.elements(self.place.as_ref().map(Place::snippet)).elements(help);
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl Place {
    /// The line, escaped: a caret stands under each character that is shown of what is meant.
    fn snippet(&self) -> Snippet<'_, Annotation<'_>> {
        let byte = |column: usize| self.text.char_indices().nth(column).map_or(self.text.len(), |(at, _)| at);
        let (start, end) = (byte(self.column - 1), byte(self.column - 1 + self.width.min(MEANT)));
        let shown = |text: &str| printable(&text.replace('\t', "    ")).into_owned();
        let (mut line, meant) = (shown(&self.text[..start]), shown(&self.text[start..end]));
        let span = line.len()..line.len() + meant.len();
        line.push_str(&meant);
        line.push_str(&shown(&self.text[end..]));
        Snippet::source(line).line_start(self.line).annotation(AnnotationKind::Primary.span(span))
    }
}

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
    let begun = || expected.iter().find(|key| key.starts_with(field)).map(|key| meant(key));
    let known = format!("known keys here: {}", expected.join(", "));
    did_you_mean(field, expected).or_else(begun).map_or_else(|| known.clone(), |near| format!("{near} {known}"))
}

/// `did you mean X?` for the known word that is two slips from `word` at most; a swap of neighbours is one.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let word = word.chars().take(64).collect::<String>().to_ascii_lowercase();
    let slips = |known: &str| strsim::osa_distance(&word, &known.to_ascii_lowercase());
    let (slips, near) = known.iter().map(|known| (slips(known), known)).min()?;
    (slips <= 2).then(|| meant(near))
}

fn meant(word: &str) -> String {
    format!("did you mean `{word}`?")
}
