//! What a file is, by its name and by what is in it. A model consists of what is listed here. All else that could be its
//! weights, or a program, is refused; the rest is left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hone_contract::quoted;

use crate::model::{ending, is_weight};
use crate::pickle::{self, HEAD};
use crate::{BaseError, SourceFile, Sources, headers, read};

/// Endings of texts; what is no text under such a name is what a reader of texts refuses.
const TEXTS: [&str; 9] = ["jinja", "json", "jsonl", "md", "toml", "txt", "xml", "yaml", "yml"];
/// Endings of numbers without a header: ONNX keeps tensors in such files.
const NUMBERS: [&str; 2] = ["data", "onnx_data"];
/// Formats of models that nobody looks into here, by their endings.
const OTHERS: [(&str, &str); 13] = [
    ("engine", "a TensorRT engine"),
    ("h5", "a Keras model or another HDF5 file"),
    ("hdf5", "a Keras model or another HDF5 file"),
    ("keras", "a Keras model"),
    ("mlmodel", "a Core ML model"),
    ("mnn", "an MNN model"),
    ("msgpack", "a msgpack file"),
    ("ort", "a model in ONNX Runtime's own format"),
    ("pb", "a TensorFlow graph or another protobuf"),
    ("pdmodel", "a PaddlePaddle model"),
    ("plan", "a TensorRT engine"),
    ("rknn", "an RKNN model"),
    ("tflite", "a TensorFlow Lite model"),
];
/// How some of them begin, whatever they are called: where, with what, and what they are.
const OTHERS_BEGIN: [(usize, &[u8], &str); 3] = [
    (0, b"\x89HDF\r\n\x1a\n", "a Keras model or another HDF5 file"),
    (4, b"ORTM", "a model in ONNX Runtime's own format"),
    (4, b"TFL3", "a TensorFlow Lite model"),
];
/// How tables of data begin (Parquet, Arrow): they are no weights, however large.
const TABLES: [&[u8]; 2] = [b"PAR1", b"ARROW1\0\0"];
/// What is said of a file that may hold the weights in a way that nobody here knows.
const UNKNOWN: &str = "of a format that is not known";
/// Names of files that were left out which are shown.
const SHOWN: usize = 8;
/// How pictures, sounds, films and documents beside a model begin: model cards show them.
const MEDIA: [&[u8]; 9] =
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"%PDF-", b"OggS", b"fLaC", b"ID3", b"\0\0\x01\0"];
/// How what Git LFS leaves in the place of a file begins (its specification, and the older name of it).
const POINTERS: [&[u8]; 2] =
    [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];
/// `pieces`, the first field of a SentencePiece model, which is what `tokenizer.model` is, and `piece`, the first in that.
const PIECE: u8 = 1 << 3 | 2;
/// `score`, what follows the text of a piece.
const SCORE: u8 = 2 << 3 | 5;

/// Whose header is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Gguf,
    Safetensors,
    Other,
}

/// What a model consists of, and what the user should know of what was left out. A model with a file that no trainer
/// should open is refused, and one with weights that nobody here can look into.
pub(crate) fn of_model(model: &Sources) -> Result<(Sources, Option<String>), BaseError> {
    let shown = |file: &SourceFile| shown(model, file);
    model.files.iter().try_for_each(|file| refuse(&shown(file), file))?;
    // What an ONNX model says are its numbers are numbers, whatever they are called.
    let mut numbers = BTreeSet::new();
    for file in model.files.iter().filter(|file| ending(&file.name) == "onnx") {
        let dir = file.name.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
        numbers.extend(read::onnx(file)?.into_iter().map(|name| format!("{dir}{name}")));
    }
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for file in &model.files {
        let part = numbers.contains(&file.name) || known(&shown(file), file)?;
        if part { files.push(file.clone()) } else { left_out.push(file) }
    }
    let note = match left_out.first() {
        None => None,
        // There is nothing else that could be the weights.
        Some(first) if !files.iter().any(is_weight) => {
            return Err(BaseError::Unknown { path: shown(first), what: UNKNOWN });
        }
        Some(_) => Some(note(&left_out)),
    };
    Ok((Sources { files, ..model.clone() }, note))
}

fn note(left_out: &[&SourceFile]) -> String {
    let names: Vec<String> = left_out.iter().take(SHOWN).map(|file| quoted(&file.name).to_string()).collect();
    let more = match left_out.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("left out of the image, being no weights and of no format that is known: {}{more}", names.join(", "))
}

fn shown(model: &Sources, file: &SourceFile) -> PathBuf {
    if model.lone { model.shown.clone() } else { model.shown.join(&file.name) }
}

/// Refuses a file that is not there yet, and one that may run code when it is loaded.
pub(crate) fn refuse(shown: &Path, file: &SourceFile) -> Result<(), BaseError> {
    pickle::by_name(shown)?;
    let head = read::prefix(file, HEAD)?;
    if POINTERS.iter().any(|pointer| head.starts_with(pointer)) {
        return Err(BaseError::LfsPointer(shown.to_owned()));
    }
    let ending = ending(&shown.to_string_lossy());
    if let Some((_, what)) = OTHERS.iter().find(|(other, _)| *other == ending) {
        return Err(BaseError::Unknown { path: shown.to_owned(), what });
    }
    pickle::by_content(shown, file, &head)
}

/// Whether a file is something that a model consists of; one that may be its weights, and is not, is refused.
fn known(shown: &Path, file: &SourceFile) -> Result<bool, BaseError> {
    let ending = ending(&file.name);
    let named = |known: &[&str]| known.contains(&ending.as_str());
    if named(&["gguf", "safetensors", "onnx"]) || named(&NUMBERS) || named(&TEXTS) {
        return Ok(true);
    }
    let head = read::prefix(file, HEAD)?;
    let begins = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((.., what)) = OTHERS_BEGIN.iter().find(|(at, magic, _)| begins(*at, magic)) {
        return Err(BaseError::Unknown { path: shown.to_owned(), what });
    }
    if TABLES.iter().any(|magic| begins(0, magic)) {
        return Ok(false);
    }
    let shows = MEDIA.iter().any(|magic| begins(0, magic)) || begins(4, b"ftyp");
    if is_text(&head) || is_sentencepiece(&head) || shows || pickle::is_numeric(&head) {
        return Ok(true);
    }
    match headers::parse(file)? {
        // By its size it is one of the weights.
        headers::Header::Other if is_weight(file) => {
            Err(BaseError::Unknown { path: shown.to_owned(), what: UNKNOWN })
        }
        headers::Header::Other => Ok(false),
        _ => Ok(true),
    }
}

/// Whether a file begins as a SentencePiece model does (sentencepiece_model.proto), whatever it is called: with a piece,
/// which is a text and its score.
fn is_sentencepiece(head: &[u8]) -> bool {
    let piece = field(head, PIECE).and_then(|(piece, _)| field(piece, PIECE));
    piece
        .is_some_and(|(text, rest)| std::str::from_utf8(text).is_ok() && matches!(rest, [] | [SCORE, _, _, _, _, ..]))
}

/// The bytes of a protobuf's field with this tag and a length, and what comes after it. Pieces are short: a length has one
/// byte, or two.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [first, length @ 0..0x80, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, low, high @ 0..0x80, rest @ ..] if *first == tag => {
            (usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Whose header a file has: by its name, and where that says nothing by how it begins.
pub(crate) fn format(file: &SourceFile) -> Result<Format, BaseError> {
    match ending(&file.name).as_str() {
        "gguf" => return Ok(Format::Gguf),
        "safetensors" => return Ok(Format::Safetensors),
        named if named == "onnx" || NUMBERS.contains(&named) || TEXTS.contains(&named) => return Ok(Format::Other),
        _ => {}
    }
    let head = read::prefix(file, 9)?;
    let header = head.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    Ok(match head.get(8) {
        _ if head.starts_with(b"GGUF") => Format::Gguf,
        Some(b'{') if header.is_some_and(|length| length.saturating_add(8) <= file.size) => Format::Safetensors,
        _ => Format::Other,
    })
}

/// Whether bytes are a text's: of any encoding in which no byte is one that only terminals use.
fn is_text(head: &[u8]) -> bool {
    let marked = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    let of_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b'\x1b' | 0x20..=0x7e | 0x80..);
    marked || head.iter().all(of_text)
}
