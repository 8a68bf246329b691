//! What a file is, by its name and by what is in it. A model may consist of what is listed here; all else is refused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::model::ending;
use crate::pickle::{self, HEAD};
use crate::{BaseError, SourceFile, Sources, headers, read};

/// Endings of texts; what is no text under such a name is what a reader of texts refuses.
const TEXTS: [&str; 9] = ["jinja", "json", "jsonl", "md", "toml", "txt", "xml", "yaml", "yml"];
/// Endings of numbers without a header: ONNX keeps tensors in such files.
const NUMBERS: [&str; 2] = ["data", "onnx_data"];
/// Formats of models that nobody looks into here, by their endings. The list is for the words: what is not in it, and is
/// neither text nor anything else that is known, is refused as well.
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
/// How pictures, sounds, films and documents beside a model begin: model cards show them.
const MEDIA: [&[u8]; 9] =
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"%PDF-", b"OggS", b"fLaC", b"ID3", b"\0\0\x01\0"];
/// How what Git LFS leaves in the place of a file begins (its specification, and the older name of it).
const POINTERS: [&[u8]; 2] =
    [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];
/// `piece`, the first field of a SentencePiece model, which is what `tokenizer.model` is.
const PIECE: u8 = 1 << 3 | 2;

/// Whose header is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Gguf,
    Safetensors,
    Other,
}

/// Refuses a model with a file that no trainer should open, or that nobody here can look into.
pub(crate) fn check(model: &Sources) -> Result<(), BaseError> {
    let shown = |file: &SourceFile| shown(model, file);
    model.files.iter().try_for_each(|file| refuse(&shown(file), file))?;
    // What an ONNX model says are its numbers are numbers, whatever they are called.
    let mut numbers = BTreeSet::new();
    for file in model.files.iter().filter(|file| ending(&file.name) == "onnx") {
        let dir = file.name.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
        numbers.extend(read::onnx(file)?.into_iter().map(|name| format!("{dir}{name}")));
    }
    model.files.iter().filter(|file| !numbers.contains(&file.name)).try_for_each(|file| known(&shown(file), file))
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

/// Refuses a file that is nothing a model consists of.
fn known(shown: &Path, file: &SourceFile) -> Result<(), BaseError> {
    let ending = ending(&file.name);
    let named = |known: &[&str]| known.contains(&ending.as_str());
    if named(&["gguf", "safetensors", "onnx"]) || named(&NUMBERS) || named(&TEXTS) {
        return Ok(());
    }
    let head = read::prefix(file, HEAD)?;
    let sentences = ["model", "spm"].contains(&ending.as_str()) && head.first() == Some(&PIECE);
    let shows = MEDIA.iter().any(|magic| head.starts_with(magic)) || head.get(4..8) == Some(b"ftyp");
    if is_text(&head) || sentences || shows || pickle::is_numeric(&head) {
        return Ok(());
    }
    match headers::parse(file)? {
        headers::Header::Other => {
            Err(BaseError::Unknown { path: shown.to_owned(), what: "of a format that is not known" })
        }
        _ => Ok(()),
    }
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
