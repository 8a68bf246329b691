//! GGUF headers, versions 2 and 3: metadata and tensor table.
//!
//! Refuses: counts and lengths beyond the file, duplicate keys and tensors, more than four dimensions, offsets
//! that are not aligned, ranges that overlap or leave the file, nested arrays. Tensors of a type that is not
//! computed here are listed with their number and refused when a model is made of them.

use std::collections::BTreeMap;

use hone_contract::quoted;

use crate::cursor::{Cursor, Read, Stop};
use crate::dtype::{Dtype, ggml_bytes, ggml_name};
use crate::error::shape_words;
use crate::{MAX_HEADER, ModelError, Progress};

/// A metadata value. Arrays of numbers stay as bytes: a header must not cost many times its own size.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Any float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array of numbers or booleans: GGUF's element type number and the little-endian bytes.
    Numbers(u32, Vec<u8>),
}

impl Value {
    /// What it is, for a message.
    pub fn words(&self) -> String {
        match self {
            Self::Unsigned(n) => n.to_string(),
            Self::Signed(n) => n.to_string(),
            Self::Float(n) => format!("the float {n}"),
            Self::Bool(on) => on.to_string(),
            Self::Text(text) => format!("the text `{}`", quoted(text).at_most(SHOWN)),
            Self::Texts(texts) => format!("an array of {} texts", texts.len()),
            Self::Numbers(kind, bytes) => {
                format!("an array of {} numbers", bytes.len() as u64 / width(*kind).unwrap_or(1))
            }
        }
    }
}

/// One row of the tensor table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// GGUF's type number.
    pub ggml_type: u32,
    /// Outermost dimension first (GGUF stores them the other way round).
    pub shape: Vec<u64>,
    /// Position in the file.
    pub offset: u64,
    /// Bytes; 0 when nobody has described the type.
    pub len: u64,
}

impl Tensor {
    /// The element type, when it is one that can be computed.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] names the type.
    pub fn dtype(&self, file: &str, name: &str) -> Result<Dtype, ModelError> {
        Dtype::from_ggml(self.ggml_type).ok_or_else(|| {
            let what = format!("tensor {name}: quantization");
            ModelError::unsupported(file, what, ggml_name(self.ggml_type), Dtype::GGUF)
        })
    }
}

/// A parsed header.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Key -> value.
    pub metadata: BTreeMap<String, Value>,
    /// GGUF name -> place.
    pub tensors: BTreeMap<String, Tensor>,
    /// Where tensor data begins.
    pub data_start: u64,
}

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// Types of metadata values, by GGUF's numbers.
const STRING: u32 = 8;
const ARRAY: u32 = 9;
/// Characters of a text that are shown.
const SHOWN: usize = 60;

/// Parses the header in `prefix`, the first bytes of a file of `file_len` bytes called `file` in errors.
///
/// # Errors
/// See [`ModelError`].
pub fn parse(file: &str, prefix: &[u8], file_len: u64) -> Result<Progress<Header>, ModelError> {
    match header(&mut Cursor::new(file, prefix, file_len), file_len) {
        Ok(header) => Ok(Progress::Done(header)),
        Err(Stop::Bad(error)) => Err(error),
        // Doubling keeps the number of parses logarithmic in the header's size.
        Err(Stop::More(end)) => {
            Ok(Progress::NeedMore(end.max(prefix.len() as u64 * 2).min(file_len).min(MAX_HEADER)))
        }
    }
}

fn header(cursor: &mut Cursor<'_>, file_len: u64) -> Read<Header> {
    let file = cursor.file;
    let magic: [u8; 4] = cursor.array("magic")?;
    if magic != MAGIC {
        let got = magic.map(|byte| format!("{byte:02x}")).join(" ");
        return Err(ModelError::header(file, "magic", format!("the bytes {got}"), "GGUF").into());
    }
    let version = cursor.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(ModelError::unsupported(file, "GGUF version", version, "2, 3").into());
    }
    let tensor_count = cursor.u64("tensor count")?;
    let value_count = cursor.u64("metadata count")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..value_count {
        let key = cursor.string("metadata key")?;
        let kind = cursor.u32(&key)?;
        let value = value(cursor, &key, kind)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(ModelError::header(file, format!("metadata {key}"), "the key twice", "each key once").into());
        }
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let (name, tensor) = tensor(cursor)?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(ModelError::header(file, format!("tensor {name}"), "the name twice", "each name once").into());
        }
    }
    let alignment = alignment(file, &metadata)?;
    let data_start = cursor.position().next_multiple_of(alignment);
    place(file, &mut tensors, data_start, alignment, file_len)?;
    Ok(Header { metadata, tensors, data_start })
}

fn alignment(file: &str, metadata: &BTreeMap<String, Value>) -> Result<u64, ModelError> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && (8..=1 << 20).contains(n) => Ok(*n),
        Some(other) => {
            Err(ModelError::header(file, "general.alignment", other.words(), "a power of two from 8 to 1048576"))
        }
    }
}

fn tensor(cursor: &mut Cursor<'_>) -> Read<(String, Tensor)> {
    let name = cursor.string("tensor name")?;
    let dimensions = cursor.u32(&name)?;
    if dimensions > 4 {
        let what = format!("tensor {name}");
        return Err(ModelError::header(cursor.file, what, format!("{dimensions} dimensions"), "at most 4").into());
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(cursor.u64(&name)?);
    }
    shape.reverse();
    let ggml_type = cursor.u32(&name)?;
    let offset = cursor.u64(&name)?;
    Ok((name, Tensor { ggml_type, shape, offset, len: 0 }))
}

fn value(cursor: &mut Cursor<'_>, key: &str, kind: u32) -> Read<Value> {
    Ok(match kind {
        0 => Value::Unsigned(u64::from(cursor.array::<1>(key)?[0])),
        1 => Value::Signed(i64::from(i8::from_le_bytes(cursor.array(key)?))),
        2 => Value::Unsigned(u64::from(u16::from_le_bytes(cursor.array(key)?))),
        3 => Value::Signed(i64::from(i16::from_le_bytes(cursor.array(key)?))),
        4 => Value::Unsigned(u64::from(cursor.u32(key)?)),
        5 => Value::Signed(i64::from(i32::from_le_bytes(cursor.array(key)?))),
        6 => Value::Float(f64::from(f32::from_le_bytes(cursor.array(key)?))),
        7 => Value::Bool(cursor.array::<1>(key)?[0] != 0),
        STRING => Value::Text(cursor.string(key)?),
        ARRAY => array(cursor, key)?,
        10 => Value::Unsigned(cursor.u64(key)?),
        11 => Value::Signed(i64::from_le_bytes(cursor.array(key)?)),
        12 => Value::Float(f64::from_le_bytes(cursor.array(key)?)),
        other => return Err(bad_type(cursor.file, key, other).into()),
    })
}

fn bad_type(file: &str, key: &str, kind: u32) -> ModelError {
    ModelError::header(
        file,
        format!("metadata {key}"),
        format!("value type {kind}"),
        "a GGUF value type, no nested array",
    )
}

fn array(cursor: &mut Cursor<'_>, key: &str) -> Read<Value> {
    let kind = cursor.u32(key)?;
    let count = cursor.u64(key)?;
    if kind == STRING {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(cursor.string(key)?);
        }
        return Ok(Value::Texts(texts));
    }
    let width = width(kind).ok_or_else(|| bad_type(cursor.file, key, kind))?;
    let bytes = cursor.take(count.saturating_mul(width), key)?;
    Ok(Value::Numbers(kind, bytes.to_vec()))
}

/// Bytes of a number of this type.
fn width(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

/// Turns offsets relative to the data section into places in the file, and checks them.
fn place(
    file: &str,
    tensors: &mut BTreeMap<String, Tensor>,
    data_start: u64,
    alignment: u64,
    file_len: u64,
) -> Result<(), ModelError> {
    let mut ranges = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors.iter_mut() {
        if !tensor.offset.is_multiple_of(alignment) {
            let got = format!("offset {}", tensor.offset);
            return Err(ModelError::header(
                file,
                format!("tensor {name}"),
                got,
                format!("a multiple of {alignment}"),
            ));
        }
        let size = ggml_bytes(tensor.ggml_type, &tensor.shape);
        if size == Some(None) {
            let got = format!("shape {} in {}", shape_words(&tensor.shape), ggml_name(tensor.ggml_type));
            let want = "whole blocks and a size below 2^64";
            return Err(ModelError::header(file, format!("tensor {name}"), got, want));
        }
        tensor.len = size.flatten().unwrap_or(0);
        // What is of no known size has one byte at least.
        let held = size.flatten().unwrap_or(1);
        let end = data_start.checked_add(tensor.offset).and_then(|start| start.checked_add(held));
        match end {
            Some(end) if end <= file_len => {}
            end => {
                return Err(ModelError::truncated(file, format!("tensor {name}"), end.unwrap_or(u64::MAX), file_len));
            }
        }
        tensor.offset += data_start;
        ranges.push((tensor.offset, tensor.offset + held, name.as_str()));
    }
    no_overlaps(file, ranges)
}

fn no_overlaps(file: &str, mut ranges: Vec<(u64, u64, &str)>) -> Result<(), ModelError> {
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if pair[0].1 > pair[1].0 {
            let what = format!("tensor {}", pair[1].2);
            return Err(ModelError::header(
                file,
                what,
                format!("a range that overlaps tensor {}", pair[0].2),
                "its own bytes",
            ));
        }
    }
    Ok(())
}
