//! What the job says of a base model, once its files are hashed: the same for whoever packs it.

use std::collections::BTreeSet;

use hone_image::Digest;
use hone_image::job::{Base, BaseFile};

use crate::BaseModel;

/// The job's `base`, from the model and the size and digest of each of its files.
pub fn base_of(model: &BaseModel, mut files: Vec<BaseFile>) -> Base {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Base {
        identity: identity(&files),
        path: format!("/{}", model.dir),
        format: model.format.to_owned(),
        family: model.family.map(str::to_owned),
        files,
        tokenizer: model.tokenizer.clone(),
    }
}

/// sha256 over the lines `<digest> <size> <path>\n`, by path (docs/contract.md).
pub fn identity(files: &[BaseFile]) -> Digest {
    let lines: String = files.iter().map(|f| format!("{} {} {}\n", f.digest, f.size, f.path)).collect();
    Digest::of(lines.as_bytes())
}

/// The directories above a path, highest first.
pub fn parents(path: &str) -> Vec<String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
}

impl BaseModel {
    /// Every directory that the model's files lie in, and those above.
    pub fn dirs(&self) -> BTreeSet<String> {
        let mut dirs: BTreeSet<String> = parents(&self.dir).into_iter().chain([self.dir.clone()]).collect();
        for file in self.weights.iter().chain(&self.texts) {
            dirs.extend(parents(&format!("{}/{}", self.dir, file.name)));
        }
        dirs
    }
}
