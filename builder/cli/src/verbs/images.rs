//! `hone images`: what is in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use clap::Args;
use glob::{MatchOptions, Pattern};
use hone_contract::reference::split_tag;
use hone_contract::{Digest, Reference};
use hone_store::versions::VersionRecord;
use hone_store::{Store, this_machine};
use serde::Serialize;

use crate::answer::Listing;
use crate::failure::{Failure, chain};
use crate::output;

/// How a name's pattern matches, as docker's: `*` and `?` stay within one part of a path.
const BY_PART: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Arguments of `hone images`.
#[derive(Debug, Args)]
pub struct Images {
    /// Only images of this name, or with this name and tag; * and ? match as in docker
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<ByName>,
    /// Only images with: reference=NAME or NAME:TAG, label=KEY or KEY=VALUE, lineage=NAME:TAG; of several all, of several
    /// references any
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    #[command(flatten)]
    listing: Listing,
}

/// A pattern for names.
#[derive(Debug, Clone)]
struct ByName {
    name: Pattern,
    /// Any, when there is none.
    tag: Option<Pattern>,
}

/// What an image must have to be listed.
#[derive(Debug, Clone)]
enum Filter {
    Name(ByName),
    /// A label, and its value where that matters.
    Label(String, Option<String>),
    /// The versions of a base, and the base.
    Lineage(Reference),
}

impl FromStr for ByName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = |text: &str| Pattern::new(text).map_err(|error| error.to_string());
        let (name, tag) = split_tag(text);
        Ok(Self { name: pattern(name)?, tag: tag.map(pattern).transpose()? })
    }
}

impl ByName {
    fn matches(&self, name: &Reference) -> bool {
        let fits = |pattern: &Pattern, text: &str| pattern.matches_with(text, BY_PART);
        fits(&self.name, &name.name()) && self.tag.as_ref().is_none_or(|tag| fits(tag, name.tag()))
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("reference", pattern)) => pattern.parse().map(Self::Name),
            Some(("label", label)) => {
                let (key, value) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value)));
                Ok(Self::Label(key.to_owned(), value.map(str::to_owned)))
            }
            Some(("lineage", name)) => name.parse().map(Self::Lineage).map_err(|error| format!("{error}")),
            _ => Err("want reference=NAME[:TAG], label=KEY[=VALUE] or lineage=NAME:TAG".to_owned()),
        }
    }
}

/// One image, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Row {
    reference: Reference,
    /// Its name without the tag.
    repository: String,
    tag: String,
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
    #[serde(skip)]
    labels: BTreeMap<String, String>,
}

impl Row {
    /// The digest that a table shows.
    fn id(&self, whole: bool) -> String {
        let digest = self.digest.unwrap_or(self.config);
        if whole { digest.to_string() } else { digest.short() }
    }
}

impl Images {
    /// Lists, sorted by name.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let _held = store.reading()?;
        let mut rows = rows(store)?;
        rows.retain(|row| self.wants(row));
        self.listing.print(&rows, Row::id, table)
    }

    fn wants(&self, row: &Row) -> bool {
        let named = self.filter.iter().filter_map(|filter| match filter {
            Filter::Name(pattern) => Some(pattern),
            _ => None,
        });
        let mut named = named.peekable();
        self.name.as_ref().is_none_or(|pattern| pattern.matches(&row.reference))
            && (named.peek().is_none() || named.any(|pattern| pattern.matches(&row.reference)))
            && self.filter.iter().all(|filter| match filter {
                Filter::Name(_) => true,
                Filter::Label(key, value) => {
                    row.labels.get(key).is_some_and(|has| value.as_ref().is_none_or(|value| value == has))
                }
                Filter::Lineage(lineage) => row.lineage.as_ref() == Some(lineage) || row.reference == *lineage,
            })
    }
}

fn table(rows: &[Row], whole: bool) -> String {
    let mut table = vec![["REFERENCE", "DIGEST", "SIZE", "OF WHICH NEW", "VERSION OF"].map(str::to_owned).to_vec()];
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), output::size);
    table.extend(rows.iter().map(|row| {
        let lineage = row.lineage.as_ref().map_or("-".to_owned(), Reference::to_string);
        vec![row.reference.to_string(), row.id(whole), size(row.size), size(row.own_size), lineage]
    }));
    output::table(&table)
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
            repository: reference.name(),
            tag: reference.tag().to_owned(),
            labels: image.config().value().config.labels.clone().unwrap_or_default(),
            reference,
            digest: Some(descriptor.digest),
            config: image.config().digest(),
            size: Some(image.size()),
            own_size: own,
            lineage,
            version,
        });
    }
    rows.extend(of_records(store, &rows)?);
    rows.sort_by(|a, b| a.reference.cmp(&b.reference));
    Ok(rows)
}

/// Versions of bases that are only in an engine, but those that came here since.
fn of_records(store: &Store, rows: &[Row]) -> Result<Vec<Row>, Failure> {
    let mut versions = Vec::new();
    let here: BTreeSet<Reference> = rows.iter().map(|row| row.reference.clone()).collect();
    for lineage in store.lineages()? {
        let only_record = |v: &VersionRecord| v.manifest.is_none() && !here.contains(&v.reference);
        for version in store.versions(&lineage)?.into_iter().filter(only_record) {
            let config = store.config(version.config.digest)?;
            versions.push(Row {
                repository: version.reference.name(),
                tag: version.reference.tag().to_owned(),
                labels: config.value().config.labels.clone().unwrap_or_default(),
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
    Ok(versions)
}
