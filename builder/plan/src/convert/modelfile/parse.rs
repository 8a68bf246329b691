//! A Modelfile's text -> its instructions, each with its place, as Ollama's own parser takes them: names in any case,
//! `#` comments between instructions, a value to the end of its line, or from `"` or `"""` to a line that ends so.

use hone_contract::quoted;

use super::super::draft::SHOWN;
use crate::error::{HonefileError, Place, Source, did_you_mean};

/// Instructions of a Modelfile, as the documentation and the parser have them.
pub(super) const INSTRUCTIONS: [&str; 11] = [
    "FROM",
    "PARAMETER",
    "TEMPLATE",
    "SYSTEM",
    "ADAPTER",
    "LICENSE",
    "MESSAGE",
    "REQUIRES",
    "RENDERER",
    "PARSER",
    "DRAFT",
];
/// Who can say a MESSAGE.
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// One instruction.
#[derive(Debug)]
pub(super) struct Instruction {
    /// In upper case, one of [`INSTRUCTIONS`].
    pub name: &'static str,
    /// The parameter's name, or the message's role.
    pub word: String,
    /// The value, without its quotes.
    pub value: String,
    /// The line of the name.
    pub line: usize,
    /// The word, or the value where there is none.
    pub place: Place,
}

/// All of them, in their order.
pub(super) fn instructions(source: &Source<'_>) -> Result<Vec<Instruction>, HonefileError> {
    let mut lines = source.text.lines().enumerate();
    let mut all = Vec::new();
    while let Some((index, text)) = lines.next() {
        let begin = text.trim_start_matches([' ', '\t', '\r']);
        if !begin.is_empty() && !begin.starts_with('#') {
            let line = Line { number: index + 1, text };
            all.push(instruction(source, &line, text.len() - begin.len(), &mut lines)?);
        }
    }
    Ok(all)
}

/// The one that begins at byte `at` of `line`.
fn instruction<'a>(
    source: &Source<'_>,
    line: &Line<'a>,
    at: usize,
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
) -> Result<Instruction, HonefileError> {
    let mut rest = Cursor { line, at };
    let name = rest.word(|c| c.is_ascii_alphabetic());
    let Some(name) = INSTRUCTIONS.into_iter().find(|known| known.eq_ignore_ascii_case(name)) else {
        return Err(unknown(source, line, at));
    };
    let word = match name {
        "PARAMETER" => Some(rest.named(source, "a parameter's name", |c| c.is_ascii_alphanumeric() || c == '_')?),
        "MESSAGE" => Some(rest.named(source, "system, user or assistant", |c| c.is_ascii_alphabetic())?),
        _ => None,
    };
    let place = word.as_ref().map(|(at, word)| line.place(*at, word.len()));
    let word = word.map_or_else(String::new, |(_, word)| word.to_owned());
    if let (Some(place), "MESSAGE", false) = (&place, name, ROLES.contains(&word.as_str())) {
        let message = format!("MESSAGE: want system, user or assistant, got `{}`", quoted(&word).at_most(SHOWN));
        return Err(HonefileError { help: did_you_mean(&word, &ROLES), ..wrong(source, place.clone(), message) });
    }
    if !rest.rest().starts_with([' ', '\t']) {
        return Err(wrong(source, line.place(rest.at, 1), format!("{name}: want a value after it")));
    }
    let begin = rest.skip();
    let place = place.unwrap_or_else(|| line.place(begin, rest.rest().trim_end().len()));
    let endless = || wrong(source, line.place(begin, 1), format!("{name}: the text that begins here never ends"));
    let value = value(line, begin, lines).ok_or_else(endless)?;
    Ok(Instruction { name, word, value, line: line.number, place })
}

/// An error at a place.
pub(super) fn wrong(source: &Source<'_>, place: Place, message: String) -> HonefileError {
    HonefileError { place: Some(place), ..source.whole(message) }
}

fn unknown(source: &Source<'_>, line: &Line<'_>, at: usize) -> HonefileError {
    let word = line.text[at..].split([' ', '\t', '=', ':']).next().unwrap_or_default();
    let message = format!("unknown instruction `{}`", quoted(word).at_most(SHOWN));
    let known = format!("known: {}", INSTRUCTIONS.join(", "));
    let help = did_you_mean(word, &INSTRUCTIONS).map_or_else(|| known.clone(), |near| format!("{near} {known}"));
    HonefileError { help: Some(help), ..wrong(source, line.place(at, word.len()), message) }
}

/// The value that begins at byte `at` of `line`; it may take more lines. `None`: its quote is never closed.
fn value<'a>(line: &Line<'a>, at: usize, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Option<String> {
    let mut text = line.text[at..].to_owned();
    loop {
        if let Some(value) = unquoted(text.trim_end()) {
            return Some(value.to_owned());
        }
        let (_, next) = lines.next()?;
        text.push('\n');
        text.push_str(next);
    }
}

fn unquoted(text: &str) -> Option<&str> {
    match text.strip_prefix("\"\"\"") {
        Some(inner) => inner.strip_suffix("\"\"\""),
        None => match text.strip_prefix('"') {
            Some(inner) => inner.strip_suffix('"'),
            None => Some(text),
        },
    }
}

struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    /// The place of `width` bytes from byte `at`.
    fn place(&self, at: usize, width: usize) -> Place {
        let text = self.text.trim_end();
        let at = at.min(text.len());
        let end = at.saturating_add(width).min(text.len());
        let count = |from: usize, to: usize| text.get(from..to).map_or(1, |part| part.chars().count());
        Place { line: self.number, column: count(0, at) + 1, width: count(at, end).max(1), text: text.to_owned() }
    }
}

struct Cursor<'l, 'a> {
    line: &'l Line<'a>,
    /// A byte of the line, on a character's border.
    at: usize,
}

impl<'a> Cursor<'_, 'a> {
    fn rest(&self) -> &'a str {
        self.line.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self) -> usize {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        self.at
    }

    fn word(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !of(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// The word after the name, and where it is.
    fn named(
        &mut self,
        source: &Source<'_>,
        want: &str,
        of: impl Fn(char) -> bool,
    ) -> Result<(usize, &'a str), HonefileError> {
        let gap = self.rest().starts_with([' ', '\t']);
        let at = self.skip();
        let word = self.word(of);
        if !gap || word.is_empty() {
            return Err(wrong(source, self.line.place(at, 1), format!("want {want} here")));
        }
        Ok((at, word))
    }
}
