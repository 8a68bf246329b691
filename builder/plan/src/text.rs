//! The text that a file's bytes are: UTF-8, or UTF-16, which is how some of Windows' editors and shells write.

use crate::error::{HonefileError, Source};

/// Bytes that are looked at to tell UTF-16 that does not say so.
const LOOKED: usize = 256;

/// The text of a file called `file` in errors, without a byte order mark.
///
/// # Errors
/// When the bytes are in no encoding that is read here; it says which, where that can be told.
pub fn text(file: &str, bytes: &[u8]) -> Result<String, HonefileError> {
    let wrong = |why: &str| Source { file, text: "" }.whole(format!("{why}; save it as UTF-8"));
    let read = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(wrong("it is UTF-32, which is not read here")),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => match unmarked(bytes) {
            Some(order) => utf16(bytes, order),
            None => String::from_utf8(bytes.to_vec()).ok(),
        },
    };
    read.ok_or_else(|| wrong("it is neither UTF-8 nor UTF-16 text"))
}

type Order = fn([u8; 2]) -> u16;

fn utf16(bytes: &[u8], order: Order) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let text: Result<String, _> = char::decode_utf16(units.iter().map(|unit| order(*unit))).collect();
    text.ok().filter(|_| rest.is_empty())
}

/// The order of UTF-16 without a mark: most of these files is ASCII, of which every other byte is zero.
fn unmarked(bytes: &[u8]) -> Option<Order> {
    let head = &bytes[..bytes.len().min(LOOKED)];
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let one_sided = |most: usize, least: usize| most > 0 && most * 4 >= head.len() && least * 8 <= most;
    match () {
        () if one_sided(odd, even) => Some(u16::from_le_bytes),
        () if one_sided(even, odd) => Some(u16::from_be_bytes),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_of_a_text_gives_that_text() {
        let want = "FROM m\r\nSYSTEM Grö\u{1f600}\r\n";
        let units = |order: fn(u16) -> [u8; 2]| want.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        let (little, big) = (units(u16::to_le_bytes), units(u16::to_be_bytes));
        for bytes in [
            want.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", want.as_bytes()].concat(),
            [b"\xff\xfe".as_slice(), &little].concat(),
            [b"\xfe\xff".as_slice(), &big].concat(),
            little.clone(),
            big,
        ] {
            assert_eq!(text("f", &bytes).as_deref(), Ok(want));
        }
        assert_eq!(text("f", b"").as_deref(), Ok(""));
        assert_eq!(text("f", b"SYSTEM a\0b\n").as_deref(), Ok("SYSTEM a\0b\n"));
        let said = |bytes: &[u8]| text("f", bytes).expect_err("no text").to_string();
        assert_eq!(said(b"caf\xe9"), "f: it is neither UTF-8 nor UTF-16 text; save it as UTF-8");
        assert_eq!(said(&[b"\xff\xfe".as_slice(), &little[..7]].concat()), said(b"caf\xe9"));
        assert_eq!(said(b"\xff\xfe\x00\xd8"), said(b"caf\xe9"));
        assert!(said(b"\xff\xfe\0\0F\0\0\0").contains("it is UTF-32"));
    }
}
