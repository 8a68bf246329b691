//! What verbs print: tables for people, JSON for programs, sizes that both understand.
//!
//! Two kinds of verbs answer here. A listing is nothing but its answer: when its reader has gone away (`hone images |
//! head -1`) the verb ends, quietly, as git does. A verb that works has done its work when it answers, and its exit code
//! tells that: nobody has to read the answer. What cannot be written for another reason is an error for both.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
pub use hone_contract::size;
use hone_contract::{chain, printable};
use hone_plan::HonefileError;
use hone_sbom::date;
use serde::Serialize;

use crate::failure::{Failure, because};

/// Nobody reads standard output any more, and the answer is all there was to do.
#[derive(Debug, thiserror::Error)]
#[error("write to standard output: nobody reads it any more")]
pub struct NoReader;

/// Says something on standard error, if somebody listens.
pub fn tell(message: &str) {
    hone_contract::tell(io::stderr(), message);
}

/// Says why a verb failed; of a mistake in a file also its line, in colours where a terminal shows them.
pub fn fail(failure: &Failure) {
    match failure.downcast_ref::<HonefileError>() {
        Some(mistake) => {
            let styled = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
            hone_contract::tell_styled(io::stderr(), &mistake.report(Some("hone"), styled));
        }
        None => tell(&format!("hone: {}", chain(&**failure))),
    }
}

/// Prints a listing, a file, or whatever else is a verb's whole job; [`NoReader`] when its reader has gone away.
pub fn print(text: &str) -> Result<(), Failure> {
    // A program gets the bytes as they are; a person's terminal must not obey a stranger's label or document.
    let text = if io::stdout().is_terminal() { printable(text) } else { text.into() };
    if write(&text)? { Ok(()) } else { Err(NoReader.into()) }
}

/// Prints what came of work that is done, for people; nobody has to read it.
pub fn report(text: &str) -> Result<(), Failure> {
    write(&printable(text)).map(drop)
}

/// Whether somebody read it.
fn write(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(because("write to standard output")),
    }
}

/// Prints what came of work that is done, for programs; nobody has to read it.
pub fn report_raw(text: &str) -> Result<(), Failure> {
    print(text).or_else(|failure| if failure.is::<NoReader>() { Ok(()) } else { Err(failure) })
}

/// Prints a value as JSON.
pub fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    print(&pretty(value)?)
}

/// A value as JSON that people can read, too.
pub fn pretty<T: Serialize>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(because("write JSON"))?;
    Ok(format!("{text}\n"))
}

/// Rows in columns as wide as their widest cell, two spaces apart. A cell may have a stranger's words (a label, a file's
/// name): it has one line, and nothing in it that a terminal obeys.
pub fn table(rows: &[Vec<String>]) -> String {
    let cell = |text: &String| printable(text).replace('\n', "\\n");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A value that JSON writes as one word, as that word.
pub fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}

/// A moment as people read it, in UTC (`2026-11-23 03:00`).
pub fn moment(milliseconds: u64) -> String {
    date(milliseconds / 1000)[..16].replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        for (ms, want) in [
            (0, "1970-01-01 00:00"),
            (951_782_400_000, "2000-02-29 00:00"),
            (1_795_402_800_000, "2026-11-23 03:00"),
            (4_102_444_799_000, "2099-12-31 23:59"),
        ] {
            assert_eq!(moment(ms), want);
        }
    }

    #[test]
    fn columns_are_aligned_without_trailing_space() {
        let rows = vec![vec!["A".into(), "B".into()], vec!["long".into(), "x".into()]];
        assert_eq!(table(&rows), "A     B\nlong  x\n");
    }

    #[test]
    fn a_cell_is_one_line_that_a_terminal_only_shows() {
        let rows = vec![vec!["a\u{1b}[2J".into(), "b\nc\u{202e}".into()]];
        assert_eq!(table(&rows), "a\\u{1b}[2J  b\\nc\\u{202e}\n");
        let plain = vec![vec!["Größe".into()]];
        assert_eq!(table(&plain), "Größe\n");
    }
}
