//! What the job, and a container, know of the plan's trainer once its layers are known.

use hone_contract::job::Trainer;
use hone_contract::{Digest, identity};
use hone_image::oci::RuntimeConfig;

use crate::{OwnTrainer, TrainerPlan, TrainerSource};

/// Name of a trainer that is a user's root file system.
pub const ROOTFS: &str = "rootfs";
/// What a container's PATH is when nobody sets it; docker's own default.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl TrainerPlan {
    /// What the runtime must know of it: its name, its content, its command line. `None` when nothing trains.
    pub fn job(&self, diff_ids: &[Digest], command: Vec<String>) -> Option<Trainer> {
        let (name, readonly_root) = match self {
            Self::None => return None,
            Self::BuiltIn(name) => (name.clone(), true),
            // A user's own program may write where it likes in its own root: that goes with the container.
            Self::Own(OwnTrainer { from: TrainerSource::Rootfs(_), .. }) => (ROOTFS.to_owned(), false),
            Self::Own(_) => ("image".to_owned(), false),
        };
        Some(Trainer { name, digest: identity::of_trainer(diff_ids), command, readonly_root })
    }

    /// What a container starts with: what the trainer's image says (nothing, for a root file system), and what the Honefile
    /// says over it. A PATH is always there.
    pub fn config(&self, image: RuntimeConfig) -> RuntimeConfig {
        let mut config = image;
        if let Self::Own(own) = self {
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
}
