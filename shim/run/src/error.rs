//! What can go wrong before the container runs, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use hone_image::Digest;
use hone_store::StoreError;

/// A run that did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("needs root, for mounts and namespaces: say `sudo hone run`")]
    NotRoot,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("run {image}: made for {got}, this machine is {want}")]
    Architecture { image: String, got: String, want: &'static str },
    #[error("run {0}: the image has no command, and none was given")]
    NoCommand(String),
    #[error("run {0}: no data: say where it is, e.g. -v $PWD/data:/data")]
    NoData(String),
    #[error("data {}: no files in it, want *.jsonl", .0.display())]
    EmptyData(PathBuf),
    #[error("data {}: the container's user {uid}:{gid} cannot read it; `chmod -R a+rX {}`, or run with --user", path.display(), path.display())]
    Unreadable { path: PathBuf, uid: u32, gid: u32 },
    #[error("user {user:?}: {why}")]
    User { user: String, why: &'static str },
    #[error("layer {layer}: entry {path:?}: {why}")]
    Entry { layer: Digest, path: String, why: &'static str },
    #[error("layer {layer}: unpack {path:?}")]
    Unpack { layer: Digest, path: String, source: io::Error },
    #[error("run {image}: {got} layers, want at most {want}")]
    Layers { image: String, got: usize, want: usize },
    #[error("the same run is going on already (staging {0}); wait for it, or stop it")]
    Running(String),
    #[error("a container named {0} is running; take another --name")]
    NameTaken(String),
    #[error("{operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("read {} from the image", path.display())]
    Rooted { path: PathBuf, source: hone_sys::RootedError },
}

impl RunError {
    /// Names the operation and the path that an i/o error belongs to.
    pub(crate) fn io<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source: source.into() }
    }
}

/// The error and its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
