//! `inspect MODEL [TOKENIZER]`: whether the trainer can work with the model, and where each file goes in the image.

use std::fs;
use std::path::Path;

use hone_base::{Links, Provenance, SourceFile, Sources, understand};
use hone_contract::job::TOKENIZER_DIR;

use super::{StepError, answer_of, document};
use crate::exchange::{DOWNLOAD, HASHES, HONEFILE, Hashed, Inspected, ORIGIN, Placed, REQUEST};

/// Looks at the model.
pub fn inspect(model: &Path, tokenizer: Option<&Path>) -> Result<Inspected, StepError> {
    let path = Path::new(REQUEST).join(HONEFILE);
    let text = fs::read_to_string(&path).map_err(StepError::at("read", &path))?;
    let plan = hone_plan::parse(HONEFILE, &text).map_err(|error| StepError::Refused(error.to_string()))?;
    let hashes: Hashed = answer_of(Path::new(HASHES))?;
    let links = Links::followed(plan.base.as_ref().is_some_and(|base| base.follow_links));
    let apart = tokenizer.map(|path| Sources::at(path, links)).transpose()?;
    let base = understand(&Sources::at(model, links)?, apart.as_ref(), &plan)?;
    // BuildKit shows what a step says.
    base.notes.iter().for_each(|note| hone_contract::tell(std::io::stderr(), &format!("hone-frontend: {note}")));
    let named = base.job(hashes);
    let origin = Provenance::annotated(&document(&Path::new(REQUEST).join(ORIGIN))?);
    let provenance = plan.base.as_ref().map(Provenance::planned).unwrap_or_default().or(origin);
    let annotations = provenance.annotations(&named, &provenance.over(base.facts.clone()));
    let placed = |dir: &str, files: &[SourceFile]| -> Vec<Placed> {
        files.iter().map(|file| Placed { path: format!("{dir}/{}", file.name), from: from(file) }).collect()
    };
    Ok(Inspected {
        weights: placed(&base.dir, &base.weights),
        texts: placed(&base.dir, &base.texts),
        tokenizer: placed(TOKENIZER_DIR.trim_start_matches('/'), &base.tokenizer_files),
        dirs: base.dirs(),
        tensors: base.tensors.clone(),
        positions: base.positions,
        base: named,
        annotations,
    })
}

/// Where a file is in the filesystem that was mounted.
fn from(file: &SourceFile) -> String {
    let path = file.source.strip_prefix(DOWNLOAD).unwrap_or(&file.source);
    path.to_string_lossy().into_owned()
}
