//! The plan and what the builder found -> the job that the image carries.

use std::collections::BTreeMap;

use hone_image::job::{AdapterSpec, Base, CONTRACT, Job, Trainer};

use crate::BuildPlan;

/// An adapter whose tensors are not known beforehand may have this many bytes.
const MAX_UNKNOWN_ADAPTER: u64 = 256 << 20;
/// Room for the header of the tensor file and for adapter_config.json, beside the tensors (bytes).
const HEADER_ROOM: u64 = 1 << 20;
/// Bytes of the largest element type an adapter may have.
const WIDEST: u64 = 4;

/// What the builder found while it packed the layers.
#[derive(Debug, Clone, Default)]
pub struct JobParts {
    /// The base model.
    pub base: Option<Base>,
    /// The trainer.
    pub trainer: Option<Trainer>,
    /// The tensors an adapter of this model must have, when the model is understood.
    pub tensors: Option<BTreeMap<String, Vec<u64>>>,
}

impl BuildPlan {
    /// The job.
    pub fn job(&self, parts: JobParts) -> Job {
        let max_bytes = match &parts.tensors {
            Some(tensors) => largest(tensors),
            None => MAX_UNKNOWN_ADAPTER,
        };
        Job {
            contract: CONTRACT,
            name: self.name.clone(),
            base: parts.base,
            trainer: parts.trainer,
            finetune: self.finetune.clone(),
            resources: self.resources.clone(),
            adapter: AdapterSpec {
                commit: self.adapter.commit,
                tag: self.adapter.tag.clone(),
                tensors: parts.tensors,
                max_bytes,
            },
        }
    }
}

fn largest(tensors: &BTreeMap<String, Vec<u64>>) -> u64 {
    let elements = |shape: &Vec<u64>| shape.iter().fold(1u64, |n, d| n.saturating_mul(*d));
    let data = tensors.values().fold(0u64, |sum, shape| sum.saturating_add(elements(shape)));
    // Each name stands in the header, with about a hundred bytes around it.
    let names: u64 = tensors.keys().map(|name| name.len() as u64 + 128).sum();
    data.saturating_mul(WIDEST).saturating_add(names).saturating_add(HEADER_ROOM)
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
}
