//! Which examples each optimizer step sees: every example once an epoch, in an order that follows from the seed and
//! the epoch alone, so that a step's examples follow from its number.

use crate::rng::Rng;
use crate::settings::Extent;

/// The order of a run.
#[derive(Debug, Clone)]
pub struct Order {
    examples: usize,
    seed: u64,
    each: usize,
    all: u64,
    /// The epoch last asked for, and its order.
    epoch: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// `each` examples a step.
    pub fn new(examples: usize, each: usize, extent: Extent, seed: u64) -> Self {
        let all = match extent {
            Extent::Steps(steps) => steps.saturating_mul(each as u64),
            Extent::Epochs(epochs) => ((epochs * examples as f64).round() as u64).max(1),
        };
        Self { examples, seed, each, all, epoch: None }
    }

    /// Optimizer steps of the run.
    pub fn steps(&self) -> u64 {
        self.all.div_ceil(self.each as u64)
    }

    /// Indices of the examples of `step`, from 0; the last step of an epoch-bound run may have fewer.
    pub fn step(&mut self, step: u64) -> Vec<usize> {
        let first = step * self.each as u64;
        let last = (first + self.each as u64).min(self.all);
        (first..last).map(|at| self.example(at)).collect()
    }

    fn example(&mut self, at: u64) -> usize {
        let (epoch, place) = (at / self.examples as u64, (at % self.examples as u64) as usize);
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let order = Rng::new(self.seed, 0x4F72_6465_7200 + epoch).permutation(self.examples);
            self.epoch = Some((epoch, order));
        }
        self.epoch.as_ref().map_or(0, |(_, order)| order[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_each_example_once() {
        let mut order = Order::new(10, 4, Extent::Epochs(2.0), 1);
        assert_eq!(order.steps(), 5);
        let all: Vec<usize> = (0..5).flat_map(|step| order.step(step)).collect();
        let sorted = |part: &[usize]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part
        };
        assert_eq!((sorted(&all[..10]), sorted(&all[10..])), ((0..10).collect(), (0..10).collect()));
        assert_ne!(all[..10], all[10..]);
    }

    #[test]
    fn steps_can_be_asked_for_in_any_order() {
        let mut order = Order::new(7, 3, Extent::Steps(9), 5);
        let forwards: Vec<_> = (0..9).map(|step| order.step(step)).collect();
        let backwards: Vec<_> = (0..9).rev().map(|step| order.step(step)).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()));
        assert_eq!(Order::new(7, 3, Extent::Epochs(0.5), 5).step(1).len(), 1);
    }
}
