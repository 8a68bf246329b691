//! What the job says of a base model, once its files are hashed: the same for whoever packs it.

use std::collections::BTreeSet;

use hone_image::Digest;
use hone_image::job::{Base, BaseFile, Trainer};
use hone_image::oci::RuntimeConfig;
use hone_plan::{OwnTrainer, TrainerPlan, TrainerSource};

use crate::BaseModel;

/// Name of a trainer that is a user's root file system.
pub const ROOTFS: &str = "rootfs";
/// What a container's PATH is when nobody sets it; docker's own default.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The job's `base`, from the model and the size and digest of each of its files; those of a file that was left out of it
/// are left out, too.
pub fn base_of(model: &BaseModel, mut files: Vec<BaseFile>) -> Base {
    let packed: BTreeSet<&str> = model.weights.iter().chain(&model.texts).map(|file| file.name.as_str()).collect();
    files.retain(|file| packed.contains(file.path.as_str()));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Base {
        identity: identity(&files),
        path: format!("/{}", model.dir),
        format: model.format.clone(),
        family: model.family.clone(),
        files,
        tokenizer: model.tokenizer.clone(),
    }
}

/// sha256 over the lines `<digest> <size> <path>\n`, by path (docs/contract.md).
pub fn identity(files: &[BaseFile]) -> Digest {
    let lines: String = files.iter().map(|f| format!("{} {} {}\n", f.digest, f.size, f.path)).collect();
    Digest::of(lines.as_bytes())
}

/// What the runtime must know of a trainer: its name, its content, its command line. `None` when nothing trains.
pub fn trainer_job(plan: &TrainerPlan, diff_ids: &[Digest], command: Vec<String>) -> Option<Trainer> {
    let (name, readonly_root) = match plan {
        TrainerPlan::None => return None,
        TrainerPlan::BuiltIn(name) => (name.clone(), true),
        // A user's own program may write where it likes in its own root: that goes with the container.
        TrainerPlan::Own(OwnTrainer { from: TrainerSource::Rootfs(_), .. }) => (ROOTFS.to_owned(), false),
        TrainerPlan::Own(_) => ("image".to_owned(), false),
    };
    Some(Trainer { name, digest: trainer_digest(diff_ids), command, readonly_root })
}

/// sha256 over the lines `<diff id>\n` of a trainer's layers, lowest first (docs/contract.md).
pub fn trainer_digest(diff_ids: &[Digest]) -> Digest {
    let lines: String = diff_ids.iter().map(|id| format!("{id}\n")).collect();
    Digest::of(lines.as_bytes())
}

/// What a container starts with: what the trainer's image says (nothing, for a root file system), and what the Honefile
/// says over it. A PATH is always there.
pub fn runtime_config(plan: &TrainerPlan, image: RuntimeConfig) -> RuntimeConfig {
    let mut config = image;
    if let TrainerPlan::Own(own) = plan {
        if let Some(command) = &own.command {
            config.entrypoint = None;
            config.cmd = Some(command.clone());
        }
        config.user = own.user.clone().or(config.user);
        config.working_dir = own.workdir.clone().or(config.working_dir);
        let env = config.env.get_or_insert_default();
        for pair in &own.env {
            let name = pair.split('=').next().unwrap_or_default();
            env.retain(|p| p.split('=').next() != Some(name));
            env.push(pair.clone());
        }
    }
    let env = config.env.get_or_insert_default();
    if !env.iter().any(|pair| pair.starts_with("PATH=")) {
        env.insert(0, PATH.to_owned());
    }
    config
}

/// The directories above a path, highest first.
pub fn parents(path: &str) -> Vec<String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect()
}

impl BaseModel {
    /// Every directory that the model's files lie in, and those above.
    pub fn dirs(&self) -> BTreeSet<String> {
        let mut dirs: BTreeSet<String> = parents(&self.dir).into_iter().chain([self.dir.clone()]).collect();
        for file in self.weights.iter().chain(&self.texts) {
            dirs.extend(parents(&format!("{}/{}", self.dir, file.name)));
        }
        dirs
    }
}
