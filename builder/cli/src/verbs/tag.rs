//! `hone tag`: another name for an image.

use clap::Args;
use hone_contract::Reference;
use hone_store::Store;

use crate::answer::Form;
use crate::failure::Failure;

/// Arguments of `hone tag`.
#[derive(Debug, Args)]
pub struct Tag {
    /// An image: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    /// The other name
    #[arg(value_name = "NAME:TAG")]
    name: Reference,
    #[command(flatten)]
    form: Form,
}

impl Tag {
    /// Names it.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let _held = store.reading()?;
        let found = store.resolve(&self.image)?;
        store.tag(&found.descriptor, &self.name)?;
        let answer = serde_json::json!({"reference": self.name, "digest": found.descriptor.digest});
        self.form.report(&answer, |_| String::new())
    }
}
