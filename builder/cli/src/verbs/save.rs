//! `hone save`: an image alone in an OCI layout of its own.

use std::path::PathBuf;

use clap::Args;
use hone_image::Reference;
use hone_store::Store;

use crate::failure::{Failure, because};
use crate::layout::write_layout;

/// Arguments of `hone save`.
#[derive(Debug, Args)]
pub struct Save {
    /// An image: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    /// Where to write the layout; must not exist
    #[arg(short, long, value_name = "oci:DIR")]
    output: String,
}

impl Save {
    /// Writes the layout, whole or not at all.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let Some(dir) = self.output.strip_prefix("oci:").map(PathBuf::from) else {
            return Err(format!("--output {}: want oci:DIR", self.output).into());
        };
        if dir.exists() {
            return Err(format!("--output {}: it exists already", dir.display()).into());
        }
        let found = store.resolve(&self.image)?;
        let typed: Option<Reference> = self.image.parse().ok().filter(|r| found.references.contains(r));
        let name = typed.or_else(|| found.references.first().cloned());
        let name = name.ok_or("save: the image has no name; give it one with `hone tag`")?;
        let saving = because(format!("save {}", dir.display()));
        write_layout(&dir, |to| {
            for layer in found.image.layers() {
                let d = &layer.descriptor;
                to.copy(d, store.open_blob(d.digest, d.size)?)?;
            }
            Ok(to.put_image(&name, &found.image)?)
        })
        .map_err(saving)
    }
}
