//! The plan and what the builder found -> the job that the image carries.

use std::collections::BTreeMap;

use hone_contract::job::{AdapterSpec, Base, CONTRACT, Job, Trainer};
use hone_contract::rules::{MOST_UNKNOWN_ADAPTER, largest};
use hone_contract::unknown::Unknown;

use crate::BuildPlan;

/// What the builder found while it packed the layers.
#[derive(Debug, Clone, Default)]
pub struct JobParts {
    /// The base model.
    pub base: Option<Base>,
    /// The trainer.
    pub trainer: Option<Trainer>,
    /// The tensors an adapter of this model must have, when the model is understood.
    pub tensors: Option<BTreeMap<String, Vec<u64>>>,
    /// How many positions the model has, when Hone's own trainer is to use it.
    pub positions: Option<u64>,
}

impl BuildPlan {
    /// The job.
    pub fn job(&self, parts: JobParts) -> Job {
        let max_bytes = match &parts.tensors {
            Some(tensors) => largest(tensors),
            None => MOST_UNKNOWN_ADAPTER,
        };
        let mut finetune = self.finetune.clone();
        if let (Some(finetune), Some(positions), false) = (&mut finetune, parts.positions, self.said.max_length) {
            let positions = u32::try_from(positions).unwrap_or(u32::MAX);
            finetune.max_length = finetune.max_length.min(positions);
        }
        Job {
            contract: CONTRACT,
            requires: Vec::new(),
            name: self.name.clone(),
            base: parts.base,
            trainer: parts.trainer,
            finetune,
            resources: self.resources.clone(),
            adapter: AdapterSpec {
                commit: self.adapter.commit,
                tag: self.adapter.tag.clone(),
                tensors: parts.tensors,
                max_bytes,
            },
            unknown: Unknown::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_of_the_expected_tensors_fits_and_twice_it_does_not() {
        let tensors: BTreeMap<_, _> = (0..200).map(|i| (format!("layer.{i}"), vec![64, 4096])).collect();
        let data: u64 = 200 * 64 * 4096 * 4;
        let limit = largest(&tensors);
        assert!(limit > data + 200 * 140 && limit < 2 * data, "{limit}");
        assert_eq!(largest(&BTreeMap::from([("x".into(), vec![u64::MAX, 2])])), u64::MAX);
    }

    #[test]
    fn the_targets_of_the_rules_are_those_of_the_models() {
        assert_eq!(hone_contract::rules::TARGETS, hone_model::TARGETS);
    }
}
