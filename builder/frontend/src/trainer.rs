//! The trainer of an image: the built-in's image beside this frontend's, one that the user names, a directory of the
//! build context, or none.

use hone_base::{runtime_config, trainer_job};
use hone_image::Digest;
use hone_image::job::Trainer;
use hone_image::oci::RuntimeConfig;
use hone_plan::{OwnTrainer, Platform, TrainerPlan, TrainerSource};

use crate::build::{Build, image, resolve};
use crate::context;
use crate::error::FrontendError;
use crate::exchange::{ANSWER, IMAGE, TreeFound};
use crate::image_ref::ImageRef;
use crate::llb::Output;

/// Architecture written for an image in which there is no program: as `hone build` does.
const NO_PROGRAM: &str = "amd64";

/// A trainer that was found.
#[derive(Debug)]
pub struct FoundTrainer {
    /// Its files.
    pub files: Option<Output>,
    /// Their layers.
    pub layers: usize,
    /// What a container starts with.
    pub config: RuntimeConfig,
    /// What the job says of it.
    pub job: Option<Trainer>,
    /// GOARCH.
    pub architecture: String,
    /// GOARCH variant.
    pub variant: Option<String>,
}

/// Finds the trainer of the Honefile for the platform that is asked for.
///
/// # Errors
/// When there is none, or it is for another platform.
pub async fn find(build: &mut Build<'_>, asked: Option<&Platform>) -> Result<FoundTrainer, FrontendError> {
    let another = build.options.trainer_image.as_deref();
    let plan = &build.plan.trainer;
    if another.is_some() && !matches!(plan, TrainerPlan::BuiltIn(_)) {
        let why = "the Honefile names a trainer of its own; leave one of the two out".to_owned();
        return Err(FrontendError::Option { option: "--build-arg HONE_TRAINER_IMAGE".to_owned(), why });
    }
    match plan {
        TrainerPlan::None => Ok(nothing(plan, asked)),
        TrainerPlan::BuiltIn(name) => {
            let name = match another {
                Some(another) => ImageRef::parse(another)?,
                None => beside(&build.options.source, name)?,
            };
            let found = of_image(build, &name, asked).await;
            found.map_err(|error| match error {
                FrontendError::BuildKit(status) => FrontendError::NoTrainer { image: name.to_string(), status },
                error => error,
            })
        }
        TrainerPlan::Own(OwnTrainer { from: TrainerSource::Image(name), .. }) => {
            of_image(build, &ImageRef::parse(name)?, asked).await
        }
        TrainerPlan::Own(OwnTrainer { from: TrainerSource::Rootfs(dir), .. }) => of_tree(build, dir, asked).await,
        TrainerPlan::Own(OwnTrainer { from: TrainerSource::Layout { .. }, .. }) => Err(FrontendError::unsupported(
            "trainer.layout",
            "a layout is read by `hone build` only; push it to a registry and name it as trainer.image",
        )),
    }
}

fn nothing(plan: &TrainerPlan, asked: Option<&Platform>) -> FoundTrainer {
    FoundTrainer {
        files: None,
        layers: 0,
        config: runtime_config(plan, RuntimeConfig::default()),
        job: None,
        architecture: asked.map_or_else(|| NO_PROGRAM.to_owned(), |platform| platform.architecture.clone()),
        variant: asked.and_then(|platform| platform.variant.clone()),
    }
}

fn beside(source: &str, name: &str) -> Result<ImageRef, FrontendError> {
    ImageRef::parse(source)?.trainer_beside(name).ok_or_else(|| {
        let why = format!(
            "the image of the {name} trainer lies beside the frontend's when that is called .../frontend, and this one \
             is {source}; name it with --build-arg HONE_TRAINER_IMAGE=IMAGE"
        );
        FrontendError::unsupported("trainer", why)
    })
}

async fn of_image(
    build: &mut Build<'_>,
    name: &ImageRef,
    asked: Option<&Platform>,
) -> Result<FoundTrainer, FrontendError> {
    let platform = asked.unwrap_or(&build.options.worker).clone();
    let (name, found) = resolve(build.bridge, build.options, name, &platform).await?;
    // BuildKit has chosen among several; of one alone it takes what there is.
    if found.architecture != platform.architecture || !found.platform().is_linux() {
        let (got, want) = (found.platform().to_string(), platform.to_string());
        return Err(FrontendError::Architecture { image: name.to_string(), got, want });
    }
    let plan = &build.plan.trainer;
    let config = runtime_config(plan, found.config);
    Ok(FoundTrainer {
        files: Some(image(build.options, &name, &platform, "[hone] the trainer")),
        layers: found.rootfs.diff_ids.len(),
        job: trainer_job(plan, &found.rootfs.diff_ids, config.command_line()),
        config,
        architecture: found.architecture,
        variant: found.variant,
    })
}

async fn of_tree(build: &mut Build<'_>, dir: &str, asked: Option<&Platform>) -> Result<FoundTrainer, FrontendError> {
    let tree = context::rootfs(build.options, dir)?;
    let mut run = build.step(vec!["tree".to_owned(), tree.argument()], tree.mount);
    run.reads = tree.whole();
    run.writes = vec![(None, ANSWER), (None, IMAGE)];
    let outputs = Output::run(run, &build.shown("the trainer's root filesystem"));
    let [answer, files] = outputs.as_slice() else {
        return Err(FrontendError::Protocol("a step without its outputs"));
    };
    let TreeFound { diff_id, architecture } = build.ask(answer, "tree").await?;
    if let (Some(got), Some(asked)) = (&architecture, asked)
        && *got != asked.architecture
    {
        let (got, want) = (format!("linux/{got}"), asked.to_string());
        return Err(FrontendError::Architecture { image: dir.to_owned(), got, want });
    }
    let nothing = nothing(&build.plan.trainer, asked);
    Ok(FoundTrainer {
        files: Some(files.clone()),
        layers: 1,
        job: job_of(&build.plan.trainer, diff_id, &nothing.config),
        architecture: architecture.unwrap_or(nothing.architecture),
        ..nothing
    })
}

fn job_of(plan: &TrainerPlan, diff_id: Digest, config: &RuntimeConfig) -> Option<Trainer> {
    trainer_job(plan, &[diff_id], config.command_line())
}
