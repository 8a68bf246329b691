//! safetensors headers.
//!
//! Refuses: a header length beyond the file, duplicate names, ranges that overlap, leave gaps or leave the file,
//! sizes that do not follow from shape and type, types that the format does not have. So a file that passes holds the
//! named tensors and nothing else, as the format's own reader demands. Only when all that is right are element types
//! refused that are not computed here, which is everything but F32, F16 and BF16: [`ModelError::Unsupported`] is said of
//! an honest file alone.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::dtype::{Dtype, safetensors_bytes};
use crate::error::shape_words;
use crate::{MAX_JSON, ModelError, Progress};

/// One tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    /// Position in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A parsed and checked header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name -> place.
    pub tensors: BTreeMap<String, Tensor>,
    /// The free-form strings of `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// Where tensor data begins.
    pub data_start: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header as written, in order, so that duplicates show.
#[derive(Default)]
struct Raw {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        raw.metadata = map.next_value()?;
                    } else {
                        raw.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Rows)
    }
}

/// Parses the header in `prefix`, the first bytes of a file of `file_len` bytes called `file` in errors.
///
/// # Errors
/// See [`ModelError`].
pub fn parse(file: &str, prefix: &[u8], file_len: u64) -> Result<Progress<Header>, ModelError> {
    if file_len < 8 {
        return Err(ModelError::truncated(file, "the header's length", 8, file_len));
    }
    let Some(length) = prefix.first_chunk::<8>() else {
        return Ok(Progress::NeedMore(8));
    };
    let data_start = u64::from_le_bytes(*length).saturating_add(8);
    if data_start > file_len {
        return Err(ModelError::truncated(file, "the header", data_start, file_len));
    }
    if data_start > MAX_JSON as u64 {
        return Err(ModelError::header(file, "header", format!("{data_start} bytes"), format!("at most {MAX_JSON}")));
    }
    let Some(json) = prefix.get(8..data_start as usize) else {
        return Ok(Progress::NeedMore(data_start));
    };
    let raw: Raw = serde_json::from_slice(json).map_err(|source| ModelError::json(file, source))?;
    checked(file, raw, data_start, file_len).map(Progress::Done)
}

fn checked(file: &str, raw: Raw, data_start: u64, file_len: u64) -> Result<Header, ModelError> {
    let mut places = BTreeMap::new();
    for (name, row) in &raw.tensors {
        let place = place(file, name, row, data_start, file_len)?;
        if places.insert(name.as_str(), place).is_some() {
            return Err(ModelError::header(file, format!("tensor {name}"), "the name twice", "each name once"));
        }
    }
    without_gaps(file, &places, data_start, file_len)?;
    let mut tensors = BTreeMap::new();
    for (name, row) in &raw.tensors {
        let Some(dtype) = Dtype::from_safetensors(&row.dtype) else {
            let what = format!("tensor {name}: type");
            return Err(ModelError::unsupported(file, what, &row.dtype, Dtype::SAFETENSORS));
        };
        let (offset, len) = places.get(name.as_str()).copied().unwrap_or_default();
        tensors.insert(name.clone(), Tensor { dtype, shape: row.shape.clone(), offset, len });
    }
    Ok(Header { tensors, metadata: raw.metadata, data_start })
}

/// Where a tensor begins in the file, and its bytes, whatever its type.
fn place(file: &str, name: &str, row: &RawTensor, data_start: u64, file_len: u64) -> Result<(u64, u64), ModelError> {
    let what = format!("tensor {name}");
    let (begin, end) = row.data_offsets;
    let Some(len) = end.checked_sub(begin) else {
        return Err(ModelError::header(file, what, format!("offsets {begin} to {end}"), "offsets in order"));
    };
    let Some(size) = safetensors_bytes(&row.dtype, &row.shape) else {
        let want = "a type that safetensors has, e.g. F32, BF16, F8_E4M3";
        return Err(ModelError::header(file, format!("{what}: type"), &row.dtype, want));
    };
    if size != Some(len) {
        let want = size.map_or("a size of whole bytes below 2^64".to_owned(), |n| format!("{n} bytes"));
        let want = format!("{want} for {} {}", row.dtype, shape_words(&row.shape));
        return Err(ModelError::header(file, what, format!("{len} bytes"), want));
    }
    match data_start.checked_add(end) {
        Some(end) if end <= file_len => Ok((data_start + begin, len)),
        end => Err(ModelError::truncated(file, what, end.unwrap_or(u64::MAX), file_len)),
    }
}

/// Every byte after the header belongs to exactly one tensor.
fn without_gaps(
    file: &str,
    places: &BTreeMap<&str, (u64, u64)>,
    data_start: u64,
    file_len: u64,
) -> Result<(), ModelError> {
    let mut rows: Vec<_> = places.iter().map(|(name, (offset, len))| (*offset, *len, name)).collect();
    rows.sort_unstable();
    let mut at = data_start;
    for (offset, len, name) in rows {
        if offset != at {
            let problem = if offset < at { "an overlap" } else { "a gap" };
            let got = format!("{problem}: begins at byte {offset}");
            return Err(ModelError::header(file, format!("tensor {name}"), got, format!("byte {at}")));
        }
        at += len;
    }
    if at == file_len {
        return Ok(());
    }
    Err(ModelError::header(
        file,
        "end of the last tensor",
        format!("byte {at}"),
        format!("the file's end, byte {file_len}"),
    ))
}
