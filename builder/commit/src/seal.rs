//! An adapter -> a layer. The tensor file is checked, then written again from its tensors, sorted and without gaps:
//! what is committed is made here, of numbers that were looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use hone_contract::chain;
use hone_contract::job::{ADAPTER_DIR, Job};
use hone_image::tar::{Entry, TarWriter};
use hone_image::{Layer, LayerKind};
use hone_model::safetensors::{self, Header, Tensor};
use hone_model::{LoraConfig, ModelError, Progress, adapter};
use hone_store::Ingest;
use hone_store::staging::Staged;
use serde::Serialize;

use crate::capture::{CONFIG, TENSORS, capture, copy};
use crate::error::{Pending, StepError};
use crate::lora;

/// How much of a tensor is in memory at a time (bytes); whole elements of every type.
const CHUNK: usize = 1 << 20;
/// Data of a safetensors file begins at a multiple of this (safetensors, format).
const ALIGN: usize = 8;

/// Captures, checks and stores the adapter of a run.
///
/// # Errors
/// When what the trainer left is no adapter of the job, or the disk refuses.
pub fn seal(ingest: &Ingest<'_>, staged: &Staged, job: &Job) -> Result<Layer, StepError> {
    let captured = capture(&staged.path, job.adapter.max_bytes)?;
    let (config, lora) = lora::check(&captured.config, job)?;
    // A header that is right says how long the file is: what is copied is no more than what was asked for.
    check_shapes(&header(&captured.tensors, captured.size)?, job, &lora)?;
    let tensors = copy(ingest, &captured)?;
    // Of the copy again, since the trainer's file may have changed: this is what is believed.
    let header = header(&tensors, captured.size)?;
    check_shapes(&header, job, &lora)?;
    for (name, tensor) in &header.tensors {
        check_finite(&tensors, name, tensor)?;
    }
    write(ingest, &config, &tensors, &header)
}

fn header(mut tensors: &File, size: u64) -> Result<Header, StepError> {
    let (mut prefix, mut want) = (Vec::new(), size.min(hone_model::FIRST_READ));
    loop {
        let more = want.saturating_sub(prefix.len() as u64);
        let got = tensors.by_ref().take(more).read_to_end(&mut prefix).map_err(reading)?;
        if (got as u64) < more {
            return Err(StepError::Refused(format!("{TENSORS}: it became shorter while it was read")));
        }
        match safetensors::parse(TENSORS, &prefix, size).map_err(refused)? {
            Progress::Done(header) => return Ok(header),
            Progress::NeedMore(bytes) if bytes > want && bytes <= size => want = bytes,
            Progress::NeedMore(_) => return Err(StepError::Refused(format!("{TENSORS}: its header does not end"))),
        }
    }
}

fn check_shapes(header: &Header, job: &Job, lora: &LoraConfig) -> Result<(), StepError> {
    let checked = match &job.adapter.tensors {
        Some(want) => adapter::check_names(TENSORS, header, want),
        None => adapter::check_pairs(TENSORS, header, lora.rank, &lora.targets),
    };
    checked.map_err(refused)
}

fn check_finite(file: &File, name: &str, tensor: &Tensor) -> Result<(), StepError> {
    let mut buffer = vec![0; CHUNK.min(tensor.len as usize)];
    let element = tensor.dtype.block().1;
    let mut done = 0;
    while done < tensor.len {
        let part = buffer.len().min((tensor.len - done) as usize);
        file.read_exact_at(&mut buffer[..part], tensor.offset + done).map_err(reading)?;
        match adapter::check_tensor_finite(TENSORS, name, tensor.dtype, &buffer[..part]) {
            Err(ModelError::NotFinite { file, tensor, index, value }) => {
                let index = index + done / element;
                return Err(refused(ModelError::NotFinite { file, tensor, index, value }));
            }
            result => result.map_err(refused)?,
        }
        done += part as u64;
    }
    Ok(())
}

fn write(ingest: &Ingest<'_>, config: &[u8], tensors: &File, header: &Header) -> Result<Layer, StepError> {
    let dir = ADAPTER_DIR.trim_start_matches('/');
    let head = new_header(&header.tensors)?;
    let size = head.len() as u64 + header.tensors.values().map(|t| t.len).sum::<u64>();
    let data = Ranges { file: tensors, left: header.tensors.values().map(|t| (t.offset, t.len)).rev().collect() };
    let mut tar = TarWriter::new(ingest.blob()?);
    let pack = || -> Result<(), hone_image::tar::TarError> {
        tar.add("hone", Entry::Dir)?;
        tar.add(dir, Entry::Dir)?;
        tar.file(&format!("{dir}/{CONFIG}"), false, config.len() as u64, &mut &config[..])?;
        tar.file(&format!("{dir}/{TENSORS}"), false, size, &mut head.as_slice().chain(data))
    };
    pack().map_err(hone_store::StoreError::from)?;
    let blob = tar.finish().map_err(ingest.store().tmp_error())?;
    let (digest, size) = blob.finish()?;
    Ok(Layer::tar(LayerKind::Adapter, digest, size))
}

/// One entry of a header. Its keys, and the entries' order, are fixed here: they are part of the layer's digest.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Metadata { format: &'static str },
    Tensor { dtype: String, shape: &'a [u64], data_offsets: [u64; 2] },
}

/// The header for the same tensors one after another, by name.
fn new_header(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, StepError> {
    let mut rows = BTreeMap::from([("__metadata__", Row::Metadata { format: "pt" })]);
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + tensor.len;
        let dtype = tensor.dtype.to_string();
        rows.insert(name, Row::Tensor { dtype, shape: &tensor.shape, data_offsets: [offset, end] });
        offset = end;
    }
    let mut json = serde_json::to_vec(&rows).map_err(|e| StepError::Refused(format!("{TENSORS}: {e}")))?;
    while !json.len().is_multiple_of(ALIGN) {
        json.push(b' ');
    }
    let mut head = (json.len() as u64).to_le_bytes().to_vec();
    head.extend_from_slice(&json);
    Ok(head)
}

/// Reads ranges of a file one after another; the next is at the end of `left`.
struct Ranges<'a> {
    file: &'a File,
    left: Vec<(u64, u64)>,
}

impl Read for Ranges<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some((offset, len)) = self.left.last_mut() {
            if *len == 0 {
                self.left.pop();
                continue;
            }
            let part = buffer.len().min(usize::try_from(*len).unwrap_or(usize::MAX));
            let n = self.file.read_at(&mut buffer[..part], *offset)?;
            if n == 0 && part > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *offset += n as u64;
            *len -= n as u64;
            return Ok(n);
        }
        Ok(0)
    }
}

fn refused(error: ModelError) -> StepError {
    StepError::Refused(chain(&error))
}

fn reading(error: io::Error) -> StepError {
    Pending::io("read", TENSORS)(error).into()
}
