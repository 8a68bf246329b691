//! How to train: the job's `finetune` as written -> checked.

use std::fmt;

use hone_contract::job::Finetune;
use hone_model::ModelConfig;
use sha2::{Digest as _, Sha256};

use crate::adapter::AdapterSpec;
use crate::data::Format;
use crate::error::{Result, TrainError};
use crate::optimizer::Schedule;

/// Checked settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The adapter.
    pub adapter: AdapterSpec,
    /// The data's shape.
    pub format: Format,
    /// A system message for every chat that has none of its own.
    pub system: Option<String>,
    /// How long.
    pub extent: Extent,
    /// Examples in a pass.
    pub batch_size: usize,
    /// Passes in an optimizer step.
    pub accumulation: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Steps in which it rises.
    pub warmup: u64,
    /// Tokens of an example.
    pub max_length: usize,
    /// Of adapter and order.
    pub seed: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extent {
    /// Optimizer steps.
    Steps(u64),
    /// Passes over the data.
    Epochs(f64),
}

fn positive(what: &str, value: u32) -> Result<usize> {
    match value {
        0 => Err(TrainError::setting(format!("finetune.{what}"), 0, "at least 1")),
        n => Ok(n as usize),
    }
}

fn number(what: &str, value: f64, least: f64) -> Result<f64> {
    if value.is_finite() && value >= least && (value > 0.0 || least == 0.0) {
        return Ok(value);
    }
    Err(TrainError::setting(format!("finetune.{what}"), value, "a positive number"))
}

impl Settings {
    /// Checks a job's settings against the model.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(finetune: &Finetune, weight_decay: f64, config: &ModelConfig) -> Result<Self> {
        if finetune.method != "lora" {
            return Err(TrainError::setting("finetune.method", &finetune.method, "lora"));
        }
        let name = &finetune.dataset.format;
        let format = Format::from_name(name)
            .ok_or_else(|| TrainError::setting("finetune.dataset.format", name, "text, chat or alpaca"))?;
        let schedule = Schedule::from_name(&finetune.schedule).ok_or_else(|| {
            TrainError::setting("finetune.schedule", &finetune.schedule, "constant, linear or cosine")
        })?;
        let extent = match (finetune.steps, finetune.epochs) {
            (Some(0), _) => return Err(TrainError::setting("finetune.steps", 0, "at least 1")),
            (Some(steps), _) => Extent::Steps(steps),
            (None, epochs) => Extent::Epochs(number("epochs", epochs.unwrap_or(1.0), 0.0)?),
        };
        let max_length = positive("max_length", finetune.max_length)?;
        if max_length as u64 > config.max_positions {
            let want = format!("at most the model's {} positions", config.max_positions);
            return Err(TrainError::setting("finetune.max_length", max_length, want));
        }
        Ok(Self {
            adapter: AdapterSpec {
                rank: u64::from(finetune.rank),
                alpha: number("alpha", finetune.alpha, 0.0)?,
                targets: finetune.targets.clone(),
            },
            format,
            system: finetune.dataset.system.clone(),
            extent,
            batch_size: positive("batch_size", finetune.batch_size)?,
            accumulation: positive("gradient_accumulation", finetune.gradient_accumulation)?,
            learning_rate: number("learning_rate", finetune.learning_rate, f64::MIN_POSITIVE)?,
            schedule,
            warmup: finetune.warmup,
            max_length,
            seed: finetune.seed,
            weight_decay: number("weight_decay", weight_decay, 0.0)?,
        })
    }

    /// A digest of everything that decides the result: the settings and `inputs` (model, data, first adapter).
    pub fn fingerprint(&self, inputs: &[&dyn fmt::Display]) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{self:?}\n"));
        inputs.iter().for_each(|input| hash.update(format!("{input}\n")));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a trainer does when nothing else is said.
pub fn default_finetune() -> Finetune {
    Finetune {
        method: "lora".to_owned(),
        rank: 8,
        alpha: 16.0,
        targets: ["q_proj", "k_proj", "v_proj", "o_proj"].map(str::to_owned).to_vec(),
        dataset: hone_contract::job::Dataset { format: "chat".to_owned(), system: None },
        steps: None,
        epochs: Some(3.0),
        batch_size: 4,
        gradient_accumulation: 1,
        learning_rate: 2e-4,
        schedule: "linear".to_owned(),
        warmup: 0,
        max_length: 512,
        seed: 0,
    }
}
