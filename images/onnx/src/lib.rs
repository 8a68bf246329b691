//! The reference trainer: LoRA on stock ONNX Runtime.
//!
//! Owns: reading a base model and its tokenizer, making forward and backward graphs for it, training an adapter on
//! the user's data, and generating with it. Refuses: models it would compute wrongly, data that is not what the job
//! says, and to write anything but under its output directory. The library prints nothing; `main` does.

pub mod adapter;
pub mod batch;
pub mod checkpoint;
pub mod data;
pub mod dequant;
pub mod engine;
pub mod error;
pub mod generate;
pub mod golden;
pub mod graph;
pub mod head;
pub mod layers;
mod map;
pub mod optimizer;
pub mod order;
pub mod rng;
pub mod rope;
pub mod runtime;
pub mod settings;
pub mod tensors;
pub mod text;
pub mod train;
pub mod usage;
pub mod weights;

pub use error::{Result, TrainError};
