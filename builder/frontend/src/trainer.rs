//! The trainer of an image: the built-in's image beside this frontend's, one that the user names, a directory of the
//! build context, or none.

use hone_contract::Pinned;
use hone_contract::job::Trainer;
use hone_image::oci::{Platform, RuntimeConfig};
use hone_plan::{OwnTrainer, TrainerPlan, TrainerSource};

use crate::build::{Build, image, resolve};
use crate::context;
use crate::error::FrontendError;
use crate::exchange::{ANSWER, IMAGE, TreeFound};
use crate::llb::Output;

/// Architecture written for an image in which there is no program: as `hone build` does.
const NO_PROGRAM: &str = "amd64";
/// The last part of the name of a frontend's image; its neighbours are the trainers' images.
const FRONTEND: &str = "frontend";

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
                Some(another) => another.parse()?,
                None => beside(&build.options.source, name)?,
            };
            let found = of_image(build, &name, asked).await;
            found.map_err(|error| match error {
                FrontendError::BuildKit(status) => FrontendError::NoTrainer { image: name.canonical(), status },
                error => error,
            })
        }
        TrainerPlan::Own(OwnTrainer { from: TrainerSource::Image(name), .. }) => of_image(build, name, asked).await,
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
        config: plan.config(RuntimeConfig::default()),
        job: None,
        architecture: asked.map_or_else(|| NO_PROGRAM.to_owned(), |platform| platform.architecture.clone()),
        variant: asked.and_then(|platform| platform.variant.clone()),
    }
}

/// The image beside this frontend's that has the built-in trainer `name`.
fn beside(source: &str, name: &str) -> Result<Pinned, FrontendError> {
    neighbour(&source.parse()?, name).ok_or_else(|| {
        let why = format!(
            "the image of the {name} trainer lies beside the frontend's when that is called .../frontend, and this one \
             is {source}; name it with --build-arg HONE_TRAINER_IMAGE=IMAGE"
        );
        FrontendError::unsupported("trainer", why)
    })
}

/// `r/hone/frontend:1` -> `r/hone/trainer-onnx:1`; `None` when the image is not called `frontend`.
fn neighbour(own: &Pinned, name: &str) -> Option<Pinned> {
    let whole = own.reference.name();
    let folder = whole.strip_suffix(FRONTEND).filter(|rest| rest.is_empty() || rest.ends_with('/'))?;
    format!("{folder}trainer-{name}:{}", own.reference.tag()).parse().ok()
}

async fn of_image(
    build: &mut Build<'_>,
    name: &Pinned,
    asked: Option<&Platform>,
) -> Result<FoundTrainer, FrontendError> {
    let platform = asked.unwrap_or(&build.options.worker).clone();
    let (name, found) = resolve(build.bridge, build.options, name, &platform).await?;
    // BuildKit has chosen among several; of one alone it takes what there is.
    if found.architecture != platform.architecture || !found.platform().is_linux() {
        let (got, want) = (found.platform().to_string(), platform.to_string());
        return Err(FrontendError::Architecture { image: name.canonical(), got, want });
    }
    let plan = &build.plan.trainer;
    let config = plan.config(found.config);
    Ok(FoundTrainer {
        files: Some(image(build.options, &name, &platform, "[hone] the trainer")),
        layers: found.rootfs.diff_ids.len(),
        job: plan.job(&found.rootfs.diff_ids, config.command_line()),
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
        job: build.plan.trainer.job(&[diff_id], nothing.config.command_line()),
        architecture: architecture.unwrap_or(nothing.architecture),
        ..nothing
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trainer_is_looked_for_beside_its_frontend() {
        let beside = |text: &str| neighbour(&text.parse().expect(text), "onnx").map(|name| name.canonical());
        let digest = format!("sha256:{}", "a".repeat(64));
        for (frontend, trainer) in [
            ("127.0.0.1:5000/hone/frontend:1", "127.0.0.1:5000/hone/trainer-onnx:1"),
            ("hone/frontend", "docker.io/hone/trainer-onnx:latest"),
            ("frontend:2", "docker.io/library/trainer-onnx:2"),
            (&format!("r.example/frontend:1@{digest}"), "r.example/trainer-onnx:1"),
        ] {
            assert_eq!(beside(frontend).as_deref(), Some(trainer));
        }
        assert_eq!(beside("r.example/my-frontend:1"), None);
        assert_eq!(beside("r.example/other:frontend"), None);
    }
}
