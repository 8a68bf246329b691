//! BuildKit's messages, written by hand: the fields that this frontend sends or reads, under their numbers.
//!
//! No protoc is needed to build. What is left out is left out on purpose: an unknown field is skipped when read, and
//! an absent one is BuildKit's default. The numbers are those of moby/buildkit's `gateway.proto` and `ops.proto`; they
//! never change there, only new ones come.

pub mod gateway;
pub mod ops;
