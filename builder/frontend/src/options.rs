//! What the user asked of `docker build`, as BuildKit hands it on: environment variables -> [`Options`].

use std::collections::BTreeMap;

use hone_image::hub::ENDPOINT;
use hone_image::oci::Platform;
use hone_image::platform::goarch;
use serde::Deserialize;

use crate::error::FrontendError;

/// BuildKit numbers its options: `BUILDKIT_FRONTEND_OPT_0=filename=Honefile`.
const PREFIX: &str = "BUILDKIT_FRONTEND_OPT_";
/// The session that has the build context.
const SESSION: &str = "BUILDKIT_SESSION_ID";
/// JSON: which platforms BuildKit can run programs of.
const WORKERS: &str = "BUILDKIT_WORKERS";
/// The build argument that names another trainer image.
const TRAINER_IMAGE: &str = "HONE_TRAINER_IMAGE";

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The frontend's own image.
    pub source: String,
    /// The session that has the build context.
    pub session: String,
    /// What programs run on while the image is built.
    pub worker: Platform,
    /// Name of the local source that holds the Honefile.
    pub honefile_source: String,
    /// The Honefile in it.
    pub honefile: String,
    /// Name of the local source with everything else.
    pub context: String,
    /// What to build for; empty: as the Honefile says.
    pub platforms: Vec<Platform>,
    /// An index is wanted, also for one platform.
    pub several: bool,
    /// The model hub's address, without a slash at its end.
    pub hub: String,
    /// Another image for the built-in trainer.
    pub trainer_image: Option<String>,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// How to look images up: `default`, `pull` or `local`.
    pub resolve_mode: String,
    /// Do everything again.
    pub ignore_cache: bool,
}

#[derive(Deserialize)]
struct Worker {
    #[serde(rename = "Platforms", default)]
    platforms: Vec<WorkerPlatform>,
}

#[derive(Deserialize)]
struct WorkerPlatform {
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
}

impl Options {
    /// Reads the environment.
    ///
    /// # Errors
    /// When something is asked for that a Honefile does not have.
    pub fn of(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, FrontendError> {
        let (mut given, mut session, mut worker) = (BTreeMap::new(), String::new(), own());
        for (name, value) in environment {
            match name.as_str() {
                SESSION => session = value,
                WORKERS => worker = first_linux(&value).unwrap_or(worker),
                _ if name.starts_with(PREFIX) => {
                    let (key, value) = value.split_once('=').unwrap_or((&value, ""));
                    given.insert(key.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
        refuse(&given)?;
        let text = |key: &str, default: &str| given.get(key).cloned().unwrap_or_else(|| default.to_owned());
        let source = given.get("source").cloned();
        Ok(Self {
            source: source.ok_or(FrontendError::Protocol("it does not say which image this frontend is"))?,
            session,
            worker,
            honefile_source: text("dockerfilekey", "dockerfile"),
            honefile: text("filename", "Honefile"),
            context: text("contextkey", "context"),
            platforms: platforms(given.get("platform"))?,
            several: given.get("multi-platform").is_some_and(|value| value == "true"),
            hub: given
                .get("build-arg:HF_ENDPOINT")
                .filter(|url| !url.is_empty())
                .map_or(ENDPOINT, |url| url.trim_end_matches('/'))
                .to_owned(),
            trainer_image: build_args(&given)?,
            labels: prefixed(&given, "label:").map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            resolve_mode: text("image-resolve-mode", "default"),
            ignore_cache: given.contains_key("no-cache"),
        })
    }
}

fn prefixed<'a>(given: &'a BTreeMap<String, String>, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    given.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
}

/// What an image of a Honefile cannot follow.
fn refuse(given: &BTreeMap<String, String>) -> Result<(), FrontendError> {
    let wrong =
        |option: &str, why: &str| Err(FrontendError::Option { option: option.to_owned(), why: why.to_owned() });
    if given.get("context").is_some_and(|context| !context.starts_with("local:")) {
        return wrong("build context", "want a directory; clone the repository or unpack the archive first");
    }
    if given.contains_key("target") {
        return wrong("--target", "a Honefile has no stages; leave it out");
    }
    if given.contains_key("requestid") {
        return wrong("--call", "a Honefile is checked by building it; leave it out");
    }
    if prefixed(given, "context:").next().is_some() {
        return wrong("--build-context", "a Honefile reads one build context; leave it out");
    }
    Ok(())
}

fn platforms(given: Option<&String>) -> Result<Vec<Platform>, FrontendError> {
    let wrong = |why| FrontendError::Option { option: "--platform".to_owned(), why };
    let words = given.iter().flat_map(|list| list.split(',')).filter(|word| !word.is_empty());
    let platforms: Result<Vec<_>, _> = words.map(hone_plan::platform).collect();
    platforms.map_err(wrong)
}

/// Arguments of other names belong to others: docker hands on its proxies, and SOURCE_DATE_EPOCH is BuildKit's own.
fn build_args(given: &BTreeMap<String, String>) -> Result<Option<String>, FrontendError> {
    let mut image = None;
    for (name, value) in prefixed(given, "build-arg:").filter(|(name, _)| name.starts_with("HONE_")) {
        if name != TRAINER_IMAGE {
            let why = format!("no such argument; there is {TRAINER_IMAGE}");
            return Err(FrontendError::Option { option: format!("--build-arg {name}"), why });
        }
        image = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
    Ok(image)
}

/// BuildKit lists its own platform first.
fn first_linux(json: &str) -> Option<Platform> {
    let workers: Vec<Worker> = serde_json::from_str(json).ok()?;
    let mut all = workers.into_iter().flat_map(|worker| worker.platforms);
    let found = all.find(|platform| platform.os == "linux")?;
    Some(Platform::linux(&found.architecture, found.variant.as_deref().filter(|v| !v.is_empty())))
}

fn own() -> Platform {
    Platform::linux(goarch(std::env::consts::ARCH), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str]) -> Result<Options, FrontendError> {
        let workers = r#"[{"ID":"x","Labels":{},"Platforms":[{"architecture":"arm64","os":"linux"},{"architecture":"arm","os":"linux","variant":"v7"}]}]"#;
        let mut environment = vec![(SESSION.to_owned(), "s1".to_owned()), (WORKERS.to_owned(), workers.to_owned())];
        let options = options.iter().enumerate();
        environment.extend(options.map(|(n, option)| (format!("{PREFIX}{n}"), (*option).to_owned())));
        Options::of(environment)
    }

    #[test]
    fn what_docker_build_sends_is_understood() {
        let options = of(&[
            "source=r.example/hone/frontend:1",
            "filename=a=b",
            "platform=linux/amd64,linux/arm64",
            "build-arg:HTTP_PROXY=x",
            "build-arg:HONE_TRAINER_IMAGE=r.example/t",
            "label:a.b=c=d",
            "no-cache=",
            "frontend.caps=moby.buildkit.frontend.inputs",
        ])
        .expect("options");
        assert_eq!(options.honefile, "a=b");
        assert_eq!((options.session.as_str(), options.context.as_str()), ("s1", "context"));
        assert_eq!(options.worker.to_string(), "linux/arm64");
        let platforms: Vec<String> = options.platforms.iter().map(Platform::to_string).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert_eq!(options.trainer_image.as_deref(), Some("r.example/t"));
        assert_eq!(options.labels["a.b"], "c=d");
        assert!(options.ignore_cache && !options.several);
    }

    #[test]
    fn what_a_honefile_does_not_have_is_refused_by_name() {
        for (option, want) in [
            ("target=x", "--target: "),
            ("context=https://example.com/x.git", "build context: "),
            ("context:data=local:data", "--build-context: "),
            ("requestid=frontend.lint", "--call: "),
            ("platform=windows/amd64", "--platform: "),
            ("build-arg:HONE_X=1", "--build-arg HONE_X: "),
        ] {
            let error = of(&["source=x", option]).expect_err(option).to_string();
            assert!(error.starts_with(want), "{option}: {error}");
        }
        assert!(of(&["filename=x"]).is_err(), "no source");
    }
}
