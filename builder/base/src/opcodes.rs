//! Pickle's instructions (Python's pickletools), as far as is needed to tell whether bytes are a program in it.
//!
//! Protocols 0 and 1 have no magic: a pickle of theirs is letters, as a text is. So the bytes are followed as Python would
//! follow them, without doing anything: it is a pickle when it comes to call something before it comes to a byte that is
//! no instruction. Since protocol 2 a pickle says that it is one, and need not get as far.

use std::io::{self, BufRead, BufReader, Read, Seek};

/// Different marks that are kept; what needs more is a pickle, since no numbers do.
const MARKS: usize = 1 << 20;
/// Bytes of a line that are kept; it may be of any length.
const LINE: usize = 4096;
/// Longest name of a module or of what is in it (bytes).
const NAME: usize = 1024;

/// What follows an instruction.
#[derive(Clone, Copy)]
enum Argument {
    Bytes(u64),
    /// Up to a line break.
    Line,
    /// A module and a name, a line each.
    Global,
    /// A little-endian length of so many bytes, and as many bytes.
    Counted(u64),
}

/// What an instruction does to the stack.
#[derive(Clone, Copy)]
enum Effect {
    /// Takes so many, leaves so many.
    Moves(usize, usize),
    /// The same, and what it takes may be called.
    Calls(usize),
    /// Takes everything down to the mark, then needs so many below it, and leaves so many more.
    ToMark(usize, usize),
    /// The same, and calls.
    CallsToMark(usize),
    Mark,
    Pop,
    Stop,
}

/// How following ended.
enum End {
    /// At a byte that is no instruction, or one that cannot be followed.
    Wrong,
    /// With the last byte.
    Finished,
    /// It would have called something.
    Called,
}

/// Whether the first `size` bytes of `reader` are a pickle.
pub(crate) fn is_pickle(reader: impl Read + Seek, size: u64) -> io::Result<bool> {
    let mut machine =
        Machine { reader: BufReader::new(reader), left: size, depth: 0, marks: Vec::new(), global: false };
    let Some(first) = machine.byte()? else { return Ok(false) };
    let says_so = first == 0x80;
    Ok(match machine.follow(first)? {
        End::Called => true,
        End::Finished => says_so,
        End::Wrong => false,
    })
}

struct Machine<R> {
    reader: BufReader<R>,
    left: u64,
    /// What is on the stack above the last mark.
    depth: usize,
    /// What was on it below each mark, and how many marks in a row are so: constants are nothing but marks.
    marks: Vec<(usize, usize)>,
    /// Something that may be called was named.
    global: bool,
}

impl<R: Read + Seek> Machine<R> {
    fn follow(&mut self, first: u8) -> io::Result<End> {
        let mut opcode = first;
        // To the end, however far: constants are instructions, too, and what comes after them may be a program.
        while self.marks.len() < MARKS {
            let Some((argument, effect)) = instruction(opcode) else { return Ok(End::Wrong) };
            match self.argument(opcode, argument)? {
                None => return Ok(End::Finished),
                Some(false) => return Ok(End::Wrong),
                Some(true) => {}
            }
            self.global |= matches!(opcode, b'c' | 0x82..=0x84 | 0x93);
            if matches!(effect, Effect::Stop) && self.global {
                return Ok(End::Called);
            }
            match self.apply(effect) {
                None => return Ok(End::Wrong),
                Some(true) => return Ok(End::Called),
                Some(false) => {}
            }
            opcode = match self.byte()? {
                Some(next) => next,
                None => return Ok(End::Finished),
            };
        }
        Ok(End::Called)
    }

    /// `None` when the bytes end; `Some(false)` when it is none that the instruction can have.
    fn argument(&mut self, opcode: u8, argument: Argument) -> io::Result<Option<bool>> {
        match argument {
            Argument::Bytes(n) => {
                let version = if opcode == 0x80 { self.reader.fill_buf()?.first().copied() } else { None };
                let known = version.is_none_or(|version| version <= 5);
                Ok(self.skip(n)?.then_some(known))
            }
            Argument::Counted(width) => {
                let mut count = [0; 8];
                for byte in count.iter_mut().take(width as usize) {
                    let Some(next) = self.byte()? else { return Ok(None) };
                    *byte = next;
                }
                Ok(self.skip(u64::from_le_bytes(count))?.then_some(true))
            }
            Argument::Line => {
                let Some(line) = self.line()? else { return Ok(None) };
                Ok(Some(match opcode {
                    // Of a long one the end is not there to be looked at.
                    _ if line.len() == LINE => true,
                    // Some readers take spaces after the text, and all of them numbers in more ways than one thinks
                    // of: `nan`, `-inf`, `+0`, ` 0`, `1_0`.
                    b'S' => matches!(line.trim_ascii_end(), [b'\'', .., b'\''] | [b'"', .., b'"']),
                    b'g' | b'p' | b'I' | b'L' | b'F' => !line.is_empty(),
                    _ => true,
                }))
            }
            Argument::Global => {
                let (Some(module), Some(name)) = (self.line()?, self.line()?) else { return Ok(None) };
                let word = |line: &[u8]| {
                    let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.') || *b >= 0x80;
                    (1..=NAME).contains(&line.len()) && !line[0].is_ascii_digit() && line.iter().all(part)
                };
                Ok(Some(word(&module) && word(&name)))
            }
        }
    }

    /// Whether something is called; `None` when the stack does not have what is taken.
    fn apply(&mut self, effect: Effect) -> Option<bool> {
        match effect {
            Effect::Moves(takes, leaves) => {
                self.depth = self.depth.checked_sub(takes)? + leaves;
            }
            Effect::Calls(takes) => {
                self.depth = self.depth.checked_sub(takes)? + 1;
                return Some(self.global);
            }
            Effect::ToMark(needs, leaves) => {
                let below = self.unmark()?;
                self.depth = below.checked_sub(needs)? + needs + leaves;
            }
            Effect::CallsToMark(needs) => {
                self.depth.checked_sub(needs)?;
                self.depth = self.unmark()? + 1;
                return Some(needs == 0 || self.global);
            }
            Effect::Mark => {
                match self.marks.last_mut() {
                    Some((below, marks)) if *below == self.depth => *marks += 1,
                    _ => self.marks.push((self.depth, 1)),
                }
                self.depth = 0;
            }
            Effect::Pop => match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => self.depth = self.unmark()?,
            },
            Effect::Stop => {
                self.depth.checked_sub(1)?;
                // What comes after it is the next pickle: old files of PyTorch are several.
                (self.depth, self.marks) = (0, Vec::new());
            }
        }
        Some(false)
    }

    /// Takes the last mark; gives what was below it.
    fn unmark(&mut self) -> Option<usize> {
        let (below, marks) = self.marks.last_mut()?;
        let (below, last) = (*below, *marks == 1);
        *marks -= 1;
        if last {
            self.marks.pop();
        }
        Some(below)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        if self.left == 0 || self.reader.read(&mut byte)? == 0 {
            return Ok(None);
        }
        self.left -= 1;
        Ok(Some(byte[0]))
    }

    /// Whether there are so many.
    fn skip(&mut self, n: u64) -> io::Result<bool> {
        let Some(left) = self.left.checked_sub(n) else { return Ok(false) };
        self.left = left;
        self.reader.seek_relative(i64::try_from(n).unwrap_or(i64::MAX))?;
        Ok(true)
    }

    /// The next line without its end, or of a long one its beginning.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            let ready = self.reader.fill_buf()?;
            let ready = &ready[..ready.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))];
            if ready.is_empty() {
                return Ok(None);
            }
            let end = ready.iter().position(|byte| *byte == b'\n');
            let part = &ready[..end.unwrap_or(ready.len())];
            line.extend_from_slice(&part[..part.len().min(LINE - line.len())]);
            let used = part.len() + usize::from(end.is_some());
            self.left -= used as u64;
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

/// An instruction by its byte (pickletools.opcodes).
fn instruction(opcode: u8) -> Option<(Argument, Effect)> {
    use Argument::{Bytes, Counted, Global, Line};
    use Effect::{Calls, CallsToMark, Mark, Moves, Pop, Stop, ToMark};
    Some(match opcode {
        b'.' => (Bytes(0), Stop),
        b'(' => (Bytes(0), Mark),
        b'0' => (Bytes(0), Pop),
        b'1' => (Bytes(0), ToMark(0, 0)),
        b'2' => (Bytes(0), Moves(1, 2)),
        // Constants and empty collections.
        b'N' | b']' | b')' | b'}' | 0x88 | 0x89 | 0x8f | 0x97 => (Bytes(0), Moves(0, 1)),
        b'I' | b'L' | b'S' | b'V' | b'F' | b'g' | b'P' => (Line, Moves(0, 1)),
        b'K' | b'h' => (Bytes(1), Moves(0, 1)),
        b'M' => (Bytes(2), Moves(0, 1)),
        b'J' | b'j' => (Bytes(4), Moves(0, 1)),
        b'G' => (Bytes(8), Moves(0, 1)),
        b'U' | b'C' | 0x8a | 0x8c => (Counted(1), Moves(0, 1)),
        b'T' | b'B' | b'X' | 0x8b => (Counted(4), Moves(0, 1)),
        0x8d | 0x8e | 0x96 => (Counted(8), Moves(0, 1)),
        // Collections.
        b'a' | 0x86 => (Bytes(0), Moves(2, 1)),
        b's' | 0x87 => (Bytes(0), Moves(3, 1)),
        b'e' | b'u' | 0x90 => (Bytes(0), ToMark(1, 0)),
        b'l' | b't' | b'd' | 0x91 => (Bytes(0), ToMark(0, 1)),
        0x85 | 0x98 | b'Q' => (Bytes(0), Moves(1, 1)),
        // The memo.
        b'p' => (Line, Moves(1, 1)),
        b'q' => (Bytes(1), Moves(1, 1)),
        b'r' => (Bytes(4), Moves(1, 1)),
        0x94 => (Bytes(0), Moves(1, 1)),
        // What may be called, and what calls.
        b'c' => (Global, Moves(0, 1)),
        0x93 => (Bytes(0), Moves(2, 1)),
        0x82 => (Bytes(1), Moves(0, 1)),
        0x83 => (Bytes(2), Moves(0, 1)),
        0x84 => (Bytes(4), Moves(0, 1)),
        b'R' | b'b' | 0x81 => (Bytes(0), Calls(2)),
        0x92 => (Bytes(0), Calls(3)),
        b'i' => (Global, CallsToMark(0)),
        b'o' => (Bytes(0), CallsToMark(1)),
        // The version, and the length of what comes.
        0x80 => (Bytes(1), Moves(0, 0)),
        0x95 => (Bytes(8), Moves(0, 0)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn pickled(bytes: &[u8]) -> bool {
        is_pickle(Cursor::new(bytes), bytes.len() as u64).expect("memory")
    }

    /// Each as Python's pickle.dumps writes it, and by hand what it never would.
    #[test]
    fn programs_of_every_protocol_are_told() {
        let programs: [&[u8]; 14] = [
            b"cos\nsystem\np0\n(S'id'\np1\ntp2\nRp3\n.",
            b"ccollections\nOrderedDict\np0\n(tRp1\n.",
            b"cposix\nsystem\nq\0(U\x02idq\x01tq\x02Rq\x03.",
            b"(S'id'\nios\nsystem\n.",
            b"(cos\nsystem\nS'id'\no.",
            b"(lp0\nI1\nacos\nsystem\n(S'id'\ntRa.",
            b"(dp0\nS'a'\ncbuiltins\neval\n(S'1'\ntRs.",
            b"N0cos\nsystem\n(S'id'\ntR and what follows is not read",
            b"I1\n.cos\nsystem\n(S'id'\ntR.",
            b"L119547037146038801333356L\n.I1001\n.(dp0\n.ctorch._utils\n_rebuild_tensor_v2\np0\n(tR.",
            b"\x80\x02}q\0.",
            b"\x80\x04\x95\x1e\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
            b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
            b"\x80\x04\x95",
        ];
        for program in programs {
            assert!(pickled(program), "{:?}", String::from_utf8_lossy(program));
        }
        let long = [b"X\0\0\x10\0".as_slice(), &[b'x'; 1 << 20], b"0cos\nsystem\n)R."].concat();
        assert!(pickled(&long));
        let long = [b"V".as_slice(), &[b'x'; 1 << 20], b"\n0S'", &[b'x'; 1 << 20], b"'\n0cos\nsystem\n)R."].concat();
        assert!(pickled(&long));
        let padding = [&b"N0"[..], b"(1", b"(N(N11", b"(((111", b"(NN(N(11N(1t0"];
        for padding in padding.map(|one| one.repeat(200_000)) {
            assert!(pickled(&[&padding[..], b"cos\nsystem\n(S'id'\ntR."].concat()));
            assert!(!pickled(&padding));
        }
        let marks = |n| [b"(".repeat(n), b"1".repeat(n)].concat();
        assert!(pickled(&[&marks(1 << 20), &b"cos\nsystem\n)R."[..]].concat()));
        // Nobody's numbers: more and more marks, each with something else below.
        assert!(pickled(&b"(N(NN".repeat(MARKS)));
    }

    /// Zero points and scales that are all the same.
    #[test]
    fn constants_are_no_program() {
        for byte in 0..=0xff {
            assert!(!pickled(&[byte; 150_000]), "{byte:#x}");
            assert!(!pickled(&[&[byte; 150_000][..], &[0x3f, 0x80, 0, 0xff].repeat(100)].concat()), "{byte:#x}");
        }
        let pairs = [[0x88, 0x89], [0x28, 0x88], [0x5d, 0x28], [0x87, 0x88], [0x98, 0x88]];
        for pair in pairs {
            assert!(!pickled(&pair.repeat(150_000)), "{pair:x?}");
        }
    }

    /// Each is loaded, and runs `id`, by CPython.
    #[test]
    fn numbers_are_whatever_python_takes_for_one() {
        let numbers: [&[u8]; 15] = [
            b"Fnan\n0",
            b"F-inf\n0",
            b"FInfinity\n0",
            b"F 1e3 \n0",
            b"I 1\n0",
            b"I1_0\n0",
            b"I+1\n0",
            b"L 1L\n0",
            b"Np0\n0g 0\n0",
            b"Np+0\n0",
            b"Np 0\n0",
            b"Np0 \n0",
            b"Np0_0\n0",
            b"Np0\n0g+0\n0",
            b"S'a' \n0",
        ];
        for number in numbers {
            assert!(pickled(&[number, b"cos\nsystem\n(S'id'\ntR."].concat()), "{}", number.escape_ascii());
            assert!(!pickled(&[number, b"N."].concat()), "{}", number.escape_ascii());
        }
        for none in [&b"F\n0cos\nsystem\n)R."[..], b"Np\n0cos\nsystem\n)R.", b"S'a\n0cos\nsystem\n)R."] {
            assert!(!pickled(none), "{}", none.escape_ascii());
        }
    }

    #[test]
    fn what_calls_nothing_is_none() {
        let others: [&[u8]; 16] = [
            b"",
            b"{\"a\": 1}",
            b"[1, 2]",
            b"# A model\n\nIt is one.\n",
            b"---\nlicense: mit\n---\n",
            b"cat\ndog\nbird\n",
            b"class Model:\n    pass\n",
            b"import os\nos.system('id')\n",
            b"(in English)\nof course.\n",
            b"I am a text.\nR.",
            b"I1\n.",
            b"(lp0\nI1\na.",
            b"GGUF\x03\0\0\0",
            b"\x80\x02\xff\xff",
            b"\x80\x3f\0\0\x80\x3f",
            b"R.",
        ];
        for other in others {
            assert!(!pickled(other), "{:?}", String::from_utf8_lossy(other));
        }
    }
}
