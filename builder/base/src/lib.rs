//! The base model on disk: which files it has, what is understood of them, and whether the trainer can work with it.
//!
//! Shared by `hone build` and the BuildKit frontend, so that both refuse the same models and write the same job.
//! It reads files and nothing else: what is downloaded, packed or printed is its callers' affair. A file may lie inside
//! another one ([`SourceFile::offset`]): that is how a blob that holds a tar is a source without being unpacked.

mod content;
mod error;
mod facts;
mod files;
mod headers;
mod model;
mod opcodes;
mod pickle;
mod provenance;
mod read;
mod split;
mod tokenizer;

pub use error::BaseError;
pub use facts::facts_of;
pub use files::{Links, SourceFile, Sources};
pub use model::{BaseModel, is_weight, parents, understand};
pub use pickle::refuse_pickled;
pub use provenance::Provenance;
pub use tokenizer::{FILE as TOKENIZER_FILE, tokens_of};
