//! `hone push`: an image of the store into a registry.

use clap::Args;
use hone_contract::Reference;
use hone_remote::push;
use hone_store::Store;
use serde_json::json;

use super::save::name_of;
use crate::answer::Form;
use crate::failure::Failure;
use crate::net::NetArgs;
use crate::output;
use crate::progress::ProgressArgs;

/// Arguments of `hone push`.
#[derive(Debug, Args)]
pub struct Push {
    /// An image: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    /// The name it gets there, with its registry [default: its name here]
    #[arg(value_name = "REGISTRY/NAME:TAG")]
    to: Option<Reference>,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    form: Form,
}

impl Push {
    /// Pushes; the name there changes last.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let _held = store.reading()?;
        let found = store.resolve(&self.image)?;
        let name = match self.to {
            Some(name) => name,
            None => name_of(&self.image, &found)?,
        };
        let pack = store.pack(found.descriptor.digest)?;
        let sent = push(&self.net.client(), store, &name, &pack, &self.progress.show())?;
        let digest = pack.digest();
        if self.progress.quiet {
            return output::report(&format!("{digest}\n"));
        }
        let (sent, bytes, known) = (sent.blobs, sent.bytes, sent.known);
        let answer = json!({"reference": name, "digest": digest, "sent": sent, "sent_bytes": bytes, "known": known});
        let bytes = output::size(bytes);
        self.form.report(&answer, |_| format!("{name} {digest} ({sent} blobs sent, {bytes}; {known} were there)\n"))
    }
}
