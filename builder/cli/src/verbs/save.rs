//! `hone save`: an image alone, to a layout, an archive, a pipe, an engine or a registry.

use clap::Args;
use hone_contract::Reference;
use hone_image::Pack;
use hone_image::oci::Platform;
use hone_image::transport::{STANDARD, WORDS};
use hone_store::{Resolved, Store};

use crate::answer::Form;
use crate::deliver::{Deliver, Output};
use crate::failure::Failure;
use crate::net::NetArgs;
use crate::platforms::{image_for, platform};
use crate::progress::ProgressArgs;

/// Two answers cannot share standard output.
pub const NO_ROOM: &str = "--json and an archive both want standard output; write the archive to a file";

/// Arguments of `hone save`.
#[derive(Debug, Args)]
pub struct Save {
    /// An image: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    #[arg(short, long, value_name = "WHERE", help = WORDS, default_value = STANDARD)]
    output: Output,
    /// The image for this platform alone, e.g. linux/arm64 [default: all that are here, under their index]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// The image for this machine alone, without the index and the model's artifact: for tools that take no index
    #[arg(long, conflicts_with = "platform")]
    no_index: bool,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    form: Form,
}

impl Save {
    /// Writes it, whole or not at all.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        self.output.check(store)?;
        if self.form.is_json() && self.output.is_stdout() {
            return Err(NO_ROOM.into());
        }
        let _held = store.reading()?;
        let found = store.resolve(&self.image)?;
        let name = name_of(&self.image, &found)?;
        let pack = match (&self.platform, self.no_index) {
            (Some(wanted), _) => Pack::alone(image_for(&store.pack(found.descriptor.digest)?, wanted)?.clone()),
            (None, true) => Pack::alone(found.image),
            (None, false) => store.pack(found.descriptor.digest)?,
        };
        let progress = self.progress.show();
        self.output.deliver(&Deliver { store, name: &name, client: &self.net.client(), progress }, &pack)?;
        // Like docker's, it says nothing to people.
        if !self.form.is_json() {
            return Ok(());
        }
        let to = self.output.to_string();
        let answer = serde_json::json!({"reference": name, "digest": pack.digest(), "output": to});
        self.form.report(&answer, |_| String::new())
    }
}

/// The name that was typed, else one that the image has.
pub fn name_of(typed: &str, found: &Resolved) -> Result<Reference, Failure> {
    let typed: Option<Reference> = typed.parse().ok().filter(|r| found.references.contains(r));
    let name = typed.or_else(|| found.references.first().cloned());
    name.ok_or_else(|| "the image has no name; give it one with `hone tag`".into())
}
