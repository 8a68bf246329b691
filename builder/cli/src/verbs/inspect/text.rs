//! What `hone inspect` shows to people.

use std::fmt::Write as _;

use hone_contract::Reference;
use hone_image::media;

use super::{LayerView, ReferrerView, View};
use crate::output;

/// Names, digests, platforms, size.
fn identity_rows(view: &View) -> Vec<Vec<String>> {
    let names: Vec<String> = view.references.iter().map(Reference::to_string).collect();
    let mut rows = vec![vec!["names".to_owned(), names.join(", ")]];
    let mut row = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);
    if let Some(digest) = view.digest {
        row("digest", digest.to_string());
    }
    row("config", view.config.to_string());
    if let Some(manifest) = view.manifest.filter(|m| Some(*m) != view.digest) {
        row("manifest", manifest.to_string());
    }
    if let Some(model) = view.modelpack {
        row("modelpack", model.to_string());
    }
    match view.platforms.as_slice() {
        [] => row("platform", format!("{}/{}", view.os, view.architecture)),
        platforms => row("platform", platforms.join(", ")),
    }
    row("size", output::size(view.size));
    rows
}

/// All that is known of it.
pub(super) fn text(view: &View) -> String {
    let mut rows = identity_rows(view);
    let mut row = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);
    if let Some(base) = &view.base {
        row("base", format!("{} {}", base.name, base.digest.as_ref().or(base.config.as_ref()).map_or("", |d| d)));
    }
    if let (Some(version), Some(state)) = (view.version, view.state) {
        row("version", format!("{version} ({})", output::word(&state)));
    }
    if let Some(parent) = &view.parent {
        row("parent", parent.clone());
    }
    if let Some(model) = &view.model {
        let family = model.family.as_deref().unwrap_or("unknown family");
        row("model", format!("{} ({}, {family})", model.path, model.format));
    }
    if let Some(why) = &view.job_error {
        row("job", format!("not understood: {why}"));
    }
    for (key, name) in [("source", media::SOURCE), ("revision", media::REVISION), ("licence", media::LICENSES)] {
        if let Some(value) = view.annotations.get(name) {
            row(key, value.clone());
        }
    }
    if !view.command.is_empty() {
        row("command", view.command.join(" "));
    }
    for ReferrerView { artifact_type, digest } in &view.referrers {
        row("referrer", format!("{artifact_type} {digest}"));
    }
    let mut text = output::table(&rows);
    let _ = writeln!(text, "layers");
    let layers: Vec<Vec<String>> = view.layers.iter().map(layer_row).collect();
    text.push_str(&output::table(&layers));
    text
}

fn layer_row(layer: &LayerView) -> Vec<String> {
    let size = layer.size.map_or("-".to_owned(), output::size);
    let share = layer.share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let shared = match layer.shared_with.as_slice() {
        [] => String::new(),
        [only] => format!("shared with {only}"),
        [first, rest @ ..] => format!("shared with {first} and {} more", rest.len()),
    };
    vec![format!("  {}", layer.kind), size, share, layer.digest.unwrap_or(layer.diff_id).to_string(), shared]
}
