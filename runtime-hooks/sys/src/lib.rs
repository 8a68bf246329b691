//! The only crate with unsafe: kernel calls that rustix does not wrap
