//! The user's files: which of them BuildKit is to fetch, and under which paths they are then found.

use std::collections::BTreeMap;

use hone_image::hub::{File, Identity, Model, description_url};
use hone_plan::{BasePlan, ModelSource};

use crate::error::FrontendError;
use crate::exchange::{CONTEXT, DOWNLOAD};
use crate::llb::{Output, Read, Shown};
use crate::options::Options;

/// A hub's description of a model.
pub const DESCRIPTION: &str = "model.json";

/// Files of the user in filesystems of BuildKit's.
#[derive(Debug)]
pub struct Fetched {
    from: Held,
    /// Where a step mounts them.
    pub mount: &'static str,
    /// What of it is meant; empty: all.
    pub path: String,
}

#[derive(Debug, Clone)]
enum Held {
    /// One filesystem with all of them.
    One(Output),
    /// One each, by the file's name.
    Each(BTreeMap<String, Output>),
}

impl Fetched {
    /// All of them, for a step to read.
    pub fn whole(&self) -> Vec<Read<'_>> {
        match &self.from {
            Held::One(output) => vec![Read { from: output, part: String::new(), at: self.mount.to_owned() }],
            Held::Each(files) => files.keys().filter_map(|path| self.file(path)).collect(),
        }
    }

    /// One of them.
    pub fn file(&self, path: &str) -> Option<Read<'_>> {
        let from = match &self.from {
            Held::One(output) => output,
            Held::Each(files) => files.get(path)?,
        };
        Some(Read { from, part: path.to_owned(), at: self.place(path) })
    }

    /// Where a step finds a file of it.
    pub fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.mount)
    }

    /// What a step in the build context's directory calls it.
    pub fn argument(&self) -> String {
        match (self.mount, self.path.as_str()) {
            (CONTEXT, path) => path.to_owned(),
            (mount, "") => mount.to_owned(),
            (_, path) => self.place(path),
        }
    }
}

/// Where BuildKit is to read a hub's description of a model, as the file [`DESCRIPTION`].
pub fn description(options: &Options, repository: &str, revision: &str) -> Output {
    let url = description_url(&options.hub, repository, revision);
    let shown = Shown::new(format!("[hone] look up hf://{repository}@{revision}"), options.ignore_cache);
    Output::source(&url, &[("http.filename", DESCRIPTION)], None, &shown)
}

/// The files of a hub's model that a base needs.
fn of_hub(options: &Options, model: &Model) -> Fetched {
    let download = |file: &&File| {
        let mut attrs = vec![("http.filename", file.path.clone())];
        if let Identity::Sha256(digest) = file.identity {
            attrs.push(("http.checksum", digest.to_string()));
        }
        let attrs: Vec<(&str, &str)> = attrs.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let shown = Shown::new(format!("[hone] download {}", file.path), false);
        let url = model.url(&options.hub, file);
        (file.path.clone(), Output::source(&url, &attrs, None, &shown))
    };
    let files = model.wanted().iter().map(download).collect();
    Fetched { from: Held::Each(files), mount: DOWNLOAD, path: String::new() }
}

/// The model, whose description is `hub` when it is a hub's, and the tokenizer that came apart; both lie in the same
/// filesystem when they are in the build context.
pub fn base(
    options: &Options,
    plan: &BasePlan,
    hub: Option<&Model>,
) -> Result<(Fetched, Option<Fetched>), FrontendError> {
    let tokenizer = plan.tokenizer.as_ref().map(|path| inside("base.tokenizer", path)).transpose()?;
    // Of a model that is downloaded the tokenizer still lies in the build context.
    let apart = |path: String| local(options, "model", &[&path], path.clone());
    let model = match &plan.model {
        ModelSource::Path(path) => inside("base.model", path)?,
        ModelSource::Url { url, name, sha256 } => {
            let attrs = [("http.checksum", sha256.to_string()), ("http.filename", name.clone())];
            let attrs: Vec<(&str, &str)> = attrs.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let shown = Shown::new(format!("[hone] download {url}"), false);
            let output = Output::source(url, &attrs, None, &shown);
            return Ok((
                Fetched { from: Held::One(output), mount: DOWNLOAD, path: name.clone() },
                tokenizer.map(apart),
            ));
        }
        ModelSource::Hub { .. } => {
            let hub = hub.ok_or(FrontendError::Protocol("a hub's model without its description"))?;
            return Ok((of_hub(options, hub), tokenizer.map(apart)));
        }
        ModelSource::Registry { .. } | ModelSource::Layout(_) => {
            return Err(unsupported(
                "a model in a registry or a layout is read by `hone build` only; unpack it into the build context",
            ));
        }
    };
    let mut paths = vec![model.as_str()];
    paths.extend(tokenizer.as_deref());
    let found = local(options, "model", &paths, model.clone());
    let tokenizer = tokenizer.map(|path| Fetched { from: found.from.clone(), mount: CONTEXT, path });
    Ok((found, tokenizer))
}

/// A trainer's root filesystem.
pub fn rootfs(options: &Options, dir: &str) -> Result<Fetched, FrontendError> {
    let path = inside("trainer.rootfs", dir)?;
    Ok(local(options, "trainer", &[&path], path.clone()))
}

/// The directory that holds the Honefile, and of it only that.
pub fn honefile(options: &Options) -> Output {
    let paths = serde_json::json!([options.honefile]).to_string();
    let attrs = [
        ("local.session", options.session.as_str()),
        ("local.followpaths", &paths),
        ("local.sharedkeyhint", &options.honefile),
    ];
    let shown = Shown::new(format!("[hone] read {}", options.honefile), false);
    Output::source(&format!("local://{}", options.honefile_source), &attrs, None, &shown)
}

/// What is at `paths` in the build context, links followed. `what` tells apart the copies that BuildKit keeps from
/// build to build, so that it is sent only what changed.
fn local(options: &Options, what: &str, paths: &[&str], path: String) -> Fetched {
    // The whole context has no pattern.
    let wanted: Vec<String> = match paths.contains(&".") {
        true => vec![],
        false => paths.iter().flat_map(|path| [(*path).to_owned(), format!("{path}/*")]).collect(),
    };
    let (wanted, hint) = (serde_json::json!(wanted).to_string(), format!("hone-{what}"));
    let mut attrs = vec![("local.session", options.session.as_str()), ("local.sharedkeyhint", &hint)];
    if !paths.contains(&".") {
        attrs.push(("local.followpaths", &wanted));
    }
    let shown = Shown::new(format!("[hone] load {what}"), false);
    let output = Output::source(&format!("local://{}", options.context), &attrs, None, &shown);
    Fetched { from: Held::One(output), mount: CONTEXT, path }
}

fn unsupported(why: &str) -> FrontendError {
    FrontendError::unsupported("base.model", why)
}

/// A path of the build context, plain: `./a//b/` is `a/b`.
fn inside(key: &'static str, path: &str) -> Result<String, FrontendError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if path.starts_with('/') || parts.contains(&"..") {
        let why = format!("`{path}` is outside the build context; put it in, or build from a directory above it");
        return Err(FrontendError::unsupported(key, why));
    }
    if path.contains(['*', '?', '[', ']', '\\', '!', '\0']) {
        let why = format!("`{path}`: a path of a build context has none of * ? [ ] \\ !; rename it");
        return Err(FrontendError::unsupported(key, why));
    }
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_build_context() {
        let plain = |path: &str| inside("base.model", path).map_err(|error| error.to_string());
        assert_eq!(plain("./a//b/").as_deref(), Ok("a/b"));
        assert_eq!(plain("./").as_deref(), Ok("."));
        assert_eq!(plain("a..b/.c").as_deref(), Ok("a..b/.c"));
        for path in ["/a", "../a", "a/../b", "a*", "a\\b"] {
            assert!(plain(path).is_err(), "{path}");
        }
    }
}
