//! `hone log`: the versions of a lineage, newest first, and the runs that became none.

use clap::Args;
use hone_contract::run::Outcome;
use hone_contract::{Digest, Reference};
use hone_store::staging::{self, Staged};
use hone_store::versions::{State, VersionRecord};
use hone_store::{Found, Store, StoreError};
use serde::Serialize;

use crate::answer::{Form, by_template};
use crate::failure::Failure;
use crate::output;
use crate::template::Template;

/// Arguments of `hone log`.
#[derive(Debug, Args)]
pub struct Log {
    /// A base image, or one of its versions: a name, a digest, or the first digits of that
    #[arg(value_name = "REF")]
    image: String,
    #[command(flatten)]
    form: Form,
    /// Print each version with a template, as `hone images --format`
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<Template>,
    /// Show names of versions alone, newest first
    #[arg(short, long, conflicts_with_all = ["json", "format"])]
    quiet: bool,
    /// Show digests and ids whole
    #[arg(long)]
    no_trunc: bool,
}

/// A lineage, as `--json` prints it.
#[derive(Debug, Serialize)]
struct View {
    lineage: Reference,
    versions: Vec<VersionView>,
    runs: Vec<RunView>,
}

#[derive(Debug, Serialize)]
struct VersionView {
    version: u64,
    reference: Reference,
    state: State,
    /// The base has been built again since: the version belongs to the older one.
    stale: bool,
    /// Bytes of its adapter layer.
    size: u64,
    config: Digest,
    manifest: Option<Digest>,
    /// What training began from, by name where it has one.
    parent: String,
    run: String,
    finished_ms: u64,
}

/// A run that is no version: refused, not finished, or not committed yet.
#[derive(Debug, Serialize)]
struct RunView {
    id: String,
    state: &'static str,
    reason: Option<String>,
    staging: String,
}

impl Log {
    /// Shows it.
    pub fn run(self, store: &Store) -> Result<(), Failure> {
        let _held = store.reading()?;
        let lineage = lineage_of(store, &self.image)?;
        let view = View { versions: versions(store, &lineage)?, runs: runs(store, &lineage)?, lineage };
        if let Some(template) = &self.format {
            return by_template(&view.versions, template, self.no_trunc);
        }
        if self.quiet {
            return output::print(&view.versions.iter().map(|v| format!("{}\n", v.reference)).collect::<String>());
        }
        self.form.print(&view, |view| text(view, self.no_trunc))
    }
}

/// The lineage that an image belongs to: a version's base, or the image itself. A name that is not here may still be that
/// of a base: its versions, or its runs, tell.
pub fn lineage_of(store: &Store, image: &str) -> Result<Reference, Failure> {
    match (lineage_here(store, image)?, image.parse::<Reference>()) {
        (Some(lineage), _) => Ok(lineage),
        (None, Ok(name)) if !store.versions(&name)?.is_empty() || !runs(store, &name)?.is_empty() => Ok(name),
        (None, _) => Err(StoreError::NoImage(image.to_owned()).into()),
    }
}

/// The same of an image, or a version, that is here.
fn lineage_here(store: &Store, image: &str) -> Result<Option<Reference>, Failure> {
    let found = match store.look_up(image) {
        Err(StoreError::NoImage(_)) => return Ok(None),
        found => found?,
    };
    let resolved = match found {
        Found::Version(version) => return Ok(Some(version.lineage)),
        Found::Image(resolved) => resolved,
    };
    if let Some(version) = store.version_of(image)? {
        return Ok(Some(version.lineage));
    }
    // What its labels say counts when its layers bear it out.
    Ok(resolved.references.first().map(|name| store.lineage_of(name)).transpose()?)
}

fn versions(store: &Store, lineage: &Reference) -> Result<Vec<VersionView>, Failure> {
    let state = store.lineage_state(lineage)?;
    let base = store.image(lineage)?.map(|image| image.config().digest());
    let all = store.versions(lineage)?;
    let name = |config: Digest| match all.iter().find(|v| v.config.digest == config) {
        Some(version) => version.reference.to_string(),
        None if all.iter().any(|v| v.base == config) => lineage.to_string(),
        None => config.to_string(),
    };
    let view = |v: &VersionRecord| VersionView {
        version: v.number,
        reference: v.reference.clone(),
        state: state.of(v.number),
        stale: base.is_some_and(|base| base != v.base),
        size: v.layer.size,
        config: v.config.digest,
        manifest: v.manifest,
        parent: name(v.parent),
        run: v.run.clone(),
        finished_ms: v.finished_ms,
    };
    Ok(all.iter().rev().map(view).collect())
}

fn runs(store: &Store, lineage: &Reference) -> Result<Vec<RunView>, Failure> {
    let mut runs = Vec::new();
    for staged in staging::list(store)? {
        if belongs(store, &staged, lineage)? {
            runs.push(run_view(&staged));
        }
    }
    Ok(runs)
}

fn belongs(store: &Store, staged: &Staged, lineage: &Reference) -> Result<bool, Failure> {
    let Some(run) = &staged.run else {
        return Ok(false);
    };
    match run.image.as_ref().map(|image| image.reference.parse::<Reference>()) {
        // An image that cannot be read any more is known by its name.
        Some(Ok(name)) => Ok(lineage_here(store, &name.to_string()).ok().flatten().unwrap_or(name) == *lineage),
        _ => Ok(run.job.name == lineage.name()),
    }
}

fn run_view(staged: &Staged) -> RunView {
    let (state, reason) = describe(staged);
    RunView { id: staged.id.clone(), state, reason, staging: staged.path.display().to_string() }
}

/// Where a run stands, and why it is no version.
pub fn describe(staged: &Staged) -> (&'static str, Option<String>) {
    match (&staged.outcome, &staged.exit) {
        (Some(Outcome::Refused { reason }), _) => ("refused", Some(reason.clone())),
        (Some(Outcome::Sealed { .. }), _) => ("sealed", Some("`hone commit` goes on with it".to_owned())),
        (Some(Outcome::Committed { reference, .. }), _) => {
            ("committed", Some(format!("{reference} is not published to its engine yet; `hone commit` does it")))
        }
        (Some(Outcome::Published { reference, .. }), _) => ("published", Some(reference.clone())),
        (None, Some(exit)) if exit.code == 0 => ("staged", Some("`hone commit` makes it a version".to_owned())),
        (None, Some(exit)) => ("stopped", Some(format!("exit code {}; its checkpoint is kept", exit.code))),
        (None, None) => ("running", None),
    }
}

fn text(view: &View, whole: bool) -> String {
    let mut rows = vec![["VERSION", "STATE", "ADAPTER", "PARENT", "FINISHED (UTC)"].map(str::to_owned).to_vec()];
    rows.extend(view.versions.iter().map(|v| {
        let state = output::word(&v.state);
        let state = if v.stale { format!("{state}, stale") } else { state };
        let finished = output::moment(v.finished_ms);
        // A parent that was removed has no name any more.
        let parent = v.parent.parse::<Digest>().ok().filter(|_| !whole);
        let parent = parent.map_or_else(|| v.parent.clone(), |digest| digest.short());
        vec![v.reference.to_string(), state, output::size(v.size), parent, finished]
    }));
    let mut text = if view.versions.is_empty() {
        format!("{}: no versions yet; `hone run` it with data to make one\n", view.lineage)
    } else {
        output::table(&rows)
    };
    if !view.runs.is_empty() {
        let mut rows = vec![["RUN", "STATE", "WHY"].map(str::to_owned).to_vec()];
        rows.extend(view.runs.iter().map(|run| {
            let id: String = run.id.chars().take(if whole { usize::MAX } else { 12 }).collect();
            vec![id, run.state.to_owned(), run.reason.clone().unwrap_or_default()]
        }));
        text.push('\n');
        text.push_str(&output::table(&rows));
    }
    text
}
