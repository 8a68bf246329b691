//! A build: Honefile -> plan -> what the user's files are -> a graph a platform -> images.
//!
//! What reads the user's files runs as steps of the graph, in this program's own image: BuildKit then keeps their
//! answers as it keeps layers, by content, and a model is neither sent nor hashed twice.

use std::collections::BTreeMap;

use hone_base::{Provenance, refuse_pickled};
use hone_contract::{Digest, Pinned, chain};
use hone_image::hub;
use hone_image::oci::{ImageConfig, MAX_DOCUMENT_BYTES, Platform, Sealed};
use hone_plan::{BuildPlan, JobParts, MAX_HONEFILE, ModelSource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::bridge::Bridge;
use crate::context::{self, Fetched};
use crate::error::FrontendError;
use crate::exchange::{
    ANSWER, ANSWER_FILE, Answer, CONTEXT, FOLLOW_LINKS, GIT_BLOBS, GitBlobs, HASHES, HONEFILE, Inspected, MAX_ANSWER,
    ORIGIN, PROGRAM, REQUEST,
};
use crate::image::Assembly;
use crate::llb::{Output, Read, Run, Shown};
use crate::options::Options;
use crate::proto::gateway::{BuildResult, Filesystems, Reference, References, ResolveImageConfigRequest};
use crate::proto::ops;
use crate::trainer;

/// The image configuration of a result (moby/buildkit, exporter/containerimage/exptypes).
const CONFIG: &str = "containerimage.config";
/// An annotation of the manifest of each image of a result (ibid.).
const ANNOTATION: &str = "annotation";
/// The platforms of a result.
const PLATFORMS: &str = "refs.platforms";

/// A build under way.
#[derive(Debug)]
pub struct Build<'a> {
    /// BuildKit.
    pub bridge: &'a mut Bridge,
    /// What the user asked for.
    pub options: &'a Options,
    /// The Honefile.
    pub plan: &'a BuildPlan,
    /// This program's image.
    pub program: Output,
}

/// The model, as the image is to have it.
#[derive(Debug)]
pub struct Model {
    /// What the steps found.
    pub found: Inspected,
    /// Where its files are.
    pub files: Fetched,
    /// Where those of a tokenizer that came apart are.
    pub tokenizer: Option<Fetched>,
}

/// Builds what the environment asks for.
///
/// # Errors
/// When there is nothing to build, or building it fails.
pub async fn build(bridge: &mut Bridge, options: &Options) -> Result<BuildResult, FrontendError> {
    let (text, plan) = honefile(bridge, options).await?;
    let (own, _) = resolve(bridge, options, &options.source.parse()?, &options.worker).await?;
    let program = image(options, &own, &options.worker, "[hone] the frontend's program");
    let mut build = Build { bridge, options, plan: &plan, program };
    let model = build.model(&text).await?;
    let asked = if options.platforms.is_empty() { plan.platforms.clone() } else { options.platforms.clone() };
    let mut images = Vec::new();
    for platform in platforms(&asked) {
        images.push(build.image(platform, model.as_ref()).await?);
    }
    let annotations = model.map(|model| model.found.annotations).unwrap_or_default();
    Ok(result(images, options.several || asked.len() > 1, &annotations))
}

/// One platform's image.
#[derive(Debug)]
struct Built {
    platform: Platform,
    files: Reference,
    config: Vec<u8>,
}

impl Build<'_> {
    /// Runs a step of this program and reads its answer. A refusal is the user's to read.
    ///
    /// # Errors
    /// When the step fails or refuses.
    pub async fn ask<T: DeserializeOwned>(&mut self, step: &Output, what: &'static str) -> Result<T, FrontendError> {
        let solved = self.bridge.solve(step, true).await?;
        let json = self.bridge.read(&solved, ANSWER_FILE, MAX_ANSWER).await?;
        match serde_json::from_slice(&json) {
            Ok(Answer::Found(found)) => Ok(found),
            Ok(Answer::Refused(why)) => Err(FrontendError::Refused(why)),
            Err(_) => Err(FrontendError::Answer(what)),
        }
    }

    /// How a step is shown.
    pub fn shown(&self, name: &str) -> Shown {
        Shown::new(format!("[hone] {name}"), self.options.ignore_cache)
    }

    /// A command line of this program's steps.
    pub fn step<'s>(&'s self, args: Vec<String>, cwd: &'s str) -> Run<'s> {
        let args = [vec![PROGRAM.to_owned()], args].concat();
        let platform = wire(&self.options.worker);
        Run { program: &self.program, platform, args, cwd, reads: vec![], writes: vec![(None, ANSWER)] }
    }

    async fn model(&mut self, honefile: &str) -> Result<Option<Model>, FrontendError> {
        let Some(plan) = &self.plan.base else {
            return Ok(None);
        };
        let hub = match &plan.model {
            ModelSource::Hub { repository, revision } => Some(self.hub(repository, revision.as_deref()).await?),
            _ => None,
        };
        let (model, tokenizer) = context::base(self.options, plan, hub.as_ref())?;
        let hash = self.hash(&model, hub.as_ref())?;
        let origin = hub.map(|hub| Provenance::of_hub(&self.options.hub, &hub)).unwrap_or_default();
        let found = self.inspect((&model, tokenizer.as_ref()), &hash, (honefile, &origin))?;
        let found = self.ask(&found, "inspect").await?;
        Ok(Some(Model { found, files: model, tokenizer }))
    }

    /// What a hub says of a model: its commit, and each file's hash.
    async fn hub(&mut self, repository: &str, revision: Option<&str>) -> Result<hub::Model, FrontendError> {
        let description = context::description(self.options, repository, revision.unwrap_or(hub::MAIN));
        let model = || repository.to_owned();
        let absent = |error| match error {
            FrontendError::BuildKit(status) => FrontendError::NoModel { model: model(), status },
            error => error,
        };
        let solved = self.bridge.solve(&description, true).await.map_err(absent)?;
        // One byte more than is allowed, so that the parser sees what is too long.
        let limit = MAX_DOCUMENT_BYTES as usize + 1;
        let json = self.bridge.read(&solved, context::DESCRIPTION, limit).await?;
        let found = hub::model(repository, &json).map_err(|why| FrontendError::Hub { model: model(), why })?;
        let refused = |error| FrontendError::Refused(format!("base.model hf://{repository}: {}", chain(&error)));
        refuse_pickled(&found).map_err(refused)?;
        Ok(found)
    }

    /// Depends on the model alone: another Honefile hashes nothing.
    fn hash(&self, model: &Fetched, hub: Option<&hub::Model>) -> Result<Output, FrontendError> {
        let follow = self.plan.base.as_ref().is_some_and(|base| base.follow_links).then(|| FOLLOW_LINKS.to_owned());
        let args = ["hash".to_owned()].into_iter().chain(follow).chain([model.argument()]);
        let mut run = self.step(args.collect(), model.mount);
        run.reads = model.whole();
        let blobs = hub.map(|hub| {
            request(vec![(GIT_BLOBS, json!(git_blobs(hub)).to_string().into_bytes())], "what the hub says")
        });
        run.reads.extend(blobs.as_ref().map(|blobs| whole(blobs, REQUEST)));
        only(Output::run(run, &self.shown("hash the model")))
    }

    fn inspect(
        &self,
        (model, tokenizer): (&Fetched, Option<&Fetched>),
        hashes: &Output,
        (honefile, origin): (&str, &Provenance),
    ) -> Result<Output, FrontendError> {
        let origin = json!(origin.words()).to_string().into_bytes();
        let request = request(vec![(HONEFILE, honefile.as_bytes().to_vec()), (ORIGIN, origin)], "the Honefile");
        let mut args = vec!["inspect".to_owned(), model.argument()];
        args.extend(tokenizer.map(Fetched::argument));
        let cwd = tokenizer.map_or(model.mount, |_| CONTEXT);
        let mut run = self.step(args, cwd);
        run.reads = model.whole();
        run.reads.extend([whole(hashes, HASHES), whole(&request, REQUEST)]);
        run.reads.extend(tokenizer.filter(|t| t.mount != model.mount).into_iter().flat_map(Fetched::whole));
        only(Output::run(run, &self.shown("check the model")))
    }

    async fn image(&mut self, asked: Option<&Platform>, model: Option<&Model>) -> Result<Built, FrontendError> {
        let trainer = trainer::find(self, asked).await?;
        let parts = JobParts {
            base: model.map(|model| model.found.base.clone()),
            trainer: trainer.job.clone(),
            tensors: model.and_then(|model| model.found.tensors.clone()),
            positions: model.and_then(|model| model.found.positions),
        };
        let job = self.plan.job(parts);
        // A trainer's image may say no command; what is found out on the device is found out too late.
        job.check().map_err(|error| FrontendError::Refused(error.to_string()))?;
        let platform = Platform::linux(&trainer.architecture, trainer.variant.as_deref());
        let assembly = Assembly { build: self, trainer: &trainer, model, job: &job };
        let (output, config) = (assembly.output()?, assembly.config());
        let files = self.bridge.solve(&output, false).await?;
        Ok(Built { platform, files, config })
    }
}

async fn honefile(bridge: &mut Bridge, options: &Options) -> Result<(String, BuildPlan), FrontendError> {
    let name = &options.honefile;
    let solved = bridge.solve(&context::honefile(options), true).await?;
    // One character more than is allowed, in UTF-16 two bytes each, so that the parser sees what is too long.
    let read = bridge.read(&solved, name, 2 * (MAX_HONEFILE + 2)).await;
    let bytes = read.map_err(|_| FrontendError::NoHonefile(name.clone()))?;
    let text = hone_plan::text(name, &bytes)?;
    let plan = hone_plan::parse(name, &text)?;
    Ok((text, plan))
}

/// Looks an image up: its name with digest, and its configuration.
///
/// # Errors
/// When there is none.
pub async fn resolve(
    bridge: &mut Bridge,
    options: &Options,
    name: &Pinned,
    platform: &Platform,
) -> Result<(Pinned, ImageConfig), FrontendError> {
    let ask = ResolveImageConfigRequest {
        reference: name.canonical(),
        platform: Some(wire(platform)),
        resolve_mode: options.resolve_mode.clone(),
        log_name: format!("[hone] look up {}", name.canonical()),
    };
    let answer = bridge.resolve(ask).await?;
    let config = Sealed::<ImageConfig>::parse("image configuration", answer.config);
    let config = config.map_err(|source| FrontendError::Config { image: name.canonical(), source })?;
    let digest: Option<Digest> = answer.digest.parse().ok();
    Ok((digest.map_or_else(|| name.clone(), |digest| name.at(digest)), config.value().clone()))
}

/// The files of an image.
pub fn image(options: &Options, name: &Pinned, platform: &Platform, shown: &str) -> Output {
    let attrs = [("image.resolvemode", options.resolve_mode.as_str())];
    Output::source(
        &format!("docker-image://{}", name.canonical()),
        &attrs,
        Some(wire(platform)),
        &Shown::new(shown, false),
    )
}

/// A platform as BuildKit writes it.
pub fn wire(platform: &Platform) -> ops::Platform {
    ops::Platform {
        architecture: platform.architecture.clone(),
        os: "linux".to_owned(),
        variant: platform.variant.clone().unwrap_or_default(),
    }
}

/// What a step is asked, as files.
pub fn request(files: Vec<(&str, Vec<u8>)>, what: &str) -> Output {
    Output::files(files, &Shown::new(format!("[hone] {what}"), false))
}

/// All of a filesystem, for a step to read.
pub fn whole<'a>(from: &'a Output, at: &str) -> Read<'a> {
    Read { from, part: String::new(), at: at.to_owned() }
}

/// A step's only output.
pub fn only(outputs: Vec<Output>) -> Result<Output, FrontendError> {
    outputs.into_iter().next().ok_or(FrontendError::Protocol("a step without an output"))
}

/// Of the files that BuildKit cannot check by itself; it knows sha256 only.
fn git_blobs(hub: &hub::Model) -> GitBlobs {
    let blob = |file: &&hub::File| match file.identity {
        hub::Identity::GitBlob(id) => Some((file.path.clone(), id)),
        hub::Identity::Sha256(_) => None,
    };
    hub.wanted().iter().filter_map(blob).collect()
}

/// `None` is whatever the trainer is for.
fn platforms(asked: &[Platform]) -> Vec<Option<&Platform>> {
    if asked.is_empty() { vec![None] } else { asked.iter().map(Some).collect() }
}

fn result(images: Vec<Built>, several: bool, annotations: &BTreeMap<String, String>) -> BuildResult {
    let mut metadata: BTreeMap<String, Vec<u8>> = annotations
        .iter()
        .map(|(name, value)| (format!("{ANNOTATION}.{name}"), value.clone().into_bytes()))
        .collect();
    let list: Vec<_> = images
        .iter()
        .map(|image| {
            let Platform { architecture, variant, .. } = &image.platform;
            let mut platform = json!({"architecture": architecture, "os": "linux"});
            if let Some(variant) = variant {
                platform["variant"] = json!(variant);
            }
            json!({"ID": image.platform.to_string(), "Platform": platform})
        })
        .collect();
    metadata.insert(PLATFORMS.to_owned(), json!({"Platforms": list}).to_string().into_bytes());
    if !several && let [_] = images.as_slice() {
        let mut files = Reference::default();
        for image in images {
            metadata.insert(CONFIG.to_owned(), image.config);
            files = image.files;
        }
        return BuildResult { result: Some(Filesystems::One(files)), metadata };
    }
    let mut refs = BTreeMap::new();
    for image in images {
        let id = image.platform.to_string();
        metadata.insert(format!("{CONFIG}/{id}"), image.config);
        refs.insert(id, image.files);
    }
    BuildResult { result: Some(Filesystems::Several(References { refs })), metadata }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(architecture: &str) -> Built {
        let platform = Platform::linux(architecture, None);
        Built { platform, files: Reference { id: format!("id-{architecture}") }, config: architecture.into() }
    }

    #[test]
    fn one_platform_is_an_image_and_several_are_an_index() {
        let one = result(vec![built("amd64")], false, &BTreeMap::from([("a.b".to_owned(), "c".to_owned())]));
        assert_eq!(one.result, Some(Filesystems::One(Reference { id: "id-amd64".into() })));
        assert_eq!(one.metadata[CONFIG], b"amd64");
        assert_eq!(one.metadata["annotation.a.b"], b"c");
        let two = result(vec![built("amd64"), built("arm64")], true, &BTreeMap::new());
        let Some(Filesystems::Several(References { refs })) = two.result else { panic!("want several") };
        assert_eq!(refs.keys().collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
        assert_eq!(two.metadata["containerimage.config/linux/arm64"], b"arm64");
        assert_eq!(
            String::from_utf8_lossy(&two.metadata[PLATFORMS]),
            r#"{"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}},{"ID":"linux/arm64","Platform":{"architecture":"arm64","os":"linux"}}]}"#
        );
        assert!(matches!(result(vec![built("amd64")], true, &BTreeMap::new()).result, Some(Filesystems::Several(_))));
    }
}
