//! Pickle is refused: loading it runs whatever code it holds. By name, by content, and in whatever may hold one.

use std::io::{self, Read};
use std::path::Path;

use hone_image::hub::Model;
use hone_image::untar::is_header;

use crate::model::{WEIGHTS, ending};
use crate::{BaseError, SourceFile, opcodes, read};

/// Endings under which pickled weights are kept.
const ENDINGS: [&str; 10] = ["bin", "ckpt", "dill", "joblib", "npz", "pickle", "pkl", "pt", "pth", "t7"];
/// Bytes at a file's beginning that are looked at; a tar's first header has 512.
pub(crate) const HEAD: u64 = 4096;
/// A zip ends with a record of 22 bytes and a comment of at most 64 KiB (APPNOTE.TXT, 4.3.16).
const TAIL: u64 = 22 + 0xffff;
/// Bytes that are inflated of what may be a zlib file: no numbers make that many by accident.
const INFLATED: u64 = 64 << 10;
/// What numpy calls its own arrays by (numpy.lib.format).
const NUMPY: &[u8] = b"\x93NUMPY";

/// How containers begin that a pickle may be in, and what they are.
const CONTAINERS: [(&[u8], &str); 9] = [
    // PyTorch's format is a zip of pickles.
    (b"PK\x03\x04", "a pickle in a zip"),
    (b"BZh", "a bzip2 file, which may hold a pickle"),
    (b"\xfd7zXZ\0", "an xz file, which may hold a pickle"),
    (b"\x28\xb5\x2f\xfd", "a zstd file, which may hold a pickle"),
    (b"\x04\x22\x4d\x18", "an lz4 file, which may hold a pickle"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file, which may hold a pickle"),
    (b"Rar!\x1a\x07", "a rar file, which may hold a pickle"),
    (b"LZIP", "an lzip file, which may hold a pickle"),
    (b"ZF0x", "a pickle of joblib's"),
];

/// Refuses a file by its name.
pub(crate) fn by_name(name: &Path) -> Result<(), BaseError> {
    match ENDINGS.contains(&ending(&name.to_string_lossy()).as_str()) {
        true => pickle(name, "a pickle"),
        false => Ok(()),
    }
}

/// Refuses a file that is, by its first and last bytes, a pickle or something that one may be in. Numbers may begin with
/// any bytes, so what is told from few of them is asked for more.
pub(crate) fn by_content(name: &Path, file: &SourceFile, head: &[u8]) -> Result<(), BaseError> {
    let container = CONTAINERS.iter().find(|(magic, _)| head.starts_with(magic) && plausible(magic, head));
    if let Some((_, what)) = container {
        return pickle(name, what);
    }
    if head.starts_with(b"\x1f\x8b\x08") && head.get(3).is_some_and(|flags| flags & 0xe0 == 0) {
        return pickle(name, "a gzip file, which may hold a pickle");
    }
    if is_zlib(file, head)? {
        return pickle(name, "a zlib file, which may hold a pickle");
    }
    // LZMA's older form: properties, a dictionary's size, and a length that nobody knew.
    if head.starts_with(b"\x5d\0\0") && head.get(5..13) == Some(&[0xff; 8]) {
        return pickle(name, "an LZMA file, which may hold a pickle");
    }
    // zstd's frames that are skipped: anything may follow.
    if head.first().is_some_and(|byte| byte & 0xf0 == 0x50) && head.get(1..4) == Some(b"\x2a\x4d\x18") {
        return pickle(name, "a zstd file, which may hold a pickle");
    }
    if is_header(head) {
        return pickle(name, "a tar, which may hold a pickle");
    }
    if head.starts_with(NUMPY) && !is_numeric(head) {
        return pickle(name, "an array of numpy's that may hold objects, which are a pickle");
    }
    if ends_as_zip(file)? {
        return pickle(name, "a pickle in a zip");
    }
    match opcodes::is_pickle(read::seekable(file)?, file.size) {
        Ok(false) => Ok(()),
        Ok(true) => pickle(name, "a pickle"),
        Err(error) => Err(BaseError::at("read", &file.source)(error)),
    }
}

fn pickle(name: &Path, what: &'static str) -> Result<(), BaseError> {
    Err(BaseError::Pickle { path: name.to_owned(), what })
}

/// Whether what follows few bytes of magic is what follows it there.
fn plausible(magic: &[u8], head: &[u8]) -> bool {
    match magic {
        b"BZh" => {
            matches!(head.get(3), Some(b'1'..=b'9'))
                && matches!(head.get(4..10), Some(b"1AY&SY" | b"\x17\x72\x45\x38\x50\x90"))
        }
        b"LZIP" => head.get(4) == Some(&1),
        _ => true,
    }
}

/// A zlib file (RFC 1950), which is what joblib writes where it is told to compress. Its two bytes of magic are the
/// beginning of some numbers, too: it is one when it is inflated to its end, or goes on and on.
fn is_zlib(file: &SourceFile, head: &[u8]) -> Result<bool, BaseError> {
    let Some([method, flags]) = head.first_chunk::<2>() else { return Ok(false) };
    if method & 15 != 8 || u16::from_be_bytes([*method, *flags]) % 31 != 0 {
        return Ok(false);
    }
    let reader = file.open().map_err(BaseError::at("read", &file.source))?;
    let mut inflated = flate2::read::ZlibDecoder::new(reader).take(INFLATED);
    Ok(io::copy(&mut inflated, &mut io::sink()).is_ok())
}

/// An array of plain numbers, by its header. The dictionary there is Python's, and only its usual form is believed.
pub(crate) fn is_numeric(head: &[u8]) -> bool {
    let length = match head.get(6) {
        Some(1) => head.get(8..10).map(|b| (10, usize::from(u16::from_le_bytes([b[0], b[1]])))),
        Some(2 | 3) => head.get(8..12).map(|b| (12, u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)),
        _ => None,
    };
    let header = length.and_then(|(at, length)| head.get(at..length.checked_add(at)?));
    let Some(header) = header.and_then(|bytes| std::str::from_utf8(bytes).ok()) else { return false };
    let Some(rest) = header.strip_prefix("{'descr': '") else { return false };
    let Some((descr, rest)) = rest.split_once('\'') else { return false };
    let descr = descr.trim_start_matches(['<', '>', '|', '=']);
    let mut letters = descr.chars();
    let number = letters.next().is_some_and(|c| "biufc?".contains(c)) && letters.all(|c| c.is_ascii_digit());
    number && !rest.contains("descr") && !header.contains('\\')
}

/// Whether readers of zips, which begin at the end, find one: whatever bytes come before it.
fn ends_as_zip(file: &SourceFile) -> Result<bool, BaseError> {
    let tail = read::tail(file, TAIL)?;
    let before = file.size.saturating_sub(tail.len() as u64);
    let records = tail.windows(4).enumerate().filter(|(_, four)| *four == b"PK\x05\x06").map(|(at, _)| at);
    for at in records {
        let number =
            |from: usize| tail.get(at + from..at + from + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let (Some(size), Some(offset)) = (number(12), number(16)) else { continue };
        let zip64 = at.checked_sub(20).is_some_and(|begin| tail[begin..].starts_with(b"PK\x06\x07"));
        let record = before + at as u64;
        let places = [record.checked_sub(u64::from(size)), Some(u64::from(offset))];
        let mut directory = false;
        for place in places.into_iter().flatten().filter(|place| *place < record) {
            let part = SourceFile { offset: file.offset + place, size: 4, ..file.clone() };
            directory |= read::prefix(&part, 4)? == b"PK\x01\x02";
        }
        if zip64 || directory {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses a hub's model that has its weights as pickles only.
///
/// # Errors
/// With the first of them.
pub fn refuse_pickled(model: &Model) -> Result<(), BaseError> {
    if model.wanted().iter().any(|file| WEIGHTS.contains(&ending(&file.path).as_str())) {
        return Ok(());
    }
    model.files.iter().try_for_each(|file| by_name(Path::new(&file.path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, content: &[u8]) -> Option<String> {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("file");
        // As a part of a blob: what is around it is not its own.
        std::fs::write(&path, [b"before", content, b"after"].concat()).expect("write");
        let file = SourceFile::part(name, path, 6, content.len() as u64);
        let head = read::prefix(&file, HEAD).expect("head");
        let result = by_name(Path::new(name)).and_then(|()| by_content(Path::new(name), &file, &head));
        result.err().map(|error| error.to_string())
    }

    /// A zip of one empty file, as zipfile writes it, after `before`.
    fn zip(before: &[u8], comment: &[u8]) -> Vec<u8> {
        let local = [b"PK\x03\x04\x14\0".as_slice(), &[0; 20], b"\x01\0\0\0a"].concat();
        let central = [b"PK\x01\x02\x14\x03\x14\0".as_slice(), &[0; 20], b"\x01\0", &[0; 16], b"a"].concat();
        let record = [
            b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(),
            &(central.len() as u32).to_le_bytes(),
            &(local.len() as u32).to_le_bytes(),
            &(comment.len() as u16).to_le_bytes(),
        ];
        [before, &local, &central, &record.concat(), comment].concat()
    }

    fn tar(magic: &[u8]) -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(b"storages");
        header[257..257 + magic.len()].copy_from_slice(magic);
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    fn zlib(content: &[u8], level: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut reader = flate2::read::ZlibEncoder::new(content, flate2::Compression::new(level));
        reader.read_to_end(&mut bytes).expect("memory");
        bytes
    }

    fn npy(descr: &str) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2,), }}\n");
        [b"\x93NUMPY\x01\0".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), &[0; 8]].concat()
    }

    #[test]
    fn pickles_are_known_by_name_and_by_content() {
        for (name, content) in [
            ("pytorch_model.bin", &b""[..]),
            ("x.PT", b""),
            ("model.joblib", b""),
            ("weights", b"\x80\x02}q"),
            ("model.safetensors", b"PK\x03\x04...."),
            ("x.data", b"cos\nsystem\n(S'id'\ntR."),
            ("x.data", b"(S'id'\nios\nsystem\n."),
        ] {
            let said = refused(name, content).unwrap_or_else(|| panic!("{name} was accepted"));
            assert!(said.contains("it is a pickle"), "{said}");
        }
        assert_eq!(refused("model.safetensors", &[0x80, 0, 0, 0]), None);
        assert_eq!(refused("tokenizer.json", b"{"), None);
    }

    #[test]
    fn what_a_pickle_may_be_in_is_refused() {
        let contents = [
            zip(b"", b""),
            zip(b"anything at all", b""),
            zip(&[7; 100_000], b"a comment"),
            zip(b"GGUF", &[b'c'; 0xffff]),
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(),
            zlib(b"cos\nsystem\n(S'id'\ntR.", 6),
            zlib(&b"N0".repeat(1 << 20), 1),
            zlib(&(0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(), 9),
            // Nothing, in a window of 256 bytes.
            b"\x08\x1d\x03\0\0\0\0\x01".to_vec(),
            b"BZh91AY&SY".to_vec(),
            b"\xfd7zXZ\0\0\x04".to_vec(),
            b"\x28\xb5\x2f\xfd\x04".to_vec(),
            b"\x50\x2a\x4d\x18\x04".to_vec(),
            b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            b"\x04\x22\x4d\x18".to_vec(),
            tar(b"ustar\0"),
            tar(b""),
            npy("'|O'"),
            npy("'\\x4f'"),
            npy("[('a', '<f4'), ('b', 'O')]"),
            npy("'<f4', 'descr': '|O'"),
        ];
        for (i, content) in contents.iter().enumerate() {
            let said = refused("weights.data", content).unwrap_or_else(|| panic!("number {i} was accepted"));
            assert!(said.contains("loading one can run any code"), "{said}");
        }
    }

    #[test]
    fn numbers_and_texts_that_look_like_one_are_none() {
        let bare = [&[1; 400][..], b"PK\x05\x06", &[0; 18]].concat();
        // As zlib begins, and numbers.
        let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let zlib = [&b"\x78\x9c"[..], &noise].concat();
        let contents: [&[u8]; 13] = [
            &zlib,
            &b"\x78\x9c".repeat(1000),
            &b"\x78\x01".repeat(1000),
            b"x\x9c",
            &npy("'<f4'"),
            &npy("'|u1'"),
            &bare,
            b"PK\x05\x06",
            b"\x1f\x8b\x00\x00",
            b"BZh9 is how bzip2 begins",
            &[0; 1024],
            b"cats and dogs\nare pets\nRex is one.\n",
            b"\x80\x02\x00\x00 numbers",
        ];
        for content in contents {
            assert_eq!(refused("weights.data", content), None, "{:?}", String::from_utf8_lossy(content));
        }
    }
}
