//! The frozen base model: its files mapped, its tensors read where they lie.
//!
//! A tensor that is 32-bit floats in Hugging Face's row order is used in place. Any other is expanded to 32-bit
//! floats when it is needed, into a buffer that the next layer uses again: exact values, and the memory of one layer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hone_model::{Dtype, GgufTokenizer, Model, ModelConfig, Placed, Progress, RowOrder, gguf, safetensors};

use crate::dequant::dequantize;
use crate::error::{Result, TrainError};
use crate::map::Map;

/// Rows of a tensor to expand, and where to.
pub type Task<'a> = (String, Range<u64>, &'a mut [f32]);

/// A base model on disk.
#[derive(Debug)]
pub struct Weights {
    model: Model,
    maps: BTreeMap<String, Map>,
    threads: usize,
    source: Source,
}

/// What the model was read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// One GGUF file, and the tokenizer in it if there is one.
    Gguf {
        /// The file.
        file: PathBuf,
    },
    /// A Hugging Face directory.
    Directory(PathBuf),
}

impl Weights {
    /// Opens a GGUF file, a directory with one, or a directory with config.json and safetensors.
    ///
    /// # Errors
    /// Anything that is not a whole model of a known family.
    pub fn open(path: &Path, threads: usize) -> Result<Self> {
        let meta = fs::metadata(path).map_err(|source| TrainError::io("open model", path, source))?;
        if !meta.is_dir() {
            return Self::open_gguf(path, threads);
        }
        if path.join("config.json").is_file() {
            return Self::open_directory(path, threads);
        }
        let mut ggufs = files_ending(path, ".gguf")?;
        match (ggufs.pop(), ggufs.is_empty()) {
            (Some(file), true) => Self::open_gguf(&file, threads),
            (Some(_), false) => Err(TrainError::setting(path.display(), "several GGUF files", "one")),
            (None, _) => {
                let want = "config.json with *.safetensors, or one *.gguf";
                Err(TrainError::setting(format!("model {}", path.display()), "neither", want))
            }
        }
    }

    fn open_gguf(file: &Path, threads: usize) -> Result<Self> {
        let map = Map::open(file)?;
        let name = display_name(file);
        let model = Model::from_gguf(&name, &gguf_header(&name, &map)?)?;
        let maps = BTreeMap::from([(name, map)]);
        Ok(Self { model, maps, threads, source: Source::Gguf { file: file.to_owned() } })
    }

    fn open_directory(dir: &Path, threads: usize) -> Result<Self> {
        let config_path = dir.join("config.json");
        let bytes = read_file(&config_path)?;
        let config = ModelConfig::from_json(&display_name(&config_path), &bytes)?;
        let (mut maps, mut headers) = (BTreeMap::new(), BTreeMap::new());
        for file in shards(dir)? {
            let map = Map::open(&file)?;
            let name = display_name(&file);
            headers.insert(name.clone(), safetensors_header(&name, &map)?);
            maps.insert(name, map);
        }
        let model = Model::from_safetensors(config, &headers)?;
        Ok(Self { model, maps, threads, source: Source::Directory(dir.to_owned()) })
    }

    /// What the model computes.
    pub fn config(&self) -> &ModelConfig {
        &self.model.config
    }

    /// Where it was read from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The tokenizer inside a GGUF.
    ///
    /// # Errors
    /// The model is none, or carries no usable tokenizer.
    pub fn gguf_tokenizer(&self) -> Result<GgufTokenizer> {
        let (Source::Gguf { .. }, Some((name, map))) = (&self.source, self.maps.iter().next()) else {
            return Err(TrainError::tokenizer(
                "of the model",
                "there is no tokenizer.json, and the model is no GGUF",
            ));
        };
        Ok(GgufTokenizer::from_header(name, &gguf_header(name, map)?)?)
    }

    fn placed(&self, name: &str) -> Result<&Placed> {
        let found = self.model.tensors.get(name);
        found.ok_or_else(|| TrainError::setting(format!("tensor {name}"), "nothing", "a tensor of the model"))
    }

    fn bytes(&self, tensor: &Placed) -> Result<&[u8]> {
        let range = tensor.offset as usize..(tensor.offset + tensor.len) as usize;
        let map = self.maps.get(&tensor.file);
        map.and_then(|map| map.bytes().get(range))
            .ok_or_else(|| TrainError::setting(&tensor.file, "a file cut since it was opened", "the whole file"))
    }

    /// The tensor in place, when it is there in the form that is computed with.
    pub fn in_place(&self, name: &str) -> Result<Option<&[f32]>> {
        let tensor = self.placed(name)?;
        if tensor.dtype != Dtype::F32 || tensor.rows != RowOrder::Straight || cfg!(target_endian = "big") {
            return Ok(None);
        }
        Ok(bytemuck::try_cast_slice(self.bytes(tensor)?).ok())
    }

    /// Number of elements.
    pub fn elements(&self, name: &str) -> Result<usize> {
        Ok(self.placed(name)?.shape.iter().product::<u64>() as usize)
    }

    /// Rows of a matrix, or elements of a vector.
    pub fn rows(&self, name: &str) -> Result<u64> {
        Ok(self.placed(name)?.shape[0])
    }

    /// A small tensor (a norm, a bias), copied.
    pub fn vector(&self, name: &str) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.elements(name)?];
        self.rows_into(name, 0..self.placed(name)?.shape[0], &mut out)?;
        Ok(out)
    }

    /// Rows of a matrix (or elements of a vector), expanded into `out`.
    pub fn rows_into(&self, name: &str, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let tensor = self.placed(name)?;
        let bytes = self.bytes(tensor)?;
        let width = tensor.shape.get(1).map_or(1, |&w| w as usize);
        let stride = bytes.len() / tensor.shape[0].max(1) as usize;
        let all = tensor.shape[0];
        if tensor.rows == RowOrder::Straight {
            dequantize(tensor.dtype, &bytes[rows.start as usize * stride..rows.end as usize * stride], out);
            return Ok(());
        }
        for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
            let at = tensor.rows.source_row(row, all) as usize * stride;
            dequantize(tensor.dtype, &bytes[at..at + stride], out);
        }
        Ok(())
    }

    /// Rows of a matrix: in place, or expanded into `buffer` with all threads.
    pub fn matrix<'a>(&'a self, name: &str, rows: Range<u64>, buffer: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        let width = self.placed(name)?.shape.get(1).map_or(1, |&w| w as usize);
        if let Some(all) = self.in_place(name)? {
            return Ok(&all[rows.start as usize * width..rows.end as usize * width]);
        }
        buffer.resize((rows.end - rows.start) as usize * width, 0.0);
        self.expand(vec![(name.to_owned(), rows, buffer.as_mut_slice())])?;
        Ok(buffer)
    }

    /// Expands several tensors at once, sharing the work among the threads by elements.
    pub fn expand(&self, tasks: Vec<Task<'_>>) -> Result<()> {
        let total: usize = tasks.iter().map(|(_, _, out)| out.len()).sum();
        let mut lots: Vec<Vec<Task<'_>>> = (0..self.threads).map(|_| Vec::new()).collect();
        let share = total.div_ceil(self.threads).max(1);
        let (mut lot, mut room) = (0, share);
        for (name, mut rows, mut out) in tasks {
            let width = out.len() / ((rows.end - rows.start).max(1) as usize);
            while !out.is_empty() {
                let left = rows.end - rows.start;
                let fit = (room.div_ceil(width.max(1)) as u64).clamp(1, left);
                let (now, rest) = out.split_at_mut(fit as usize * width);
                room = room.saturating_sub(now.len());
                lots[lot].push((name.clone(), rows.start..rows.start + fit, now));
                (rows, out) = (rows.start + fit..rows.end, rest);
                if room == 0 && lot + 1 < self.threads {
                    (lot, room) = (lot + 1, share);
                }
            }
        }
        self.work(lots)
    }

    fn work(&self, mut lots: Vec<Vec<Task<'_>>>) -> Result<()> {
        let run =
            |lot: Vec<Task<'_>>| lot.into_iter().try_for_each(|(name, rows, out)| self.rows_into(&name, rows, out));
        let Some(own) = lots.pop() else { return Ok(()) };
        std::thread::scope(|scope| {
            let others: Vec<_> =
                lots.into_iter().filter(|lot| !lot.is_empty()).map(|lot| scope.spawn(|| run(lot))).collect();
            let mut result = run(own);
            for other in others {
                let outcome = other.join();
                result =
                    result.and(outcome.unwrap_or_else(|_| Err(TrainError::setting("a thread", "a panic", "rows"))));
            }
            result
        })
    }

    /// One row of the embedding.
    pub fn embedding(&self, token: u32) -> Result<Cow<'_, [f32]>> {
        let name = "model.embed_tokens.weight";
        let width = self.config().hidden as usize;
        if let Some(all) = self.in_place(name)? {
            return Ok(Cow::Borrowed(&all[token as usize * width..][..width]));
        }
        let mut out = vec![0.0; width];
        self.rows_into(name, u64::from(token)..u64::from(token) + 1, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// Name of the matrix that makes logits.
    pub fn head_name(&self) -> &'static str {
        if self.config().tied { "model.embed_tokens.weight" } else { "lm_head.weight" }
    }
}

/// How a file is called in errors.
fn display_name(path: &Path) -> String {
    path.display().to_string()
}

/// Reads a small file whole.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = hone_files::open_regular(path).map_err(|source| TrainError::io("open", path, source))?;
    let fail = |source| TrainError::io("read", path, source);
    let size = file.metadata().map_err(fail)?.len();
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(hone_model::MAX_HEADER + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > hone_model::MAX_HEADER {
        let want = format!("at most {}", hone_model::MAX_HEADER);
        return Err(TrainError::setting(path.display(), format!("{} bytes", size.max(bytes.len() as u64)), want));
    }
    Ok(bytes)
}

/// Files of a directory whose name ends so, sorted.
pub(crate) fn files_ending(dir: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).map_err(|source| TrainError::io("list", dir, source))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| TrainError::io("list", dir, source))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(end)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn shards(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join("model.safetensors.index.json");
    if index.is_file() {
        let names = hone_model::shards_of_index(&display_name(&index), &read_file(&index)?)?;
        return Ok(names.into_iter().map(|name| dir.join(name)).collect());
    }
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let files = files_ending(dir, ".safetensors")?;
    if files.is_empty() {
        return Err(TrainError::setting(format!("model {}", dir.display()), "no *.safetensors", "the weights"));
    }
    Ok(files)
}

fn gguf_header(name: &str, map: &Map) -> Result<gguf::Header> {
    match gguf::parse(name, map.bytes(), map.bytes().len() as u64)? {
        Progress::Done(header) => Ok(header),
        Progress::NeedMore(n) => Err(TrainError::setting(name, "a header beyond the file", format!("{n} bytes"))),
    }
}

/// The header of a mapped safetensors file.
pub(crate) fn safetensors_header(name: &str, map: &Map) -> Result<safetensors::Header> {
    match safetensors::parse(name, map.bytes(), map.bytes().len() as u64)? {
        Progress::Done(header) => Ok(header),
        Progress::NeedMore(n) => Err(TrainError::setting(name, "a header beyond the file", format!("{n} bytes"))),
    }
}
