//! `solver/pb/ops.proto`, package `pb`: LLB, BuildKit's graph of steps.

use std::collections::BTreeMap;

/// No input, no second input, or an output that nobody wants.
pub const NONE: i64 = -1;

/// One step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Op {
    /// What it needs.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<Input>,
    /// What it does; absent in the last one of a graph, which names the result.
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    pub kind: Option<Kind>,
    /// For which platform.
    #[prost(message, optional, tag = "10")]
    pub platform: Option<Platform>,
}

/// What a step does.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// Runs a program.
    #[prost(message, tag = "2")]
    Exec(ExecOp),
    /// Fetches something.
    #[prost(message, tag = "3")]
    Source(SourceOp),
    /// Writes files.
    #[prost(message, tag = "4")]
    File(FileOp),
}

/// An output of another step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Input {
    /// Digest of the other step's bytes.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Which of its outputs.
    #[prost(int64, tag = "2")]
    pub index: i64,
}

/// image-spec's platform.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Platform {
    /// GOARCH.
    #[prost(string, tag = "1")]
    pub architecture: String,
    /// GOOS.
    #[prost(string, tag = "2")]
    pub os: String,
    /// GOARCH variant.
    #[prost(string, tag = "3")]
    pub variant: String,
}

/// Fetches something.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SourceOp {
    /// `local://`, `docker-image://`, `https://`.
    #[prost(string, tag = "1")]
    pub identifier: String,
    /// See moby/buildkit's `solver/pb/attr.go`.
    #[prost(btree_map = "string, string", tag = "2")]
    pub attrs: BTreeMap<String, String>,
}

/// Runs a program.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecOp {
    /// The program.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// Its filesystem.
    #[prost(message, repeated, tag = "2")]
    pub mounts: Vec<Mount>,
    /// 2: no network.
    #[prost(int32, tag = "3")]
    pub network: i32,
}

/// A program.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Meta {
    /// Its command line.
    #[prost(string, repeated, tag = "1")]
    pub args: Vec<String>,
    /// Its directory.
    #[prost(string, tag = "3")]
    pub cwd: String,
}

/// A filesystem in a program's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    /// Which input; [`NONE`]: empty at first.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// What of the input; empty: all of it.
    #[prost(string, tag = "2")]
    pub selector: String,
    /// Where.
    #[prost(string, tag = "3")]
    pub dest: String,
    /// Which output it becomes; [`NONE`]: none.
    #[prost(int64, tag = "4")]
    pub output: i64,
    /// Whether it is read-only.
    #[prost(bool, tag = "5")]
    pub readonly: bool,
}

/// Writes files.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileOp {
    /// In this order.
    #[prost(message, repeated, tag = "2")]
    pub actions: Vec<FileAction>,
}

/// Writes a file. An index counts the inputs of the step, then its actions.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileAction {
    /// On what.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// From what.
    #[prost(int64, tag = "2")]
    pub secondary_input: i64,
    /// Which output of the step it is.
    #[prost(int64, tag = "3")]
    pub output: i64,
    /// What.
    #[prost(oneof = "FileActionKind", tags = "5")]
    pub action: Option<FileActionKind>,
}

/// What a file action does.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum FileActionKind {
    /// Writes a file.
    #[prost(message, tag = "5")]
    MkFile(FileActionMkFile),
}

/// Writes a file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileActionMkFile {
    /// Where.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Its permissions.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
    /// Nanoseconds after the start of 1970: 0 is that moment, not "unset".
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// A graph.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Definition {
    /// [`Op`]s, each after those it needs; the last one names the result.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub def: Vec<Vec<u8>>,
    /// By the digest of the step's bytes.
    #[prost(btree_map = "string, message", tag = "2")]
    pub metadata: BTreeMap<String, OpMetadata>,
}

/// What of a step does not change its result.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OpMetadata {
    /// Do it again.
    #[prost(bool, tag = "1")]
    pub ignore_cache: bool,
    /// `llb.customname`: what the progress shows.
    #[prost(btree_map = "string, string", tag = "2")]
    pub description: BTreeMap<String, String>,
}
