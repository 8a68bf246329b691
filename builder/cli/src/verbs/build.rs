//! `hone build`: a Honefile becomes an image of the local store, and of an engine if asked.

use std::path::PathBuf;

use clap::Args;
use hone_image::{Image, Reference};
use hone_store::Store;
use serde_json::json;

use crate::build::build;
use crate::failure::Failure;
use crate::output;
use crate::progress::{Mode, Progress};
use crate::ship::{Sink, ship};

/// Arguments of `hone build`.
#[derive(Debug, Args)]
pub struct Build {
    /// A Honefile, or the directory it is in
    #[arg(value_name = "DIR|HONEFILE", default_value = ".")]
    path: PathBuf,
    /// Name of the image
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Reference,
    /// Give the image to an engine, too: docker, podman, or docker=ADDRESS (e.g. docker=unix:///run/docker.sock)
    #[arg(long, value_name = "ENGINE")]
    load: Vec<Sink>,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    progress: Mode,
    /// Print the image digest and nothing else
    #[arg(short, long)]
    quiet: bool,
}

impl Build {
    /// Builds; the store is as it was when that fails.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let progress = Progress::new(self.progress, self.quiet);
        let built = build(store, &self.path, &self.tag, progress);
        // What a failed build, or the image that had this name before, left behind. Whether that can be removed
        // now decides nothing: the next build or `hone rm` does it otherwise.
        let _ = store.collect();
        let image = built?;
        for sink in &self.load {
            let step = progress.step(&format!("load {sink}"), None);
            let delivery = ship(sink.engine().as_ref(), store, &self.tag, &image)?;
            step.done(delivery.sent_bytes, &format!("{} layers sent", delivery.sent_layers));
        }
        self.report(&image)
    }

    fn report(&self, image: &Image) -> Result<(), Failure> {
        let digest = image.digest();
        match (self.quiet, self.progress) {
            (true, _) => output::print(&format!("{digest}\n")),
            (false, Mode::Json) => {
                output::print(&format!("{}\n", json!({"event": "built", "digest": digest, "reference": self.tag})))
            }
            (false, _) => {
                let size = output::size(image.size());
                output::print(&format!("{} {digest} ({size} in {} layers)\n", self.tag, image.layers().len()))
            }
        }
    }
}
