//! Messages on their way to a person: the one door through which programs tell what happened.
//!
//! `eprintln!` panics when nobody reads any more (`hone build 2>&1 | head -1`), and a panic ends a build half way.
//! Work does not depend on whether somebody listens, so a message that cannot be written is lost and nothing else
//! happens. The lints `print_stdout` and `print_stderr` keep the macros out of the workspace.

use std::io::Write;

use crate::quote::printable;

/// Writes a message as one line (or more, if it has them), in one piece: other processes write to the same terminal.
/// What a terminal would obey in it is escaped, and a failure is no failure of the caller.
///
/// ```
/// let mut told = Vec::new();
/// hone_contract::tell(&mut told, "hone: no \u{1b}[2Jsuch file");
/// assert_eq!(told, b"hone: no \\u{1b}[2Jsuch file\n");
/// ```
pub fn tell(mut out: impl Write, message: &str) {
    let mut line = printable(message).into_owned();
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
