//! The base model on disk.
