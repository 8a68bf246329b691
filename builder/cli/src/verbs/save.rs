//! `hone save`: an image alone, to a layout, an archive, an engine or a registry.

use clap::Args;
use hone_image::transport::WORDS;
use hone_image::{Pack, Reference};
use hone_store::{Resolved, Store};

use crate::answer::Form;
use crate::deliver::{Deliver, Output};
use crate::failure::Failure;
use crate::net::NetArgs;
use crate::progress::{Mode, Progress};

/// Two answers cannot share standard output.
pub const NO_ROOM: &str = "--json and an archive both want standard output; write the archive to a file";

/// Arguments of `hone save`.
#[derive(Debug, Args)]
pub struct Save {
    /// An image: its name, its digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    #[arg(short, long, value_name = "WHERE", help = WORDS)]
    output: Output,
    /// The image for this machine alone, without the index and the model's artifact: for tools that take no index
    #[arg(long)]
    no_index: bool,
    #[command(flatten)]
    net: NetArgs,
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
        let pack = match self.no_index {
            true => Pack::alone(found.image),
            false => store.pack(found.descriptor.digest)?,
        };
        let progress = Progress::new(Mode::Auto, true);
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
