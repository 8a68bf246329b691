//! Questions to the person at the terminal, one of them without an echo.
//!
//! While a password is typed the terminal shows nothing and makes no signals of keys: what would end this program is read
//! as a key, so that the terminal is given back as it was.

use std::io::{self, BufRead, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::failure::{Failure, because};

/// Longest answer that is read (bytes).
const MAX_ANSWER: usize = 64 << 10;
/// What the keys send that interrupt (^C), end (^D) and take the line back (^U).
const INTERRUPT: u8 = 3;
const END: u8 = 4;
const TAKE_BACK: u8 = 21;

/// Asks for a line.
pub fn ask(question: &str) -> Result<String, Failure> {
    show(question);
    let mut line = String::new();
    let mut stdin = io::stdin().lock().take(MAX_ANSWER as u64);
    stdin.read_line(&mut line).map_err(because("read the answer"))?;
    Ok(line.trim().to_owned())
}

/// Asks for a line that nobody is to see.
pub fn ask_unseen(question: &str) -> Result<String, Failure> {
    let mut stdin = io::stdin().lock();
    let unseen = Unseen::begin().map_err(because("read the answer unseen"))?;
    show(question);
    let line = line(&mut stdin);
    drop(unseen);
    show("\n");
    line
}

/// Reads to the end of a line, as a terminal would that still edits lines.
fn line(from: &mut impl Read) -> Result<String, Failure> {
    let (mut line, mut key) = (Vec::new(), [0]);
    while from.read(&mut key).map_err(because("read the answer"))? > 0 {
        match key[0] {
            b'\n' | b'\r' | END => break,
            INTERRUPT => return Err("interrupted; nothing was changed".into()),
            TAKE_BACK => line.clear(),
            // Backspace takes a whole character back: its first byte is the one that goes on with none.
            8 | 127 => while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {},
            other if line.len() < MAX_ANSWER => line.push(other),
            _ => return Err(format!("the answer has more than {MAX_ANSWER} bytes").into()),
        }
    }
    String::from_utf8(line).map_err(|_| "the answer is no text in UTF-8".into())
}

/// The terminal of standard input while it shows nothing.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VMIN] = 1;
        unseen.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &unseen)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Shows a question where a person looks; nobody has to.
fn show(text: &str) {
    let mut to = io::stderr();
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_as_a_terminal_does() {
        for (typed, want) in [
            (&b"pw\nrest"[..], "pw"),
            (b"pw\r", "pw"),
            (b"pw", "pw"),
            (b"pw\x04", "pw"),
            (b"px\x7fw\n", "pw"),
            ("p\u{e9}\u{8}w\n".as_bytes(), "pw"),
            (b"\x7f\x7fpw\n", "pw"),
            (b"other\x15pw\n", "pw"),
            (b"\n", ""),
        ] {
            assert_eq!(line(&mut &*typed).expect("a line"), want, "{typed:?}");
        }
        assert!(line(&mut &b"pw\x03"[..]).is_err());
        assert!(line(&mut &b"\xff\n"[..]).is_err());
        assert!(line(&mut io::repeat(b'x')).is_err());
    }
}
