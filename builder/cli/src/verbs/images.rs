//! `hone images`: what is in the store.

use std::collections::BTreeSet;

use clap::Args;
use hone_image::{Digest, Reference};
use hone_store::versions::VersionRecord;
use hone_store::{Store, this_machine};
use serde::Serialize;

use crate::failure::{Failure, chain};
use crate::output;

/// Arguments of `hone images`.
#[derive(Debug, Args)]
pub struct Images {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One image, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    reference: Reference,
    /// Manifest digest; null when only an engine has the image.
    digest: Option<Digest>,
    /// Configuration digest: docker's image id.
    config: Digest,
    /// Bytes of all layers; null when only an engine has the base's.
    size: Option<u64>,
    /// Bytes of what this image alone has: of a version its adapter layer.
    own_size: Option<u64>,
    /// The lineage of a version.
    lineage: Option<Reference>,
    /// A version's number.
    version: Option<u64>,
}

impl Images {
    /// Lists, sorted by name.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let _held = store.reading()?;
        let rows = rows(store)?;
        if self.json {
            return output::json(&rows);
        }
        let mut table =
            vec![["REFERENCE", "DIGEST", "SIZE", "OF WHICH NEW", "VERSION OF"].map(str::to_owned).to_vec()];
        let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), output::size);
        table.extend(rows.iter().map(|row| {
            let digest = row.digest.unwrap_or(row.config).short();
            let lineage = row.lineage.as_ref().map_or("-".to_owned(), Reference::to_string);
            vec![row.reference.to_string(), digest, size(row.size), size(row.own_size), lineage]
        }));
        output::print(&output::table(&table))
    }
}

fn rows(store: &Store) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (reference, descriptor, pack) in store.packs()? {
        let Some(image) = pack.image_for(&this_machine()) else {
            store.notice(format!("image {reference}"), "it holds no image, and is not listed");
            continue;
        };
        // What its labels say counts when its layers bear it out.
        let member = store.membership(&reference, image).unwrap_or_else(|error| {
            store.notice(format!("image {reference}"), format!("its lineage is not known: {}", chain(&error)));
            None
        });
        let (lineage, version) = member.unzip();
        let own =
            if version.is_some() { image.layers().last().map(|l| l.descriptor.size) } else { Some(image.size()) };
        rows.push(Row {
            reference,
            digest: Some(descriptor.digest),
            config: image.config().digest(),
            size: Some(image.size()),
            own_size: own,
            lineage,
            version,
        });
    }
    // Versions of bases that are only in an engine, but those that came here since.
    let here: BTreeSet<Reference> = rows.iter().map(|row| row.reference.clone()).collect();
    for lineage in store.lineages()? {
        let only_record = |v: &VersionRecord| v.manifest.is_none() && !here.contains(&v.reference);
        for version in store.versions(&lineage)?.into_iter().filter(only_record) {
            rows.push(Row {
                reference: version.reference,
                digest: None,
                config: version.config.digest,
                size: None,
                own_size: Some(version.layer.size),
                lineage: Some(version.lineage),
                version: Some(version.number),
            });
        }
    }
    rows.sort_by(|a, b| a.reference.cmp(&b.reference));
    Ok(rows)
}
