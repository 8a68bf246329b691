//! `hone prune`: everything goes that nothing needs: blobs, layers that `hone run` unpacked, downloads that did not end.
//!
//! Names, versions and what runs left behind (`hone staging`) stay: nobody but their owner knows whether they are wanted.

use clap::Args;
use hone_store::{Removed, Store};
use serde_json::json;

use super::rm::{Freed, Kind, collect, unpacked};
use crate::answer::Form;
use crate::failure::Failure;
use crate::output;

/// Arguments of `hone prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Accepted for docker's sake: nothing is asked, because nothing goes that has a name
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    form: Form,
}

impl Prune {
    /// Removes, and says what.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let mut freed = Vec::new();
        let mut row = |what: Kind, removed: Removed| freed.push(Freed::of(what, removed));
        // One that goes on now stays.
        row(Kind::Downloads, store.drop_partials()?);
        if let Some(swept) = collect(store)? {
            row(Kind::Blobs, swept.blobs);
        }
        if let Some(layers) = unpacked(store) {
            row(Kind::UnpackedLayers, layers);
        }
        let total = freed.iter().fold(0u64, |sum, freed| sum.saturating_add(freed.size));
        let answer = json!({"freed": freed, "size": total});
        self.form.report(&answer, |_| {
            let rows: Vec<Vec<String>> = freed.iter().map(cells).collect();
            format!("{}Total reclaimed space: {}\n", output::table(&rows), output::size(total))
        })
    }
}

fn cells(freed: &Freed) -> Vec<String> {
    let what = match freed.what {
        Kind::Blobs => "blobs",
        Kind::Downloads => "downloads that did not end",
        Kind::UnpackedLayers => "unpacked layers",
    };
    vec![what.to_owned(), freed.number.to_string(), output::size(freed.size)]
}
