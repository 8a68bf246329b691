//! Writes safetensors files, durably.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map as Object, json};

use crate::error::{Result, TrainError};

/// A tensor to write as 32-bit floats.
#[derive(Debug, Clone, Copy)]
pub struct TensorFile<'a> {
    /// Name.
    pub name: &'a str,
    /// Shape.
    pub shape: &'a [usize],
    /// Values, as many as the shape says.
    pub values: &'a [f32],
}

/// Writes a safetensors file and makes it durable. The data begins at a multiple of 8 bytes, as the format asks.
///
/// # Errors
/// A failure of the file, a full disk among them.
pub fn write(path: &Path, metadata: &BTreeMap<String, String>, tensors: &[TensorFile<'_>]) -> Result<()> {
    let mut header = Object::new();
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut at = 0;
    for tensor in tensors {
        let end = at + tensor.values.len() * 4;
        let row = json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, end]});
        header.insert(tensor.name.to_owned(), row);
        at = end;
    }
    let mut text = serde_json::to_vec(&header).unwrap_or_default();
    text.resize(text.len().next_multiple_of(8), b' ');
    let fail = |source| TrainError::io("write", path, source);
    let mut out = BufWriter::new(File::create(path).map_err(fail)?);
    out.write_all(&(text.len() as u64).to_le_bytes()).map_err(fail)?;
    out.write_all(&text).map_err(fail)?;
    for tensor in tensors {
        for chunk in tensor.values.chunks(1 << 14) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
            out.write_all(&bytes).map_err(fail)?;
        }
    }
    let file = out.into_inner().map_err(|e| fail(e.into_error()))?;
    file.sync_all().map_err(fail)
}

/// Writes a small file and makes it durable.
///
/// # Errors
/// A failure of the file.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |source| TrainError::io("write", path, source);
    let mut file = File::create(path).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// Renames, and makes the rename durable. `to` must not be a directory that has entries.
///
/// # Errors
/// A failure of the file system.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|source| TrainError::io("rename to", to, source))?;
    let dir = to.parent().unwrap_or(Path::new("/"));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| TrainError::io("make durable", dir, source))
}
