//! Headers of weight files (GGUF, safetensors), the files an ONNX model names, and model configurations, as values.
//!
//! Owns: what a model of a known family is (its configuration, its tensors, their places in the files), and what
//! an adapter for it looks like. Refuses: headers that lie (ranges outside the file, overlaps, sizes that do not
//! fit the shape), element types and architectures the trainer cannot compute, and pickle in any form, since no
//! reader for it exists here. The crate opens no file: callers hand in bytes, a growing prefix of the file until
//! the parser has seen the whole header:
//!
//! ```
//! use hone_model::{Progress, safetensors};
//! let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend_from_slice(header);
//! file.extend_from_slice(&[0; 4]);
//! let mut want = 8;
//! let header = loop {
//!     match safetensors::parse("model.safetensors", &file[..want as usize], file.len() as u64)? {
//!         Progress::Done(header) => break header,
//!         Progress::NeedMore(n) => want = n,
//!     }
//! };
//! assert_eq!(header.tensors["w"].shape, [1]);
//! # Ok::<(), hone_model::ModelError>(())
//! ```

pub mod adapter;
pub mod config;
mod cursor;
pub mod dtype;
mod error;
mod expect;
pub mod gguf;
mod gguf_config;
mod gguf_tokenizer;
mod model;
pub mod onnx;
pub mod peft;
pub mod safetensors;

pub use adapter::{TARGETS, adapter_tensors};
pub use config::{Family, ModelConfig};
pub use dtype::Dtype;
pub use error::{ModelError, bounded};
pub use gguf_tokenizer::{GgufTokenizer, PRE_TOKENIZERS};
pub use model::{Model, Placed, RowOrder, shards_of_index};
pub use peft::LoraConfig;

/// How far a parser came with the bytes it was given.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress<T> {
    /// The whole header was in the prefix.
    Done(T),
    /// Call again with a prefix of at least this many bytes; never more than the file has, nor than
    /// [`MAX_HEADER`].
    NeedMore(u64),
}

/// A header larger than this is refused (bytes). The largest seen in practice are GGUF vocabularies, below 16 MiB.
pub const MAX_HEADER: u64 = 64 << 20;
/// A config.json or index larger than this is refused (bytes).
pub const MAX_JSON: usize = 16 << 20;
/// A first read of this many bytes is enough for most headers.
pub const FIRST_READ: u64 = 1 << 20;
