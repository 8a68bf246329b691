//! What a base model and a trainer are, by content: the two digests by which a job names them (docs/contract.md).

use crate::Digest;
use crate::job::BaseFile;

/// Of a base: sha256 over the lines `<digest> <size> <path>\n` of its files, which are in the order of their paths.
pub fn of_base(files: &[BaseFile]) -> Digest {
    let lines: String = files.iter().map(|f| format!("{} {} {}\n", f.digest, f.size, f.path)).collect();
    Digest::of(lines.as_bytes())
}

/// Of a trainer: sha256 over the lines `<diff id>\n` of its layers, lowest first.
pub fn of_trainer(diff_ids: &[Digest]) -> Digest {
    let lines: String = diff_ids.iter().map(|id| format!("{id}\n")).collect();
    Digest::of(lines.as_bytes())
}
