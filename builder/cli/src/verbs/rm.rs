//! `hone rm`: names and versions go, and with them what nothing needs any more.

use clap::Args;
use hone_image::Reference;
use hone_store::{Store, StoreError, Swept};

use crate::failure::Failure;
use crate::output;

/// Arguments of `hone rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Names to remove
    #[arg(value_name = "REF", required = true)]
    images: Vec<Reference>,
}

impl Rm {
    /// Removes all of them, then what is left over.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        for reference in &self.images {
            match store.version(reference)? {
                Some(version) => store.remove_version(&version)?,
                None if store.untag(reference)? => {}
                None => return Err(StoreError::NoImage(reference.to_string()).into()),
            }
            output::report(&format!("removed {reference}\n"))?;
        }
        match store.collect()? {
            Some(swept) => output::report(&freed(&swept)),
            None => output::report("the store is in use; what is left over goes with the next build or `hone rm`\n"),
        }
    }
}

fn freed(swept: &Swept) -> String {
    let line = |bytes, what: String| format!("freed {} in {what}\n", output::size(bytes));
    let blobs = (swept.blobs > 0).then(|| line(swept.bytes, format!("{} blobs", swept.blobs)));
    let what = || format!("{} downloads that nobody went on with for a week", swept.partials);
    let partials = (swept.partials > 0).then(|| line(swept.partial_bytes, what()));
    [blobs, partials].into_iter().flatten().collect()
}
