//! Messages on their way to a person: the one door through which programs tell what happened.
//!
//! `eprintln!` panics when nobody reads any more (`hone build 2>&1 | head -1`), and a panic ends a build half way.
//! Work does not depend on whether somebody listens, so a message that cannot be written is lost and nothing else
//! happens. The lints `print_stdout` and `print_stderr` keep the macros out of the workspace.

use std::borrow::Cow;
use std::io::Write;

use crate::quote::printable;

/// Longest message (bytes). Every error cuts the strangers' words in it; this is the last bound, for what was forgotten.
pub const LONGEST_MESSAGE: usize = 16 << 10;

/// Writes a message as one line (or more, if it has them), in one piece: other processes write to the same terminal.
/// What a terminal would obey in it is escaped, what is longer than [`LONGEST_MESSAGE`] is cut and says so, and a failure
/// is no failure of the caller.
///
/// ```
/// let mut told = Vec::new();
/// hone_contract::tell(&mut told, "hone: no \u{1b}[2Jsuch file");
/// assert_eq!(told, b"hone: no \\u{1b}[2Jsuch file\n");
/// ```
pub fn tell(out: impl Write, message: &str) {
    write_line(out, printable(&cut(message)).into_owned());
}

/// The same for a message that its author has coloured: `ESC [ ... m` (ECMA-48, SGR) is what a terminal gets to obey of it,
/// and nothing else. Strangers' words in it are to be escaped before: they would be coloured, no worse.
///
/// ```
/// let mut told = Vec::new();
/// hone_contract::tell_styled(&mut told, "\u{1b}[1;31mhone\u{1b}[0m: no \u{1b}[2Jsuch file");
/// assert_eq!(told, b"\x1b[1;31mhone\x1b[0m: no \\u{1b}[2Jsuch file\n");
/// ```
pub fn tell_styled(out: impl Write, message: &str) {
    let (message, mut line) = (cut(message), String::new());
    for (nth, part) in message.split("\u{1b}[").enumerate() {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        let styles = nth > 0 && part[end..].starts_with('m');
        line.push_str(match (nth, styles) {
            (0, _) => "",
            (_, true) => "\u{1b}[",
            (_, false) => "\\u{1b}[",
        });
        line.push_str(&printable(part));
    }
    write_line(out, line);
}

/// A message that people read, no longer than [`LONGEST_MESSAGE`]: what is cut off is said. For logs; [`tell`] does it by
/// itself.
pub fn cut(message: &str) -> Cow<'_, str> {
    match message.len() {
        0..=LONGEST_MESSAGE => Cow::Borrowed(message),
        bytes => {
            let end = message.floor_char_boundary(LONGEST_MESSAGE);
            Cow::Owned(format!("{}... (cut: the message has {bytes} bytes)", &message[..end]))
        }
    }
}

/// The same for a line that programs read, as JSON: never cut. A JSON text has no control characters but those that its
/// writer escaped; what else a terminal would obey in it is escaped as JSON does.
pub fn tell_json(out: impl Write, value: &str) {
    let mut line = String::with_capacity(value.len());
    for c in value.chars() {
        if crate::quote::obeyed(c) { line.push_str(&format!("\\u{:04x}", u32::from(c))) } else { line.push(c) }
    }
    write_line(out, line);
}

fn write_line(mut out: impl Write, mut line: String) {
    line.push('\n');
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_nobody_reads_is_lost_and_nothing_else_happens() {
        let (reader, writer) = std::io::pipe().expect("pipe");
        drop(reader);
        tell(&writer, "into nothing");
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        tell(&full, "onto a full disk");
    }

    #[test]
    fn what_people_read_is_cut_and_what_programs_read_is_whole() {
        let told = |message: &str| {
            let mut out = Vec::new();
            tell(&mut out, message);
            String::from_utf8(out).expect("UTF-8")
        };
        for c in ["x", "\u{1b}", "ü", "\u{10ffff}"] {
            let long = c.repeat(3 << 20);
            let told = told(&long);
            assert!(told.len() < 8 * LONGEST_MESSAGE && !told.contains('\u{1b}'), "{} bytes", told.len());
            assert!(told.ends_with(&format!("... (cut: the message has {} bytes)\n", long.len())));
        }
        let whole = "x".repeat(LONGEST_MESSAGE);
        assert_eq!(told(&whole), format!("{whole}\n"));
        let mut out = Vec::new();
        let json = format!("{{\"step\":\"{}\\n\u{202e}\"}}", "x".repeat(1 << 20));
        tell_json(&mut out, &json);
        let line = String::from_utf8(out).expect("UTF-8");
        assert_eq!(line, format!("{}\n", json.replace('\u{202e}', "\\u202e")));
    }

    #[test]
    fn a_message_is_written_in_one_piece() {
        struct Pieces(Vec<Vec<u8>>);
        impl Write for Pieces {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut out = Pieces(Vec::new());
        tell(&mut out, "two\nlines");
        assert_eq!(out.0, [b"two\nlines\n".to_vec()]);
    }
}
