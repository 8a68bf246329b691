//! `frontend/gateway/pb/gateway.proto`, package `moby.buildkit.v1.frontend`, and `google/rpc/status.proto`.

use std::collections::BTreeMap;

use super::ops;

/// Asks for an image's configuration.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResolveImageConfigRequest {
    /// The image, with registry and tag.
    #[prost(string, tag = "1")]
    pub reference: String,
    /// For which platform.
    #[prost(message, optional, tag = "2")]
    pub platform: Option<ops::Platform>,
    /// `default`, `pull` or `local`.
    #[prost(string, tag = "3")]
    pub resolve_mode: String,
    /// What the progress shows.
    #[prost(string, tag = "4")]
    pub log_name: String,
}

/// An image's configuration.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResolveImageConfigResponse {
    /// Of the manifest or index.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// JSON.
    #[prost(bytes = "vec", tag = "2")]
    pub config: Vec<u8>,
}

/// Asks for a graph to be solved.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SolveRequest {
    /// The graph.
    #[prost(message, optional, tag = "1")]
    pub definition: Option<ops::Definition>,
    /// The answer may be a [`BuildResult`].
    #[prost(bool, tag = "5")]
    pub allow_result_return: bool,
    /// The result may be a [`Reference`].
    #[prost(bool, tag = "6")]
    pub allow_result_array_ref: bool,
    /// Solve it now, and answer with the failure.
    #[prost(bool, tag = "14")]
    pub evaluate: bool,
}

/// A solved graph.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SolveResponse {
    /// What came out.
    #[prost(message, optional, tag = "3")]
    pub result: Option<BuildResult>,
}

/// What comes out of a graph, or of a build.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BuildResult {
    /// One filesystem, or one a platform.
    #[prost(oneof = "Filesystems", tags = "3, 4")]
    pub result: Option<Filesystems>,
    /// `containerimage.config` and friends.
    #[prost(btree_map = "string, bytes", tag = "10")]
    pub metadata: BTreeMap<String, Vec<u8>>,
}

/// One filesystem, or one a platform.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Filesystems {
    /// One.
    #[prost(message, tag = "3")]
    One(Reference),
    /// By platform.
    #[prost(message, tag = "4")]
    Several(References),
}

/// A filesystem that BuildKit keeps for this build.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reference {
    /// Its name; empty for a filesystem without anything in it.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Filesystems by platform.
#[derive(Clone, PartialEq, prost::Message)]
pub struct References {
    /// By platform.
    #[prost(btree_map = "string, message", tag = "1")]
    pub refs: BTreeMap<String, Reference>,
}

/// Asks for a file of a filesystem.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadFileRequest {
    /// The filesystem.
    #[prost(string, tag = "1")]
    pub reference: String,
    /// The file.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Which bytes of it.
    #[prost(message, optional, tag = "3")]
    pub range: Option<FileRange>,
}

/// Bytes of a file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FileRange {
    /// The first.
    #[prost(int64, tag = "1")]
    pub offset: i64,
    /// At most so many.
    #[prost(int64, tag = "2")]
    pub length: i64,
}

/// A file's bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadFileResponse {
    /// The bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

/// Ends the build: one of the two.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReturnRequest {
    /// The images.
    #[prost(message, optional, tag = "1")]
    pub result: Option<BuildResult>,
    /// Why there are none.
    #[prost(message, optional, tag = "2")]
    pub error: Option<RpcStatus>,
}

/// Nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReturnResponse {}

/// An error on the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// BuildKit's own: which step failed, and its stack.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// A message of a type that is told by name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// The name.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}
