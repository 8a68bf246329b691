//! What can go wrong before the container runs, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use hone_contract::{Digest, quoted, quoted_path};
use hone_store::StoreError;

/// A run that did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("needs root, for mounts and namespaces: say `sudo hone run`")]
    NotRoot,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("run {image}: made for {}, this machine is {want}", quoted(got))]
    Platform { image: String, got: String, want: String },
    #[error("run {0}: the image has no command, and none was given")]
    NoCommand(String),
    #[error("run {0}: no data: say where it is, e.g. -v $PWD/data:/data")]
    NoData(String),
    #[error("data {}: no files in it, want *.jsonl", quoted_path(.0))]
    EmptyData(PathBuf),
    #[error(
        "data {0}: the container's user {uid}:{gid} cannot read it; `chmod -R a+rX {0}`, or run with --user",
        quoted_path(path)
    )]
    Unreadable { path: PathBuf, uid: u32, gid: u32 },
    #[error("user \"{}\": {why}", quoted(user))]
    User { user: String, why: &'static str },
    #[error("layer {layer}: entry \"{}\": {why}", quoted(path))]
    Entry { layer: Digest, path: String, why: &'static str },
    #[error("layer {layer}: unpack \"{}\"", quoted(path))]
    Unpack { layer: Digest, path: String, source: io::Error },
    #[error(
        "unpack image {image}: {got} bytes are free in {}, want at least {want}; make room, `hone rm` frees what no image needs",
        quoted_path(path)
    )]
    Room { image: Digest, path: PathBuf, got: u64, want: u64 },
    #[error("the same run is going on already (staging {0}); wait for it, or stop it")]
    Running(String),
    #[error("a container named {0} is running; take another --name")]
    NameTaken(String),
    #[error("{operation} {}", quoted_path(path))]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("read {} from the image", quoted_path(path))]
    Rooted { path: PathBuf, source: hone_sys::RootedError },
}

impl RunError {
    /// Names the operation and the path that an i/o error belongs to.
    pub(crate) fn io<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source: source.into() }
    }
}
