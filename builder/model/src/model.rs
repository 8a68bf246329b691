//! A model: its configuration and where its tensors lie, checked against each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::config::ModelConfig;
use crate::dtype::Dtype;
use crate::{MAX_JSON, ModelError, expect, gguf, gguf_config, safetensors};

/// How the rows of a projection lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As Hugging Face has them.
    Straight,
    /// llama.cpp's order for q and k: in each head, row j of the first half and row j of the second alternate.
    Interleaved {
        /// Heads in the tensor.
        heads: u64,
    },
}

impl RowOrder {
    /// Where row `row` (Hugging Face order) of `rows` lies in the file.
    pub fn source_row(self, row: u64, rows: u64) -> u64 {
        match self {
            Self::Straight => row,
            Self::Interleaved { heads } => {
                let head = rows / heads;
                let (first, within) = (row / head * head, row % head);
                let half = head / 2;
                first + (within % half) * 2 + within / half
            }
        }
    }
}

/// A tensor in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Name of the file it is in.
    pub file: String,
    /// Element type.
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    /// Position in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Row order.
    pub rows: RowOrder,
}

/// A model all of whose tensors are there, in types that can be computed, with the right shapes, within their files.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What it computes.
    pub config: ModelConfig,
    /// Hugging Face name -> place; exactly the tensors the family needs.
    pub tensors: BTreeMap<String, Placed>,
}

impl Model {
    /// From the header of a GGUF file.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn from_gguf(file: &str, header: &gguf::Header) -> Result<Self, ModelError> {
        let config = gguf_config::config(file, header)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in &header.tensors {
            let Some((canonical, rows)) = gguf_config::canonical(&config, name) else {
                continue;
            };
            let placed = Placed {
                file: file.to_owned(),
                dtype: tensor.dtype(file, name)?,
                shape: tensor.shape.clone(),
                offset: tensor.offset,
                len: tensor.len,
                rows,
            };
            tensors.insert(canonical, placed);
        }
        Self { config, tensors }.checked(file)
    }

    /// From a configuration and the headers of all safetensors files, by name.
    ///
    /// # Errors
    /// See [`ModelError`]; a tensor in two files is refused.
    pub fn from_safetensors(
        config: ModelConfig,
        files: &BTreeMap<String, safetensors::Header>,
    ) -> Result<Self, ModelError> {
        let mut tensors: BTreeMap<String, Placed> = BTreeMap::new();
        for (file, header) in files {
            for (name, tensor) in &header.tensors {
                let placed = Placed {
                    file: file.clone(),
                    dtype: tensor.dtype,
                    shape: tensor.shape.clone(),
                    offset: tensor.offset,
                    len: tensor.len,
                    rows: RowOrder::Straight,
                };
                if let Some(other) = tensors.insert(name.clone(), placed) {
                    let want = format!("in one file; it is in {} too", other.file);
                    return Err(ModelError::header(file, format!("tensor {name}"), "a second one", want));
                }
            }
        }
        let first = files.keys().next().map_or("model.safetensors", String::as_str);
        Self { config, tensors }.checked(first)
    }

    /// Keeps what the family needs, and checks that it is there. Tensors that no family member reads (rotary
    /// frequencies of old checkpoints, a tied head written out) are ignored.
    fn checked(mut self, first_file: &str) -> Result<Self, ModelError> {
        let mut wanted = BTreeSet::new();
        for (name, shape) in expect::outer(&self.config) {
            self.check_one(first_file, &name, &shape)?;
            wanted.insert(name);
        }
        // One layer at a time: a configuration that claims a million layers fails at the first that is absent.
        for i in 0..self.config.layers {
            for (name, shape) in expect::layer(&self.config, i) {
                self.check_one(first_file, &name, &shape)?;
                wanted.insert(name);
            }
        }
        let beyond = format!("model.layers.{}.", self.config.layers);
        if let Some(name) = self.tensors.keys().find(|name| name.starts_with(&beyond)) {
            let want = format!("{} layers, as the configuration says", self.config.layers);
            return Err(ModelError::header(first_file, "layers", format!("tensor {name}"), want));
        }
        self.refuse_unread_biases(first_file)?;
        self.tensors.retain(|name, _| wanted.contains(name));
        Ok(self)
    }

    fn refuse_unread_biases(&self, file: &str) -> Result<(), ModelError> {
        let read = |name: &str| {
            self.config.qkv_bias
                && ["q_proj.bias", "k_proj.bias", "v_proj.bias"].iter().any(|end| name.ends_with(end))
        };
        match self.tensors.keys().find(|name| name.ends_with(".bias") && !read(name)) {
            Some(name) => Err(ModelError::unsupported(file, "bias", name, "biases on q, k and v of qwen2 only")),
            None => Ok(()),
        }
    }

    fn check_one(&self, first_file: &str, name: &str, want: &[u64]) -> Result<(), ModelError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(ModelError::Missing {
                file: first_file.to_owned(),
                tensor: name.to_owned(),
                family: self.config.family.name(),
                want: want.to_vec(),
            });
        };
        if tensor.shape != want {
            return Err(ModelError::Shape {
                file: tensor.file.clone(),
                tensor: name.to_owned(),
                got: tensor.shape.clone(),
                want: want.to_vec(),
            });
        }
        Ok(())
    }
}

/// The shard names in a `model.safetensors.index.json`, sorted, each once.
///
/// # Errors
/// Not such a file, or a name that is not a plain file name.
pub fn shards_of_index(file: &str, bytes: &[u8]) -> Result<Vec<String>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    if bytes.len() > MAX_JSON {
        return Err(ModelError::header(file, "size", bytes.len(), format!("at most {MAX_JSON} bytes")));
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|source| ModelError::json(file, source))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    for name in &names {
        if name.contains(['/', '\\', '\0']) || !name.ends_with(".safetensors") {
            return Err(ModelError::header(
                file,
                "weight_map",
                format!("`{name}`"),
                "names of .safetensors files beside it",
            ));
        }
    }
    Ok(names.into_iter().collect())
}
